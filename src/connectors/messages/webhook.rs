//! Signed webhooks: one POST, signed as Standard Webhooks 1.0 says, to a target that may be called.
//!
//! 2xx is delivered and 410 means never again. Any other answer is a failure by the standard, and
//! the same message is sent again later under the same id, which is how its receiver knows it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clearday_jobs::ChannelName;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};

use super::signature::SigningKeys;
use super::targets::{ForbiddenTarget, Guard, forbidden_in};
use super::{Carriage, Carried, GONE, Letter, Network};
use crate::connectors::outbound::{Exchange, Reply, Timeouts, client_builder};
use crate::connectors::{ChannelError, Evidence, Now, TransportError, Trouble, Wire};
use crate::domain::mask::mask_target;
use crate::domain::partner::MessageChannel;

/// The file of keys for what upstream is told; no partner may use it.
pub const UPSTREAM: &str = "upstream";

/// What is kept of an answer's body: it is for people who look for a fault.
const ANSWER_KEPT_CHARS: usize = 1_000;

/// How webhooks are sent.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where the keys are, a file for each endpoint; without it nothing is sent.
    pub keys_directory: Option<PathBuf>,
    /// Networks that are not public and may be called all the same, also without TLS.
    pub allow_networks: Vec<Network>,
    /// How long a call may take.
    pub timeouts: Timeouts,
}

/// The way to everybody's endpoints.
pub(super) struct Webhooks {
    channel: ChannelName,
    wire: Wire,
    keys_directory: Option<PathBuf>,
    /// Absent on a machine that has no certificates to check anybody with.
    with_tls: Option<Guarded>,
    without_tls: Guarded,
    now: Now,
}

#[derive(Debug)]
struct Guarded {
    client: Client,
    guard: Guard,
}

impl Guarded {
    fn new(
        wire: &Wire,
        settings: &WebhookSettings,
        allowed: &Arc<[Network]>,
        has_tls: bool,
    ) -> Result<Self, TransportError> {
        let guard = Guard {
            allowed: Arc::clone(allowed),
            has_tls,
        };
        let client = wire.client(|| {
            let mut builder = client_builder(settings.timeouts).dns_resolver(guard.clone());
            if !has_tls {
                builder = builder.tls_certs_only([]);
            }
            builder.build()
        });
        Ok(Self {
            client: client.map_err(TransportError)?,
            guard,
        })
    }
}

impl Webhooks {
    pub(super) fn new(
        wire: &Wire,
        channel: ChannelName,
        settings: &WebhookSettings,
        now: Now,
    ) -> Result<Self, TransportError> {
        let allowed: Arc<[Network]> = settings.allow_networks.clone().into();
        Ok(Self {
            channel,
            wire: wire.clone(),
            keys_directory: settings.keys_directory.clone(),
            with_tls: Guarded::new(wire, settings, &allowed, true).ok(),
            without_tls: Guarded::new(wire, settings, &allowed, false)?,
            now,
        })
    }

    /// The keys of an endpoint, or what must be done so that there are some. They are read anew
    /// each time, so that a key changes without a restart.
    pub(super) fn keys(&self, endpoint: &str) -> Result<SigningKeys, String> {
        let folder = self.keys_directory.as_deref().ok_or_else(|| {
            "no key signs webhooks: set [webhooks] keys_directory, with a file for each endpoint"
                .to_owned()
        })?;
        let file = file_of(endpoint)
            .ok_or_else(|| format!("{endpoint} cannot be the name of a file of keys"))?;
        read_keys(&folder.join(file))
    }

