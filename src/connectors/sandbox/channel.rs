//! The client of the sandbox: a connector as any real channel would have it.
//!
//! Believes only what is whole, well-formed and about the payment that was asked for; everything else is unknown.

use std::time::Duration;

use clearday_jobs::{ChannelName, Money, Reference};
use reqwest::{Method, StatusCode};

use super::books::PaymentStatus;
use super::messages::{ClosedBody, ErrorBody, NOT_PROCESSED, PaymentBody};
use crate::connectors::outbound::{Ask, Outbound, Reply, Timeouts};
use crate::connectors::{
    Capabilities, ChannelError, CloseAnswer, CloseOutcome, DeclineCode, Now, PaymentState,
    QueryAnswer, Receipt, SetupError, Wire,
};

/// How the sandbox is reached.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// Where it serves, such as `http://127.0.0.1:4100`.
    pub base_url: String,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How long a request may be on its way and still take effect.
    pub processing_window: Duration,
}

/// The sandbox, seen from outside.
#[derive(Debug)]
pub struct SandboxChannel {
    outbound: Outbound,
    processing_window: Duration,
}

impl SandboxChannel {
    /// A client for the sandbox; calls nobody yet.
    pub fn new(
        wire: &Wire,
        name: ChannelName,
        settings: &SandboxSettings,
        now: Now,
    ) -> Result<Self, SetupError> {
        let outbound = Outbound::new(wire, name, &settings.base_url, settings.timeouts, now)?;
        Ok(Self {
            outbound,
            processing_window: settings.processing_window,
        })
    }

    pub(in crate::connectors) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// The name that orders use for it.
    pub fn name(&self) -> &ChannelName {
        self.outbound.channel()
    }

    /// What it can do for clearday: what expiring and authorizing an order take.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            authorize: true,
            capture: false,
            charge: true,
            void: true,
            reduce: true,
            close: true,
            query: true,
            refund: false,
            statement: false,
            close_is_idempotent: true,
            authorize_is_idempotent: true,
            void_is_idempotent: true,
            processing_window: self.processing_window,
        }
    }

    /// Asks where a payment stands.
    pub async fn query(&self, reference: &Reference) -> Result<QueryAnswer, ChannelError> {
        let ask = Ask {
            method: Method::GET,
            path: &["v1", "payments", reference.as_str()],
            idempotency_key: None,
            body: None,
        };
        let reply = self.outbound.send(ask).await?;
        if reply.status == StatusCode::OK {
            read_payment(reply, reference)
        } else {
            read_absence(read_error(reply, reference))
        }
    }

    /// Asks that the payment takes no money any more.
    pub async fn close(
        &self,
        reference: &Reference,
        idempotency_key: &str,
    ) -> Result<CloseAnswer, ChannelError> {
        let ask = Ask {
            method: Method::POST,
            path: &["v1", "payments", reference.as_str(), "close"],
            idempotency_key: Some(idempotency_key),
            body: None,
        };
        let reply = self.outbound.send(ask).await?;
        if reply.status != StatusCode::OK {
            return Err(read_error(reply, reference));
        }
        read_closed(reply, reference)
    }
}

fn read_payment(reply: Reply, reference: &Reference) -> Result<QueryAnswer, ChannelError> {
    let body: PaymentBody = match reply.json() {
        Ok(body) => body,
        Err(error) => return Err(reply.unknown(format!("the answer is no payment: {error}"))),
    };
    if body.reference != *reference {
        return Err(reply.unknown("the answer is about another payment"));
    }
    let amount = Money::from(body.amount);
    let state = match body.status {
        PaymentStatus::Created => PaymentState::NotPaid,
        PaymentStatus::Closed => PaymentState::Closed,
        PaymentStatus::Paid if amount.is_zero() || amount.is_negative() => {
            return Err(reply.unknown("the answer says paid, but nothing was"));
        }
        PaymentStatus::Paid => PaymentState::Paid(Receipt {
            amount,
            channel_trade_no: body.channel_trade_no,
            paid_at: body.status_since,
        }),
    };
    Ok(QueryAnswer {
        state,
        evidence: reply.evidence,
    })
}

/// To a query, "no such payment" is an answer like any other.
fn read_absence(error: ChannelError) -> Result<QueryAnswer, ChannelError> {
    if let ChannelError::Declined {
        code: DeclineCode::PaymentNotFound,
        evidence,
        ..
    } = error
    {
        return Ok(QueryAnswer {
            state: PaymentState::NotFound,
            evidence: *evidence,
        });
    }
    Err(error)
}

fn read_closed(reply: Reply, reference: &Reference) -> Result<CloseAnswer, ChannelError> {
    let body: ClosedBody = match reply.json() {
        Ok(body) => body,
        Err(error) => return Err(reply.unknown(format!("the answer is no closing: {error}"))),
    };
    if body.reference != *reference || body.status != PaymentStatus::Closed {
        return Err(reply.unknown("the answer is not about closing this payment"));
    }
    let outcome = if body.was_closed {
        CloseOutcome::AlreadyClosed
    } else {
        CloseOutcome::Closed
    };
    Ok(CloseAnswer {
        outcome,
        evidence: reply.evidence,
    })
}

/// Sorts an answer that is not 200. A status alone is believed to be nothing but unknown: gateways and proxies answer
/// with 404 and 503 too. It takes the channel's own words about this very payment.
pub(super) fn read_error(reply: Reply, reference: &Reference) -> ChannelError {
    let status = reply.status;
    let said = reply.json().ok();
    let Some(body) = said.filter(|body: &ErrorBody| body.reference.as_ref() == Some(reference))
    else {
        return reply.unknown(format!("{status}, not in the channel's words"));
    };
    match status {
        StatusCode::SERVICE_UNAVAILABLE if body.code == NOT_PROCESSED => {
            reply.unavailable(body.message)
        }
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => reply.declined(body.code, body.message),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            reply.invalid(format!("{}: {}", body.code, body.message))
        }
        _ => reply.unknown(format!("{status} promises nothing")),
    }
}
