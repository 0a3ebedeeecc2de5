//! The client of the sandbox bank: a connector as any real bank would have it.
//!
//! Believes only what is whole, well-formed and about the payout that was asked for; everything else is unknown. It
//! never says that an order was declined: a bank that will not pay answers with the payout, rejected.

use clearday_jobs::{Amount, ChannelName, Money, Reference};
use reqwest::{Method, StatusCode};

use super::bank_books::{BankRefusal, PayoutStatus};
use super::bank_face::{OrderBody, PayoutBody};
use super::channel::read_error;
use crate::connectors::bank::{
    BankAccount, BankCapabilities, BankSettings, END_TO_END_ID_LENGTH_MAX, PayoutAnswer,
    PayoutOrder, PayoutState,
};
use crate::connectors::outbound::{Ask, Outbound, Reply};
use crate::connectors::{ChannelError, Now, SetupError, Wire};

/// The sandbox bank, seen from outside.
#[derive(Debug)]
pub struct SandboxBank {
    outbound: Outbound,
    account: BankAccount,
    capabilities: BankCapabilities,
}

impl SandboxBank {
    /// A client for the bank; calls nobody yet.
    pub fn new(
        wire: &Wire,
        name: ChannelName,
        settings: BankSettings,
        now: Now,
    ) -> Result<Self, SetupError> {
        let outbound = Outbound::new(wire, name, &settings.base_url, settings.timeouts, now)?;
        Ok(Self {
            outbound,
            account: settings.account,
            capabilities: BankCapabilities {
                payout_is_idempotent: true,
                processing_window: settings.processing_window,
                payout_max: settings.payout_max.map(Money::minor_units),
            },
        })
    }

    pub(in crate::connectors) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// The name that merchants' accounts use for it.
    pub fn name(&self) -> &ChannelName {
        self.outbound.channel()
    }

    /// Our account there.
    pub fn account(&self) -> &BankAccount {
        &self.account
    }

    /// What it promises.
    pub fn capabilities(&self) -> BankCapabilities {
        self.capabilities
    }

    /// Orders a payment.
    pub async fn pay_out(&self, order: &PayoutOrder<'_>) -> Result<PayoutAnswer, ChannelError> {
        let nonsense = |reason: &str| {
            let request = format!("pay out {}", order.end_to_end_id);
            self.outbound.invalid(request, reason)
        };
        if let Some(reason) = self.objection(order) {
            return Err(nonsense(reason));
        }
        let body = OrderBody {
            end_to_end_id: order.end_to_end_id.clone(),
            amount: Amount::from(order.amount),
            payee_account_no: order.payee_account_no.to_owned(),
            payee_name: order.payee_name.to_owned(),
            remittance: order.remittance.to_owned(),
        };
        let body = serde_json::to_string(&body).map_err(|error| nonsense(&error.to_string()))?;
        let ask = Ask {
            method: Method::POST,
            path: &["v1", "bank", "payouts"],
            idempotency_key: Some(order.idempotency_key),
            body: Some(body),
        };
        let reply = self.outbound.send(ask).await?;
        if reply.status == StatusCode::OK {
            return read_payout(reply, order.end_to_end_id, Some(order.amount.into()));
        }
        Err(doubt(read_error(reply, order.end_to_end_id)))
    }

    /// Asks where an order stands.
    pub async fn query(&self, end_to_end_id: &Reference) -> Result<PayoutAnswer, ChannelError> {
        let ask = Ask {
            method: Method::GET,
            path: &["v1", "bank", "payouts", end_to_end_id.as_str()],
            idempotency_key: None,
            body: None,
        };
        let reply = self.outbound.send(ask).await?;
        if reply.status == StatusCode::OK {
            return read_payout(reply, end_to_end_id, None);
        }
        read_absence(read_error(reply, end_to_end_id))
    }

    /// Why an order is not even sent.
    fn objection(&self, order: &PayoutOrder<'_>) -> Option<&'static str> {
        let most = self.capabilities.payout_max.unwrap_or(i64::MAX);
        if order.amount.currency() != self.account.currency {
            Some("the bank's account is kept in another currency")
        } else if order.amount.minor_units() <= 0 {
            Some("an amount to pay is above zero")
        } else if order.amount.minor_units() > most {
            Some("the bank pays less than that with one order")
        } else if order.end_to_end_id.as_str().len() > END_TO_END_ID_LENGTH_MAX {
            Some("the end-to-end id is longer than a bank can carry")
        } else {
            None
        }
    }
}

fn read_payout(
    reply: Reply,
    end_to_end_id: &Reference,
    asked: Option<Amount>,
) -> Result<PayoutAnswer, ChannelError> {
    let body: PayoutBody = match reply.json() {
        Ok(body) => body,
        Err(error) => return Err(reply.unknown(format!("the answer is no payout: {error}"))),
    };
    if body.end_to_end_id != *end_to_end_id {
        return Err(reply.unknown("the answer is about another payout"));
    }
    if asked.is_some_and(|asked| asked != body.amount) {
        return Err(reply.unknown("the answer is about another amount"));
    }
    let reason = body.reason.unwrap_or_default();
    let state = match body.status {
        PayoutStatus::Accepted => PayoutState::Accepted,
        PayoutStatus::Booked => PayoutState::Booked,
        PayoutStatus::Rejected => PayoutState::Rejected { reason },
        PayoutStatus::Returned => PayoutState::Returned { reason },
    };
    Ok(PayoutAnswer {
        state,
        evidence: reply.evidence,
    })
}

/// A conflict says that the bank holds something else under this id or key. That is no proof that nothing was paid, so
/// it is not a decision.
fn doubt(error: ChannelError) -> ChannelError {
    match error {
        ChannelError::Declined {
            channel,
            code,
            message,
            evidence,
        } => ChannelError::Unknown(Box::new(crate::connectors::Trouble {
            channel,
            request: evidence
                .request
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
            reason: format!("{code}: {message}"),
            evidence: Some(*evidence),
            cause: None,
        })),
        ChannelError::Unavailable(_) | ChannelError::Unknown(_) | ChannelError::Invalid(_) => error,
    }
}

/// To a query, "no such payout" is an answer like any other.
fn read_absence(error: ChannelError) -> Result<PayoutAnswer, ChannelError> {
    match error {
        ChannelError::Declined { code, evidence, .. }
            if code.as_str() == BankRefusal::PayoutNotFound.code() =>
        {
            Ok(PayoutAnswer {
                state: PayoutState::NotFound,
                evidence: *evidence,
            })
        }
        ChannelError::Declined { .. }
        | ChannelError::Unavailable(_)
        | ChannelError::Unknown(_)
        | ChannelError::Invalid(_) => Err(doubt(error)),
    }
}
