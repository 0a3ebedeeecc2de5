//! Messages to people and systems: SMS by an HTTP gateway, e-mail by SMTP, signed webhooks.
//!
//! Each way sends once and says what may have happened, in the same four classes as a payment
//! channel. What is sent to whom, and when again, is decided elsewhere. No address and no text of
//! a message stands in an error or in evidence.

mod email;
mod network;
mod signature;
mod sms;
mod targets;
mod webhook;

use std::fmt;
use std::time::Duration;

use clearday_jobs::{ChannelName, IdError};

pub use email::{EmailSettings, SmtpTls};
pub use network::{Network, NetworkError};
pub use signature::{SecretError, SigningKeys, VerifyError};
pub(in crate::connectors) use sms::{
    ErrorBody, MESSAGE_NOT_FOUND, MessageBody, NOT_PROCESSED, StatusBody,
};
pub use sms::{SmsSettings, SmsStatus};
pub use webhook::{UPSTREAM, WebhookSettings};

use super::{ChannelError, Evidence, Now, SetupError, TransportError, Wire};
use crate::domain::notice::MessageFate;
use crate::domain::partner::MessageChannel;
use email::Mailer;
use sms::SmsGateway;
use webhook::Webhooks;

/// The code of an endpoint that answered 410: nothing may be sent there any more.
pub const GONE: &str = "gone";

/// Which ways there are, and how they are reached.
#[derive(Clone, Debug)]
pub struct MessageSettings {
    /// The SMS gateway, if there is one.
    pub sms: Option<SmsSettings>,
    /// The mail server, if there is one.
    pub email: Option<EmailSettings>,
    /// Webhooks.
    pub webhooks: WebhookSettings,
}

/// Why the ways to send messages cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MessagesError {
    /// The SMS gateway's address or time-outs.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An HTTP client could not be built.
    #[error("{0} has no HTTP client")]
    Client(&'static str, #[source] TransportError),
    /// A way has a name that no operation can carry.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The sender is no mail address.
    #[error("[smtp] from: {0:?} is no mail address, like \"clearday <pay@example.com>\"")]
    Sender(String),
    /// Mail would cross a network in the open.
    #[error("[smtp] tls is \"none\", and {0} is not this machine: use \"starttls\" or \"tls\"")]
    PlainSmtp(String),
}

/// One message. It shows nothing of itself but its id.
#[derive(Clone, Copy)]
pub struct Letter<'a> {
    /// Its id: the same for every try, and how a receiver knows a repetition.
    pub id: &'a str,
    /// A telephone number, a mail address or a URL.
    pub target: &'a str,
    /// Of an e-mail.
    pub subject: &'a str,
    /// The text, or the body.
    pub content: &'a str,
}

impl fmt::Debug for Letter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Letter({})", self.id)
    }
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Carriage {
    /// How far it got.
    pub how: Carried,
    /// The words that say so.
    pub evidence: Evidence,
}

/// How far a message got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Whoever carries it has it.
    Accepted,
    /// Whoever it is for has it.
    Delivered,
}

/// The ways to send messages, of this process.
#[derive(Debug)]
pub struct Messages {
    sms: Option<SmsGateway>,
    email: Option<Mailer>,
    webhooks: Webhooks,
    sms_window: Duration,
    names: Names,
}

/// The names under which operations know the ways.
#[derive(Debug)]
struct Names {
    sms: ChannelName,
    email: ChannelName,
    webhook: ChannelName,
}

impl Names {
    fn new() -> Result<Self, IdError> {
        let name = |channel: MessageChannel| ChannelName::new(channel.as_str());
        Ok(Self {
            sms: name(MessageChannel::Sms)?,
            email: name(MessageChannel::Email)?,
            webhook: name(MessageChannel::Webhook)?,
        })
    }
}

impl Messages {
    /// Builds what the settings ask for; calls nobody.
    pub fn build(settings: &MessageSettings, now: &Now) -> Result<Self, MessagesError> {
        Self::build_on(&Wire::Network, settings, now)
    }

    /// The same, with HTTP by this wire; mail always goes by the network.
    pub fn build_on(
        wire: &Wire,
        settings: &MessageSettings,
        now: &Now,
    ) -> Result<Self, MessagesError> {
        let names = Names::new()?;
        let (gateway, mailer) = (settings.sms.as_ref(), settings.email.as_ref());
        let (sms, email, webhook) = (&names.sms, &names.email, &names.webhook);
        Ok(Self {
            sms: gateway
                .map(|settings| SmsGateway::new(wire, sms.clone(), settings, Now::clone(now)))
                .transpose()?,
            email: mailer
                .map(|settings| Mailer::new(email.clone(), settings, Now::clone(now)))
                .transpose()?,
            webhooks: Webhooks::new(wire, webhook.clone(), &settings.webhooks, Now::clone(now))
                .map_err(|error| MessagesError::Client("webhook", error))?,
            sms_window: gateway.map_or_else(Default::default, |it| it.processing_window),
            names,
        })
    }

    /// The name under which operations know a way.
    pub fn name(&self, channel: MessageChannel) -> &ChannelName {
        match channel {
            MessageChannel::Sms => &self.names.sms,
            MessageChannel::Email => &self.names.email,
            MessageChannel::Webhook => &self.names.webhook,
        }
    }

    /// How long a request may be on its way and still take effect.
    pub fn processing_window(&self, channel: MessageChannel) -> Duration {
        match channel {
            MessageChannel::Sms => self.sms_window,
            MessageChannel::Email | MessageChannel::Webhook => Duration::ZERO,
        }
    }

    /// Whether a way is set up for this recipient; if not, what must be set.
    pub fn check(&self, channel: MessageChannel, recipient: &str) -> Result<(), String> {
        match channel {
            MessageChannel::Sms if self.sms.is_none() => {
                Err("no gateway carries SMS: set [sms] url".to_owned())
            }
            MessageChannel::Email if self.email.is_none() => {
                Err("no server carries e-mail: set [smtp] host and from".to_owned())
            }
            MessageChannel::Sms | MessageChannel::Email => Ok(()),
            MessageChannel::Webhook => self.webhooks.keys(recipient).map(drop),
        }
    }

    /// Sends a message, once. `recipient` names the keys that sign a webhook.
    pub async fn send(
        &self,
        channel: MessageChannel,
        recipient: &str,
        letter: &Letter<'_>,
    ) -> Result<Carriage, ChannelError> {
        match channel {
            MessageChannel::Sms => match &self.sms {
                Some(gateway) => gateway.send(letter).await,
                None => Err(self.missing(channel)),
            },
            MessageChannel::Email => match &self.email {
                Some(mailer) => mailer.send(letter).await,
                None => Err(self.missing(channel)),
            },
            MessageChannel::Webhook => self.webhooks.send(recipient, letter).await,
        }
    }

    /// Asks what became of an SMS; no other way can be asked.
    pub async fn query_sms(
        &self,
        id: &str,
        target: &str,
    ) -> Result<(MessageFate, Evidence), ChannelError> {
        match &self.sms {
            Some(gateway) => gateway.query(id, target).await,
            None => Err(self.missing(MessageChannel::Sms)),
        }
    }

    fn missing(&self, channel: MessageChannel) -> ChannelError {
        let reason = self.check(channel, "").err().unwrap_or_default();
        ChannelError::Unavailable(Box::new(super::Trouble {
            channel: self.name(channel).clone(),
            request: "nothing".to_owned(),
            reason,
            evidence: None,
            cause: None,
        }))
    }
}
