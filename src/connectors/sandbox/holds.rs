//! The part of the sandbox's client that speaks about authorizations.
//!
//! Believes only what is whole, well-formed and about the authorization that was asked for. A decline is believed in
//! one form only, the channel's own: a conflict about a reference or a key proves nothing about the payer's money.

use clearday_jobs::{Amount, Money, Reference};
use reqwest::{Method, StatusCode};

use super::channel::{SandboxChannel, read_error};
use super::hold_books::{HoldRefusal, HoldStatus};
use super::hold_face::{HoldAskBody, HoldBody, VoidBody};
use super::messages::ErrorBody;
use crate::connectors::authorizations::{HoldAnswer, HoldOrder, HoldState};
use crate::connectors::outbound::{Ask, Reply};
use crate::connectors::{ChannelError, Receipt, Trouble};

impl SandboxChannel {
    /// Asks to hold money.
    pub async fn authorize(&self, order: &HoldOrder<'_>) -> Result<HoldAnswer, ChannelError> {
        let body = HoldAskBody {
            reference: order.reference.clone(),
            amount: Amount(order.amount),
            token: order.token.reveal().to_owned(),
            capture: order.capture,
        };
        let ask = Ask {
            method: Method::POST,
            path: &["v1", "authorizations"],
            idempotency_key: Some(order.idempotency_key),
            body: Some(self.written(&body, "authorize")?),
        };
        let reply = self.outbound().send(ask).await?;
        if reply.status != StatusCode::OK {
            return Err(read_refusal(reply, order.reference));
        }
        match read_hold(reply, order.reference)? {
            answer @ HoldAnswer {
                state: HoldState::Held(_) | HoldState::Captured(_),
                ..
            } => Ok(answer),
            HoldAnswer { evidence, .. } => Err(ChannelError::Unknown(Box::new(Trouble {
                channel: self.name().clone(),
                request: "POST /v1/authorizations".to_owned(),
                reason: "the answer says neither held nor captured".to_owned(),
                evidence: Some(evidence),
                cause: None,
            }))),
        }
    }

    /// Asks where an authorization stands.
    pub async fn query_authorization(
        &self,
        reference: &Reference,
    ) -> Result<HoldAnswer, ChannelError> {
        let ask = Ask {
            method: Method::GET,
            path: &["v1", "authorizations", reference.as_str()],
            idempotency_key: None,
            body: None,
        };
        let reply = self.outbound().send(ask).await?;
        if reply.status == StatusCode::OK {
            return read_hold(reply, reference);
        }
        read_absence(read_error(reply, reference))
    }

    /// Asks to let go of all above `keep`.
    pub async fn void(
        &self,
        reference: &Reference,
        keep: Money,
        idempotency_key: &str,
    ) -> Result<HoldAnswer, ChannelError> {
        let body = VoidBody { keep: Amount(keep) };
        let ask = Ask {
            method: Method::POST,
            path: &["v1", "authorizations", reference.as_str(), "void"],
            idempotency_key: Some(idempotency_key),
            body: Some(self.written(&body, "void")?),
        };
        let reply = self.outbound().send(ask).await?;
        if reply.status != StatusCode::OK {
            return Err(read_error(reply, reference));
        }
        read_hold(reply, reference)
    }

    fn written(&self, body: &impl serde::Serialize, request: &str) -> Result<String, ChannelError> {
        serde_json::to_string(body).map_err(|error| {
            self.outbound()
                .invalid(request.to_owned(), &error.to_string())
        })
    }
}

fn read_hold(reply: Reply, reference: &Reference) -> Result<HoldAnswer, ChannelError> {
    let body: HoldBody = match reply.json() {
        Ok(body) => body,
        Err(error) => {
            return Err(reply.unknown(format!("the answer is no authorization: {error}")));
        }
    };
    if body.reference != *reference {
        return Err(reply.unknown("the answer is about another authorization"));
    }
    let amount = Money::from(body.amount);
    let is_money = amount.minor_units() > 0;
    let state = match body.status {
        HoldStatus::Authorized | HoldStatus::Captured if !is_money => {
            return Err(reply.unknown("the answer says held, but nothing is"));
        }
        HoldStatus::Authorized => HoldState::Held(amount),
        HoldStatus::Captured => HoldState::Captured(Receipt {
            amount,
            channel_trade_no: body.channel_trade_no,
            paid_at: body.status_since,
        }),
        HoldStatus::Voided => HoldState::Released,
        HoldStatus::Lapsed => HoldState::Lapsed,
        HoldStatus::Declined => HoldState::Declined {
            code: body.decline_code.unwrap_or_else(|| "declined".to_owned()),
        },
    };
    Ok(HoldAnswer {
        state,
        evidence: reply.evidence,
    })
}

/// Sorts an answer to "hold this" that is not 200. Only the payer's side declines; what the channel says of references
/// and keys leaves open what it holds.
fn read_refusal(reply: Reply, reference: &Reference) -> ChannelError {
    let said: Option<ErrorBody> = reply.json().ok();
    let said = said.filter(|body| body.reference.as_ref() == Some(reference));
    match (reply.status, said) {
        (StatusCode::PAYMENT_REQUIRED, Some(body)) => reply.declined(body.code, body.message),
        (StatusCode::CONFLICT | StatusCode::NOT_FOUND, Some(body)) => {
            reply.unknown(format!("{}: {}", body.code, body.message))
        }
        (_, _) => read_error(reply, reference),
    }
}

/// To a query, "no such authorization" is an answer like any other.
fn read_absence(error: ChannelError) -> Result<HoldAnswer, ChannelError> {
    match error {
        ChannelError::Declined { code, evidence, .. }
            if code.as_str() == HoldRefusal::NotFound.code() =>
        {
            Ok(HoldAnswer {
                state: HoldState::NotFound,
                evidence: *evidence,
            })
        }
        ChannelError::Declined { .. }
        | ChannelError::Unavailable(_)
        | ChannelError::Unknown(_)
        | ChannelError::Invalid(_) => Err(error),
    }
}
