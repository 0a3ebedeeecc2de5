//! The sandbox: a payment channel with its own books, inside the binary but behind real HTTP on loopback.
//!
//! [`books`] decides and remembers, [`server`] is its HTTP face, [`faults`] is what an operator or a test may let go
//! wrong, [`channel`] is the real client. No real money moves here, and nothing survives the process.

pub mod books;
pub mod channel;
mod connection;
mod disturbance;
pub mod faults;
mod handle;
pub mod mailroom;
mod messages;
pub mod server;

pub use books::{Books, Closing, Effect, Event, Payment, PaymentStatus, Refusal};
pub use channel::{SandboxChannel, SandboxSettings};
pub use faults::{Fault, FaultTicket, Operation};
pub use handle::SandboxHandle;
pub use server::{ServeError, serve};
