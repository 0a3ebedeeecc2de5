//! Nothing lost, nothing twice: real processes, real servers, and faults drawn from a seed.
//!
//! A run starts a Postgres, a Redis and a sandbox of its own and three `clearday serve` behind fault proxies, lets an
//! upstream system ask for work while the nemesis strikes, heals everything, waits until all is done, and checks what
//! the sandbox, the ledger and the history say. The seed decides the plan; when exactly each thing happens is up to the
//! machine, so a seed repeats what was tried and not always what was found. `scripts/chaos` runs as many as wanted.
#![cfg(test)]

mod chance;
mod check;
mod daemons;
mod full_disk;
mod load;
mod nemesis;
mod orders;
mod plan;
mod postgres_frames;
mod proxy;
mod recovery;
mod report;
mod scene;
mod seeds;
mod servers_gone;
