//! The payment channels and the banks: the only place that speaks HTTP to the outside.
//!
//! The rest of clearday asks a [`Channel`] or a [`Bank`] by name and gets an answer with its [`Evidence`], or a [`ChannelError`]
//! that says whether anything may have happened. A second channel is one more variant: the compiler then names
//! every question it must answer.

mod answer;
pub mod bank;
mod error;
mod outbound;
pub mod sandbox;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, Reference};

pub use answer::{
    Capabilities, CloseAnswer, CloseOutcome, Evidence, PaymentState, QueryAnswer, Receipt,
};
pub use bank::{
    Bank, BankAccount, BankCapabilities, BankConnector, BankSettings, Banks, PayoutAnswer,
    PayoutOrder, PayoutState,
};
pub use error::{ChannelError, DeclineCode, ErrorClass, SetupError, TransportError, Trouble};
pub use outbound::{ANSWER_BYTES_MAX, Timeouts, install_tls_provider};
pub use sandbox::{SandboxChannel, SandboxSettings};

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
        let mut channels = BTreeMap::new();
        for (name, settings) in settings {
            let channel = Channel::build(name.clone(), settings, now)?;
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

/// One payment channel.
#[derive(Debug)]
pub enum Channel {
    /// The payment channel inside the binary.
    Sandbox(SandboxChannel),
}

impl Channel {
    fn build(name: ChannelName, settings: ChannelSettings, now: &Now) -> Result<Self, SetupError> {
        match settings {
            ChannelSettings::Sandbox(settings) => {
                SandboxChannel::new(name, &settings, Arc::clone(now)).map(Self::Sandbox)
            }
        }
    }

    /// The name that orders use for it.
    pub fn name(&self) -> &ChannelName {
        match self {
            Self::Sandbox(sandbox) => sandbox.name(),
        }
    }

    /// What it can do and promises.
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::Sandbox(sandbox) => sandbox.capabilities(),
        }
    }

    /// Asks where a payment stands. Changes nothing, so it may be asked again after any error.
    pub async fn query(&self, reference: &Reference) -> Result<QueryAnswer, ChannelError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.query(reference).await,
        }
    }

    /// Asks the channel to take no money for a payment any more.
    ///
    /// Closed before is success. Paid before is declined with [`DeclineCode::OrderPaid`].
    pub async fn close(
        &self,
        reference: &Reference,
        idempotency_key: &str,
    ) -> Result<CloseAnswer, ChannelError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.close(reference, idempotency_key).await,
        }
    }
}
