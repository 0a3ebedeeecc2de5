//! Decisions, pure: data in, decision out.
//!
//! No async, no clock, no SQL, no I/O. What is decided here is carried out in `workers/` and
//! `engine/`; time, ids and randomness arrive as arguments.
#![warn(clippy::arithmetic_side_effects)]

pub mod approval;
pub mod audit;
pub mod calendar;
pub(crate) mod digest;
pub mod fee;
pub mod import;
pub mod job;
pub mod mask;
pub mod merchant;
pub mod operation;
pub mod order;
pub mod order_expiry;
pub mod partner;
pub mod reconciliation;
pub mod record;
pub mod redact;
pub mod retry;
pub mod schedule;
pub mod split;
pub mod words;
