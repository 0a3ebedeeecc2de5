//! What the store and the engine promise, proved on both databases: every test here runs once on
//! Postgres and once on SQLite under the same name, except where its file says why not.
#![cfg(test)]

mod accept;
mod execute;
mod leases;
mod operate;
mod operations;
mod orders;
mod runs;
mod sweep;
mod ticks;
