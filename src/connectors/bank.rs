//! The banks that pay merchants out.
//!
//! A bank is asked like a channel is: by name, with a key, and with an answer that carries its [`Evidence`] or a
//! [`ChannelError`] that says whether anything may have happened. What proves that money left is the bank's
//! statement; an answer here only says how far the bank has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveTime;
use chrono_tz::Tz;
use clearday_jobs::{ChannelName, Currency, Money, Reference};

use super::sandbox::SandboxBank;
use super::{ChannelError, Evidence, Gate, Now, SetupError, Timeouts, Turn, Wire};

/// The longest end-to-end id that ISO 20022 carries (`Max35Text`); a longer one comes back cut, or not at all.
pub const END_TO_END_ID_LENGTH_MAX: usize = 35;

/// How a bank is reached, and which account of ours it keeps.
#[derive(Clone, Debug)]
pub struct BankSettings {
    /// What speaks to it.
    pub connector: BankConnector,
    /// Where it is, such as `https://bank.example`.
    pub base_url: String,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// The account that pays.
    pub account: BankAccount,
    /// The most it pays with one order.
    pub payout_max: Option<Money>,
    /// How long an order may be on its way and still take effect.
    pub processing_window: Duration,
}

/// What speaks to a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BankConnector {
    /// The bank inside the binary.
    Sandbox,
}

/// Our account at a bank, and its day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankAccount {
    /// Its number, as statements name it.
    pub account_no: String,
    /// The currency it is kept in.
    pub currency: Currency,
    /// An order that comes at this time of day or later is paid on the bank's next day.
    pub cutoff: NaiveTime,
    /// Whose wall clock `cutoff` is read on.
    pub zone: Tz,
}

/// A payment to a merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayoutOrder<'a> {
    /// Ours, carried to the payee and back on the statement; at most [`END_TO_END_ID_LENGTH_MAX`] characters.
    pub end_to_end_id: &'a Reference,
    /// How much; above zero and in the account's currency.
    pub amount: Money,
    /// Whom.
    pub payee_account_no: &'a str,
    /// By name.
    pub payee_name: &'a str,
    /// What the payee reads beside the amount.
    pub remittance: &'a str,
    /// The same key is the same order.
    pub idempotency_key: &'a str,
}

/// Where the bank says an order stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayoutState {
    /// The bank says it never heard of it. Proof of absence only after [`BankCapabilities::processing_window`].
    NotFound,
    /// The bank will pay.
    Accepted,
    /// The bank says it paid. The statement proves it.
    Booked,
    /// The bank did not pay and will not.
    Rejected {
        /// Why, in the bank's words.
        reason: String,
    },
    /// The bank paid, and the money came back (退票).
    Returned {
        /// Why, in the bank's words.
        reason: String,
    },
}

/// The answer to a payout order, or to where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayoutAnswer {
    /// Where it stands.
    pub state: PayoutState,
    /// The words that say so.
    pub evidence: Evidence,
}

/// What a bank promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankCapabilities {
    /// The same order under the same key is paid once.
    pub payout_is_idempotent: bool,
    /// "Not found" proves nothing earlier than this after the last request was sent.
    pub processing_window: Duration,
    /// The most it pays with one order, in minor units of the account's currency.
    pub payout_max: Option<i64>,
}

/// The banks of this process, by the names that merchants' accounts use.
#[derive(Debug, Default)]
pub struct Banks(BTreeMap<ChannelName, Bank>);

impl Banks {
    /// Builds a client per bank; calls nobody.
    pub fn build(
        settings: impl IntoIterator<Item = (ChannelName, BankSettings)>,
        now: &Now,
    ) -> Result<Self, SetupError> {
        Self::build_on(&Wire::Network, settings, now)
    }

    /// The same, reached by this wire.
    pub fn build_on(
        wire: &Wire,
        settings: impl IntoIterator<Item = (ChannelName, BankSettings)>,
        now: &Now,
    ) -> Result<Self, SetupError> {
        let mut banks = BTreeMap::new();
        for (name, settings) in settings {
            let bank = Bank::build(wire, name.clone(), settings, now)?;
            if banks.insert(name.clone(), bank).is_some() {
                return Err(SetupError::Twice { channel: name });
            }
        }
        Ok(Self(banks))
    }

    /// The bank of that name, if one is configured.
    pub fn find(&self, name: &ChannelName) -> Option<&Bank> {
        self.0.get(name)
    }

    /// All banks, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Bank> {
        self.0.values()
    }
}

/// One bank, and what this process has heard of it lately.
#[derive(Debug)]
pub struct Bank {
    connector: Connector,
    gate: Gate,
}

/// What speaks to a bank.
#[derive(Debug)]
enum Connector {
    /// The bank inside the binary.
    Sandbox(SandboxBank),
}

impl Bank {
    fn build(
        wire: &Wire,
        name: ChannelName,
        settings: BankSettings,
        now: &Now,
    ) -> Result<Self, SetupError> {
        let connector = match settings.connector {
            BankConnector::Sandbox => {
                SandboxBank::new(wire, name, settings, Arc::clone(now)).map(Connector::Sandbox)?
            }
        };
        Ok(Self {
            connector,
            gate: Gate::new(now),
        })
    }

    /// Waits until a call with an effect may go out, where a pace is kept; before its intent is written down.
    pub async fn wait_for_turn(&self) {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.outbound().wait_for_turn().await,
        }
    }

    /// Whether it may be called now.
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The name that merchants' accounts use for it.
    pub fn name(&self) -> &ChannelName {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.name(),
        }
    }

    /// From now on every request to it waits for its turn.
    pub fn take_turns(&self, turn: Turn) {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.outbound().take_turns(turn),
        }
    }

    /// Our account there.
    pub fn account(&self) -> &BankAccount {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.account(),
        }
    }

    /// What it promises.
    pub fn capabilities(&self) -> BankCapabilities {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.capabilities(),
        }
    }

    /// Orders a payment. A bank that understands and will not pay answers [`PayoutState::Rejected`].
    ///
    /// [`ChannelError::Invalid`] means that the order was never sent, or refused as nonsense; everything whose
    /// effect is open, also an end-to-end id that the bank knows for another order, is [`ChannelError::Unknown`].
    pub async fn pay_out(&self, order: &PayoutOrder<'_>) -> Result<PayoutAnswer, ChannelError> {
        let answer = match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.pay_out(order).await,
        };
        self.gate.heard(answer)
    }

    /// Asks where an order stands. Changes nothing, so it may be asked again after any error.
    pub async fn query(&self, end_to_end_id: &Reference) -> Result<PayoutAnswer, ChannelError> {
        let answer = match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.query(end_to_end_id).await,
        };
        self.gate.heard(answer)
    }
}
