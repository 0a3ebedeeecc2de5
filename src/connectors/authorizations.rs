//! What a channel is asked about authorizations: to hold money, what became of it, and to let it go.

use clearday_jobs::{Capture, Money, Reference, Token};

use super::{Channel, ChannelError, Connector, Evidence, Receipt};

/// Asks a channel to hold a payer's money, or to take it at once.
#[derive(Clone, Copy, Debug)]
pub struct HoldOrder<'a> {
    /// Our number for it.
    pub reference: &'a Reference,
    /// How much; more than zero.
    pub amount: Money,
    /// What stands for the payer's account.
    pub token: &'a Token,
    /// Who takes the money.
    pub capture: Capture,
    /// The same key again has no second effect, where the channel promises so.
    pub idempotency_key: &'a str,
}

/// Where the channel says an authorization stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// It holds this much.
    Held(Money),
    /// It took the money.
    Captured(Receipt),
    /// It let the money go on somebody's wish.
    Released,
    /// It let the money go because the time was over.
    Lapsed,
    /// It refused.
    Declined {
        /// Why, in the channel's word.
        code: String,
    },
    /// It says it never heard of it. Proof of absence only after the channel's
    /// [processing window](super::Capabilities::processing_window).
    NotFound,
}

/// What a channel says of an authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldAnswer {
    /// Where it stands.
    pub state: HoldState,
    /// The words that say so.
    pub evidence: Evidence,
}

impl Channel {
    /// Asks the channel to hold money, or to take it at once. Only [`HoldState::Held`] and [`HoldState::Captured`] are
    /// answers to this; a refusal of the payer's side is [`ChannelError::Declined`], and nothing else is.
    pub async fn authorize(&self, order: &HoldOrder<'_>) -> Result<HoldAnswer, ChannelError> {
        let answer = match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.authorize(order).await,
        };
        self.gate.heard(answer)
    }

    /// Asks where an authorization stands. Changes nothing, so it may be asked again after any error.
    pub async fn query_authorization(
        &self,
        reference: &Reference,
    ) -> Result<HoldAnswer, ChannelError> {
        let answer = match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.query_authorization(reference).await,
        };
        self.gate.heard(answer)
    }

    /// Asks the channel to let go of all that is held above `keep`, which is zero where all is to be let go.
    ///
    /// [`HoldState::Released`] answers the latter, [`HoldState::Held`] any other. Declined means that it stands
    /// elsewhere: ask where.
    pub async fn void(
        &self,
        reference: &Reference,
        keep: Money,
        idempotency_key: &str,
    ) -> Result<HoldAnswer, ChannelError> {
        let answer = match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.void(reference, keep, idempotency_key).await,
        };
        self.gate.heard(answer)
    }
}
