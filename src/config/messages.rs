//! How messages to partners and upstream go: `[notifications]`, `[smtp]`, `[sms]`, `[webhooks]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Secret, values};
use crate::connectors::Timeouts;
use crate::connectors::messages::{
    EmailSettings, MessageSettings, Network, SmsSettings, SmtpTls, WebhookSettings,
};

/// `[notifications]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notifications {
    /// Where partners pay: a URL with `{order_no}` in it.
    #[serde(default, deserialize_with = "values::some_text")]
    pub pay_link_template: Option<String>,
}

/// `[smtp]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The mail server; without it no e-mail is sent.
    #[serde(default, deserialize_with = "values::some_text")]
    pub host: Option<String>,
    /// Its port.
    #[serde(deserialize_with = "values::whole")]
    pub port: u32,
    /// How the conversation is kept private.
    pub tls: SmtpTls,
    /// Who sends.
    #[serde(default, deserialize_with = "values::some_text")]
    pub from: Option<String>,
    /// Who signs in.
    #[serde(default, deserialize_with = "values::some_text")]
    pub username: Option<String>,
    /// With what; read from `password_file` where that is set instead.
    pub password: Option<Secret>,
    /// A file that holds the password and nothing else.
    pub password_file: Option<PathBuf>,
    /// How long it may take until the server has greeted and signed us in.
    #[serde(
        rename = "connect_timeout_seconds",
        deserialize_with = "values::seconds"
    )]
    pub connect_timeout: Duration,
    /// How long each further step may take.
    #[serde(
        rename = "request_timeout_seconds",
        deserialize_with = "values::seconds"
    )]
    pub request_timeout: Duration,
}

/// `[sms]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    /// The gateway; without it no SMS is sent.
    #[serde(default, deserialize_with = "values::some_text")]
    pub url: Option<String>,
    /// The bearer token it wants; read from `token_file` where that is set instead.
    pub token: Option<Secret>,
    /// A file that holds the token and nothing else.
    pub token_file: Option<PathBuf>,
    /// How long connecting may take.
    #[serde(
        rename = "connect_timeout_seconds",
        deserialize_with = "values::seconds"
    )]
    pub connect_timeout: Duration,
    /// How long a call may take, connecting included.
    #[serde(
        rename = "request_timeout_seconds",
        deserialize_with = "values::seconds"
    )]
    pub request_timeout: Duration,
    /// After this long without effect, a message that left will not arrive any more.
    #[serde(
        rename = "processing_window_seconds",
        deserialize_with = "values::seconds"
    )]
    pub processing_window: Duration,
}

/// `[webhooks]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Where the keys that sign are, a file for each endpoint; without it no webhook is sent.
    pub keys_directory: Option<PathBuf>,
    /// Networks that may be called although they are private, also without TLS.
    #[serde(deserialize_with = "values::networks")]
    pub allow_networks: Vec<Network>,
    /// How long connecting may take.
    #[serde(
        rename = "connect_timeout_seconds",
        deserialize_with = "values::seconds"
    )]
    pub connect_timeout: Duration,
    /// How long a call may take, connecting included.
    #[serde(
        rename = "request_timeout_seconds",
        deserialize_with = "values::seconds"
    )]
    pub request_timeout: Duration,
}

impl Smtp {
    fn settings(&self) -> Option<EmailSettings> {
        Some(EmailSettings {
            host: self.host.clone()?,
            // Settings that were loaded have a port there.
            port: u16::try_from(self.port).unwrap_or(0),
            tls: self.tls,
            from: self.from.clone()?,
            username: self.username.clone(),
            password: self.password.clone(),
            timeouts: Timeouts {
                connect: self.connect_timeout,
                request: self.request_timeout,
            },
        })
    }
}

impl Sms {
    fn settings(&self) -> Option<SmsSettings> {
        Some(SmsSettings {
            url: self.url.clone()?,
            token: self.token.clone(),
            timeouts: Timeouts {
                connect: self.connect_timeout,
                request: self.request_timeout,
            },
            processing_window: self.processing_window,
        })
    }
}

impl super::Settings {
    /// The ways to send messages that are set up.
    pub fn messages(&self) -> MessageSettings {
        let webhooks = &self.webhooks;
        MessageSettings {
            sms: self.sms.settings(),
            email: self.smtp.settings(),
            webhooks: WebhookSettings {
                keys_directory: webhooks.keys_directory.clone(),
                allow_networks: webhooks.allow_networks.clone(),
                timeouts: Timeouts {
                    connect: webhooks.connect_timeout,
                    request: webhooks.request_timeout,
                },
            },
        }
    }
}
