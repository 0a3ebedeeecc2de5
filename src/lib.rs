//! clearday: the back office of a payment system as one worker daemon.
//!
//! `domain/` decides, `workers/` carry out, `store/` speaks SQL, `queue/` speaks apalis and Redis,
//! `connectors/` speak to the world. ARCHITECTURE.md is the map.

pub mod cli;
pub mod clock;
pub mod config;
pub mod connectors;
pub mod daemon;
pub mod domain;
pub mod engine;
pub mod formats;
pub mod http;
pub mod queue;
pub mod schedule;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod verify;
pub mod worker_locks;
pub mod workers;
