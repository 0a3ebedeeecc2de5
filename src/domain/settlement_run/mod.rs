//! Settlements: what a merchant is owed for a period, and how it is paid.
//!
//! A settlement collects what was captured and refunded in a contiguous, half-open period, once. Its net is paid in
//! numbered [parts](part), each of which lives through instructions to a bank, or is closed by an
//! [offline payment](claim) that two people stand for. Only the bank's statement proves that money left.

pub mod claim;
pub mod collect;
pub mod decide;
pub mod part;
pub mod period;
pub mod public;
pub mod request;
mod settlement;
mod state;

pub use claim::{ClaimEvent, ClaimState};
pub use part::{InstructionState, PartEvent, PartState};
pub use settlement::{Claim, DebitLine, Instruction, Part, SecondPayment, Settlement};
pub use state::{SettlementEvent, SettlementState};
