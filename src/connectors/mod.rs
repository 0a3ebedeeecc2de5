//! The payment channels, the banks and messages: the only place that speaks HTTP and SMTP to the outside.
//!
//! The rest of clearday asks a [`Channel`] or a [`Bank`] by name and gets an answer with its [`Evidence`], or a [`ChannelError`]
//! that says whether anything may have happened. A second channel is one more variant: the compiler then names
//! every question it must answer.

mod answer;
pub mod authorizations;
pub mod bank;
mod error;
mod gate;
pub mod messages;
mod outbound;
pub mod sandbox;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, Reference};

pub use answer::{
    Capabilities, CloseAnswer, CloseOutcome, Evidence, PaymentState, QueryAnswer, Receipt,
};
pub use authorizations::{HoldAnswer, HoldOrder, HoldState};
pub use bank::{
    Bank, BankAccount, BankCapabilities, BankConnector, BankSettings, Banks, PayoutAnswer,
    PayoutOrder, PayoutState,
};
pub use error::{ChannelError, DeclineCode, ErrorClass, SetupError, TransportError, Trouble};
pub use gate::Gate;
pub use outbound::{ANSWER_BYTES_MAX, Timeouts, Turn, install_tls_provider};
pub use sandbox::{SandboxChannel, SandboxSettings};
pub use wire::{Carrier, Delivered, Lost, Parcel, Wire, Within};

/// Tells the time; evidence and the sandbox's books are stamped with it.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Which channel is meant by a name, and how it is reached.
#[derive(Clone, Debug)]
pub enum ChannelSettings {
    /// The payment channel inside the binary.
    Sandbox(SandboxSettings),
}

/// The channels of this process, by the names that orders use.
#[derive(Debug)]
pub struct Channels(BTreeMap<ChannelName, Channel>);

impl Channels {
    /// Builds a client per channel; calls nobody.
    pub fn build(
        settings: impl IntoIterator<Item = (ChannelName, ChannelSettings)>,
        now: &Now,
    ) -> Result<Self, SetupError> {
        Self::build_on(&Wire::Network, settings, now)
    }

    /// The same, reached by this wire.
    pub fn build_on(
        wire: &Wire,
        settings: impl IntoIterator<Item = (ChannelName, ChannelSettings)>,
        now: &Now,
    ) -> Result<Self, SetupError> {
        let mut channels = BTreeMap::new();
        for (name, settings) in settings {
            let channel = Channel::build(wire, name.clone(), settings, now)?;
            if channels.insert(name.clone(), channel).is_some() {
                return Err(SetupError::Twice { channel: name });
            }
        }
        Ok(Self(channels))
    }

    /// The channel of that name, if one is configured.
    pub fn find(&self, name: &ChannelName) -> Option<&Channel> {
        self.0.get(name)
    }

    /// All channels, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.values()
    }
}

/// One payment channel, and what this process has heard of it lately.
#[derive(Debug)]
pub struct Channel {
    connector: Connector,
    gate: Gate,
}

/// What speaks to a channel.
#[derive(Debug)]
enum Connector {
    /// The payment channel inside the binary.
    Sandbox(SandboxChannel),
}

impl Channel {
    fn build(
        wire: &Wire,
        name: ChannelName,
        settings: ChannelSettings,
        now: &Now,
    ) -> Result<Self, SetupError> {
        let connector = match settings {
            ChannelSettings::Sandbox(settings) => {
                SandboxChannel::new(wire, name, &settings, Arc::clone(now))
                    .map(Connector::Sandbox)?
            }
        };
        Ok(Self {
            connector,
            gate: Gate::new(now),
        })
    }

    /// From now on every request to it waits for its turn.
    pub fn take_turns(&self, turn: Turn) {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.outbound().take_turns(turn),
        }
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

    /// The name that orders use for it.
    pub fn name(&self) -> &ChannelName {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.name(),
        }
    }

    /// What it can do and promises.
    pub fn capabilities(&self) -> Capabilities {
        match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.capabilities(),
        }
    }

    /// Asks where a payment stands. Changes nothing, so it may be asked again after any error.
    pub async fn query(&self, reference: &Reference) -> Result<QueryAnswer, ChannelError> {
        let answer = match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.query(reference).await,
        };
        self.gate.heard(answer)
    }

    /// Asks the channel to take no money for a payment any more.
    ///
    /// Closed before is success. Paid before is declined with [`DeclineCode::OrderPaid`].
    pub async fn close(
        &self,
        reference: &Reference,
        idempotency_key: &str,
    ) -> Result<CloseAnswer, ChannelError> {
        let answer = match &self.connector {
            Connector::Sandbox(sandbox) => sandbox.close(reference, idempotency_key).await,
        };
        self.gate.heard(answer)
    }
}
