//! What a channel says, and the proof that it said so.
//!
//! An answer without its evidence does not exist here: whoever closes an unknown outcome stores
//! the words that closed it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clearday_jobs::Money;
use serde::{Deserialize, Serialize};

/// One exchange with a channel, as an auditor may read it: no header but the idempotency key, no
/// secret, the answer cut at [`super::ANSWER_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Method, path, idempotency key and body of what was asked.
    pub request: String,
    /// Status and body of what came back, as it came.
    pub answer: String,
    /// When the answer was complete, by our clock.
    pub answered_at: DateTime<Utc>,
}

/// Where the channel says a payment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// The channel knows the payment and would still take money for it.
    NotPaid,
    /// The channel has the money.
    Paid(Receipt),
    /// The channel will take no money for it any more.
    Closed,
    /// The channel says it never heard of it. Proof of absence only after the channel's
    /// [processing window](Capabilities::processing_window).
    NotFound,
}

/// What the channel says it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What was paid, which need not be what was asked.
    pub amount: Money,
    /// The channel's own number for the payment.
    pub channel_trade_no: String,
    /// When it was paid, by the channel's clock.
    pub paid_at: DateTime<Utc>,
}

/// The answer to "where does this payment stand?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryAnswer {
    /// Where it stands.
    pub state: PaymentState,
    /// The words that say so.
    pub evidence: Evidence,
}

/// The answer to "take no money for this any more". Both outcomes are success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseAnswer {
    /// Whether this call closed it.
    pub outcome: CloseOutcome,
    /// The words that say so.
    pub evidence: Evidence,
}

/// Who closed a payment that is now closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseOutcome {
    /// This call, or an earlier one with the same key.
    Closed,
    /// Somebody before this call.
    AlreadyClosed,
}

/// What a channel can do and promises. The engine never asks for what is `false` here.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent claims about a channel, printed as such; not a state in disguise"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Holds money now, takes it later.
    pub authorize: bool,
    /// Takes money that was held.
    pub capture: bool,
    /// Takes money at once.
    pub charge: bool,
    /// Lets go of money that was held.
    pub void: bool,
    /// Lets go of a part of it.
    pub reduce: bool,
    /// Closes a payment so that no money can come any more.
    pub close: bool,
    /// Says where a payment stands.
    pub query: bool,
    /// Gives money back.
    pub refund: bool,
    /// Provides a statement of a day.
    pub statement: bool,
    /// A second close of the same payment is success and has no second effect.
    pub close_is_idempotent: bool,
    /// The same key again holds no money twice.
    pub authorize_is_idempotent: bool,
    /// The same key again lets go of nothing twice.
    pub void_is_idempotent: bool,
    /// The longest a request may be on its way before it can no longer take effect. "Not found"
    /// proves nothing earlier than this after the last request was sent.
    pub processing_window: Duration,
}