    /// Sends once.
    pub(super) async fn send(
        &self,
        endpoint: &str,
        letter: &Letter<'_>,
    ) -> Result<Carriage, ChannelError> {
        let shown = mask_target(MessageChannel::Webhook, letter.target);
        let request = format!("POST {shown}");
        let keys = self
            .keys(endpoint)
            .map_err(|reason| self.unavailable(&request, &reason))?;
        let url = Url::parse(letter.target)
            .map_err(|_| self.refused(request.clone(), "invalid_target", "it is no URL"))?;
        let guarded = self.guarded(&url, &request)?;
        if let Err(forbidden) = guarded.guard.check_literal(&url) {
            return Err(self.forbidden(request, &forbidden));
        }
        let timestamp = (self.now)().timestamp();
        let signature = keys.sign(letter.id, timestamp, letter.content.as_bytes());
        let builder = guarded
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(letter.content.to_owned());
        let exchange = Exchange {
            channel: &self.channel,
            wire: &self.wire,
            asked: format!(
                "{request}\nwebhook-id: {}\nwebhook-timestamp: {timestamp}",
                letter.id
            ),
            request: request.clone(),
            now: &self.now,
        };
        match exchange.make(builder).await {
            Ok(reply) => judge(reply),
            Err(ChannelError::Unavailable(trouble)) => match forbidden_cause(&trouble) {
                Some(forbidden) => Err(self.forbidden(request, &forbidden)),
                None => Err(ChannelError::Unavailable(trouble)),
            },
            Err(error) => Err(error),
        }
    }

    fn guarded(&self, url: &Url, request: &str) -> Result<&Guarded, ChannelError> {
        match url.scheme() {
            "https" => self.with_tls.as_ref().ok_or_else(|| {
                self.unavailable(request, "this machine has no certificates to check it with")
            }),
            "http" => Ok(&self.without_tls),
            _ => Err(self.refused(request.to_owned(), "invalid_target", "it is not https")),
        }
    }

    fn forbidden(&self, request: String, forbidden: &ForbiddenTarget) -> ChannelError {
        self.refused(request, "forbidden_target", &forbidden.to_string())
    }

    /// A refusal of our own, before anything was sent.
    fn refused(&self, request: String, code: &str, message: &str) -> ChannelError {
        let evidence = Evidence {
            request,
            answer: format!("not sent: {message}"),
            answered_at: (self.now)(),
        };
        ChannelError::Declined {
            channel: self.channel.clone(),
            code: code.to_owned().into(),
            message: message.to_owned(),
            evidence: Box::new(evidence),
        }
    }

    fn unavailable(&self, request: &str, reason: &str) -> ChannelError {
        ChannelError::Unavailable(Box::new(Trouble {
            channel: self.channel.clone(),
            request: request.to_owned(),
            reason: reason.to_owned(),
            evidence: None,
            cause: None,
        }))
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Webhooks")
            .field("keys_directory", &self.keys_directory)
            .finish_non_exhaustive()
    }
}

/// The name of an endpoint as the name of a file, which cannot lead to another folder.
fn file_of(endpoint: &str) -> Option<&Path> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_file =
        !endpoint.is_empty() && !endpoint.starts_with('.') && endpoint.chars().all(is_plain);
    is_file.then(|| Path::new(endpoint))
}

fn read_keys(path: &Path) -> Result<SigningKeys, String> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| format!("the keys in {shown} ([webhooks] keys_directory): {error}"))?;
    SigningKeys::parse(&text).map_err(|error| format!("the file {shown} {error}"))
}

fn forbidden_cause(trouble: &Trouble) -> Option<ForbiddenTarget> {
    let TransportError(error) = trouble.cause.as_ref()?;
    forbidden_in(error)
}

fn judge(mut reply: Reply) -> Result<Carriage, ChannelError> {
    let answer = &mut reply.evidence.answer;
    if let Some((end, _)) = answer.char_indices().nth(ANSWER_KEPT_CHARS) {
        answer.truncate(end);
    }
    let status = reply.status;
    if status.is_success() {
        return Ok(Carriage {
            how: Carried::Delivered,
            evidence: reply.evidence,
        });
    }
    if status == StatusCode::GONE {
        let message = "the endpoint wants nothing more";
        return Err(reply.declined(GONE.to_owned(), message.to_owned()));
    }
    let reason = if status.is_redirection() {
        format!("it answered {status}, and redirects are not followed")
    } else {
        format!("it answered {status}")
    };
    Err(reply.unavailable(reason))
}
