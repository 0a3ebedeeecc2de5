//! clearday: the back office of a payment system as one worker daemon.
//!
//! `domain/` decides, `workers/` carry out, `store/` speaks SQL, `queue/` speaks apalis and Redis,
//! `connectors/` speak to the world. ARCHITECTURE.md is the map.

pub mod clock;
pub mod domain;
pub mod engine;
pub mod http;
pub mod store;
pub mod workers;
