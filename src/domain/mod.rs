//! Decisions, pure: data in, decision out.
//!
//! No async, no clock, no SQL, no I/O. What is decided here is carried out in `workers/` and
//! `engine/`; time, ids and randomness arrive as arguments.
#![warn(clippy::arithmetic_side_effects)]

pub mod approval;
pub mod audit;
pub mod authorization;
pub mod bank_account;
pub mod breaker;
pub mod calendar;
pub mod china;
pub mod contact;
pub mod dead_letter;
pub mod deferred_authorization;
pub mod digest;
pub mod fairness;
pub mod fee;
pub mod import;
pub mod job;
pub mod ledger;
pub mod mask;
pub mod merchant;
pub mod notice;
pub mod operation;
pub mod order;
pub mod order_expiry;
pub mod pace;
pub mod partner;
pub mod partner_notification;
pub mod percent;
pub mod reconciliation;
pub mod record;
pub mod redact;
pub mod retry;
pub mod schedule;
pub mod settlement_run;
pub mod split;
pub mod words;
