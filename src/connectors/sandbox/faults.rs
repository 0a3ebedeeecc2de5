//! Faults of the sandbox: what may go wrong between it and whoever asks.
//!
//! A fault is queued for one operation on one reference and strikes once; several strike one after the other.
//! Books are never corrupted: a fault only decides whether the effect happens and what the asker hears of it.

use std::collections::BTreeMap;

use clearday_jobs::Reference;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// What the sandbox can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A shop asks for money.
    Create,
    /// A shop asks where a payment stands.
    Query,
    /// A shop wants no money any more.
    Close,
    /// The buyer pays.
    Pay,
    /// A shop asks to hold money.
    Authorize,
    /// A shop asks where an authorization stands.
    QueryAuthorization,
    /// A shop wants held money to be let go.
    Void,
    /// A payer orders a payout from the bank.
    PayOut,
    /// A payer asks the bank where a payout stands.
    QueryPayout,
    /// Somebody hands an SMS to the gateway.
    SendSms,
    /// Somebody asks the gateway what became of an SMS.
    QuerySms,
    /// Somebody sends an e-mail.
    SendMail,
    /// Somebody calls an endpoint.
    CallWebhook,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection closes before anything happened.
    LostRequest,
    /// It happens; then the connection is reset.
    LostAnswer,
    /// It happens; then the answer is 500.
    ErrorAfterEffect,
    /// It happens; the answer comes that much later, or when the ticket is released.
    SlowAnswer {
        /// How much later.
        delay_ms: u64,
    },
    /// It happens; the answer comes when the ticket is released or the sandbox stops.
    HeldAnswer,
    /// The answer is 503 with the documented code `not_processed`: nothing happened.
    Unavailable,
}

/// Tells whoever queued a fault that it struck, and lets a waiting answer go.
#[derive(Clone, Debug)]
pub struct FaultTicket {
    id: u64,
    struck: CancellationToken,
    released: CancellationToken,
}

impl FaultTicket {
    /// The number that `/v1/faults/{id}` knows it by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the fault has struck; its effect, if it has one, is in the books by then.
    pub async fn wait_until_struck(&self) {
        self.struck.cancelled().await;
    }

    /// Whether the fault has struck.
    pub fn has_struck(&self) -> bool {
        self.struck.is_cancelled()
    }

    /// Lets a held or slow answer go, also before it is held.
    pub fn release(&self) {
        self.released.cancel();
    }

    pub(super) fn strike(&self) {
        self.struck.cancel();
    }

    pub(super) async fn wait_until_released(&self) {
        self.released.cancelled().await;
    }
}

/// The faults that wait to strike, in the order they were queued.
#[derive(Debug, Default)]
pub(super) struct Faults {
    queued: Vec<Queued>,
    tickets: BTreeMap<u64, FaultTicket>,
}

#[derive(Debug)]
struct Queued {
    operation: Operation,
    reference: Reference,
    fault: Fault,
    ticket: FaultTicket,
}

impl Faults {
    pub(super) fn queue(
        &mut self,
        operation: Operation,
        reference: Reference,
        fault: Fault,
    ) -> FaultTicket {
        let ticket = FaultTicket {
            id: self
                .tickets
                .last_key_value()
                .map_or(1, |(id, _)| id.saturating_add(1)),
            struck: CancellationToken::new(),
            released: CancellationToken::new(),
        };
        self.tickets.insert(ticket.id, ticket.clone());
        self.queued.push(Queued {
            operation,
            reference,
            fault,
            ticket: ticket.clone(),
        });
        ticket
    }

    /// Takes the fault that strikes this request, if one waits for it.
    pub(super) fn take(
        &mut self,
        operation: Operation,
        reference: &Reference,
    ) -> Option<(Fault, FaultTicket)> {
        let index = self
            .queued
            .iter()
            .position(|queued| queued.operation == operation && queued.reference == *reference)?;
        let taken = self.queued.remove(index);
        Some((taken.fault, taken.ticket))
    }

    /// What has not struck yet never will.
    pub(super) fn clear(&mut self) {
        self.queued.clear();
    }

    pub(super) fn find(&self, id: u64) -> Option<FaultTicket> {
        self.tickets.get(&id).cloned()
    }
}
