//! The sandbox: a payment channel and a bank with books of their own, inside the binary but behind real HTTP on
//! loopback.
//!
//! [`books`], [`hold_books`] and [`bank_books`] decide and remember, [`server`] is their HTTP face, [`faults`] is what an operator or
//! a test may let go wrong, [`channel`] and [`bank`] are the real clients. No real money moves here, and nothing
//! survives the process.

pub mod bank;
pub mod bank_books;
mod bank_face;
mod bank_statement;
pub mod books;
pub mod channel;
mod connection;
mod disturbance;
pub mod faults;
mod handle;
pub mod hold_books;
mod hold_face;
mod holds;
pub mod mailroom;
mod messages;
pub mod server;
mod within;

pub use bank::SandboxBank;
pub use bank_books::{
    ACCOUNT_NO, BankBooks, BankDay, BankEffect, BankEntry, BankEvent, BankRefusal, NewEntry,
    Payout, PayoutRequest, PayoutStatus,
};
pub use books::{Books, Closing, Effect, Event, Payment, PaymentStatus, Refusal};
pub use channel::{SandboxChannel, SandboxSettings};
pub use faults::{Fault, FaultTicket, Operation};
pub use handle::SandboxHandle;
pub use hold_books::{
    DECLINED_TOKEN, Hold, HoldBooks, HoldEffect, HoldEvent, HoldRefusal, HoldRequest, HoldStatus,
};
pub use server::{ServeError, serve};
pub use within::SandboxWithin;
