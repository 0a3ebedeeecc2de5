//! The sandbox's JSON, as its documentation would define it; written by the server and read by the client.
//!
//! Fields unknown to the reader are passed over, because channels add fields without asking.

use chrono::{DateTime, Utc};
use clearday_jobs::{Amount, Reference};
use serde::{Deserialize, Serialize};

use super::books::{Closing, Effect, Event, Payment, PaymentStatus};
use super::faults::{Fault, FaultTicket, Operation};

/// Asks for money: `POST /v1/payments`.
#[derive(Debug, Deserialize)]
pub(super) struct CreateBody {
    pub(super) reference: Reference,
    #[serde(flatten)]
    pub(super) amount: Amount,
}

/// One payment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PaymentBody {
    pub(super) reference: Reference,
    pub(super) channel_trade_no: String,
    pub(super) status: PaymentStatus,
    pub(super) status_since: DateTime<Utc>,
    #[serde(flatten)]
    pub(super) amount: Amount,
}

/// A payment that is closed now.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClosedBody {
    pub(super) reference: Reference,
    pub(super) status: PaymentStatus,
    pub(super) closed_at: DateTime<Utc>,
    pub(super) was_closed: bool,
}

/// What is wrong, and with which payment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) code: String,
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<Reference>,
}

/// One effect of `GET /v1/effects`.
#[derive(Debug, Serialize)]
pub(super) struct EffectBody {
    pub(super) event: Event,
    pub(super) reference: Reference,
    pub(super) idempotency_key: Option<String>,
    pub(super) at: DateTime<Utc>,
    #[serde(flatten)]
    pub(super) amount: Amount,
}

/// Lets something go wrong: `POST /v1/faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultBody {
    pub(super) operation: Operation,
    pub(super) reference: Reference,
    pub(super) fault: Fault,
}

/// A queued fault.
#[derive(Debug, Serialize)]
pub(super) struct TicketBody {
    pub(super) id: u64,
    pub(super) struck: bool,
}

/// The documented code of an answer 503 that promises that nothing was done.
pub(super) const NOT_PROCESSED: &str = "not_processed";

impl From<Payment> for PaymentBody {
    fn from(payment: Payment) -> Self {
        Self {
            reference: payment.reference,
            channel_trade_no: payment.channel_trade_no,
            status: payment.status,
            status_since: payment.status_since,
            amount: payment.amount.into(),
        }
    }
}

impl ClosedBody {
    pub(super) fn new(reference: &Reference, closing: &Closing) -> Self {
        Self {
            reference: reference.clone(),
            status: PaymentStatus::Closed,
            closed_at: closing.closed_at,
            was_closed: closing.was_closed,
        }
    }
}

impl From<Effect> for EffectBody {
    fn from(effect: Effect) -> Self {
        Self {
            event: effect.event,
            reference: effect.reference,
            idempotency_key: effect.idempotency_key,
            at: effect.at,
            amount: effect.amount.into(),
        }
    }
}

impl From<&FaultTicket> for TicketBody {
    fn from(ticket: &FaultTicket) -> Self {
        Self {
            id: ticket.id(),
            struck: ticket.has_struck(),
        }
    }
}
