//! One HTTP call to a channel, bounded in time and size, with its evidence.
//!
//! Sends once: no redirect is followed, nothing is retried, no proxy stands between. It tells what was provably
//! unsent from what may have arrived, and leaves it to the channel to say what an answer means.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clearday_jobs::ChannelName;
use futures::future::BoxFuture;
use reqwest::header::CONTENT_TYPE;
use reqwest::{
    Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url, redirect, retry,
};
use serde::de::DeserializeOwned;

use super::error::{ChannelError, SetupError, TransportError, Trouble};
use super::wire::{Failed, Lost, Sent};
use super::{Evidence, Now, Wire};
use crate::domain::redact::redact_text;

/// What is kept of an answer. A channel's answers are below 4 KiB; whatever is longer is not an answer.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Shorter than servers keep an idle connection open (Node 5 s), so that they seldom hang up under a new request.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// How long a channel may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the connection to stand. Beyond it nothing was sent.
    pub connect: Duration,
    /// For everything, up to the last byte of the answer. Beyond it the outcome is unknown.
    pub request: Duration,
}

/// Waits until the next request may leave.
#[derive(Clone)]
pub struct Turn(Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>);

impl Turn {
    /// A turn that comes when this future ends.
    pub fn new(wait: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(wait))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Turn")
    }
}

/// The way to one channel.
pub(super) struct Outbound {
    channel: ChannelName,
    /// Where its requests are counted, if they are.
    turn: OnceLock<Turn>,
    wire: Wire,
    client: Client,
    base_url: Url,
    now: Now,
}

/// What is to be asked.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a [&'a str],
    pub(super) idempotency_key: Option<&'a str>,
    /// A JSON document.
    pub(super) body: Option<String>,
}

/// What came back: complete, and no longer than allowed.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    body: Vec<u8>,
    /// Whether that was all of the answer.
    pub(super) is_whole: bool,
    pub(super) evidence: Evidence,
    channel: ChannelName,
    request: String,
}

/// Chooses ring for TLS in this process; does nothing when a choice has been made.
pub fn install_tls_provider() {
    // Err means that a provider is already installed, which is what is wanted.
    drop(rustls::crypto::ring::default_provider().install_default());
}

impl Outbound {
    pub(super) fn new(
        wire: &Wire,
        channel: ChannelName,
        base_url: &str,
        timeouts: Timeouts,
        now: Now,
    ) -> Result<Self, SetupError> {
        let Some(base_url) = parse_base_url(base_url) else {
            return Err(SetupError::BaseUrl { channel });
        };
        if timeouts.connect >= timeouts.request {
            return Err(SetupError::Timeouts { channel });
        }

        match wire.client(|| build_client(&base_url, timeouts)) {
            Ok(client) => Ok(Self {
                channel,
                turn: OnceLock::new(),
                wire: wire.clone(),
                client,
                base_url,
                now,
            }),
            Err(source) => Err(SetupError::Client {
                channel,
                source: TransportError(source),
            }),
        }
    }

    pub(super) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// From now on every request waits for its turn; the first such wish stays.
    pub(super) fn take_turns(&self, turn: Turn) {
        self.turn.get_or_init(|| turn);
    }

    /// Waits until one more request may go out, where a pace is kept.
    pub(super) async fn wait_for_turn(&self) {
        if let Some(Turn(wait)) = self.turn.get() {
            wait().await;
        }
    }

    /// Sends once and waits for the whole answer. A question waits for its turn here; who calls for an effect waited
    /// before the intent was written down, since between that and the call nothing may take long.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Reply, ChannelError> {
        let Some(url) = self.url(ask.path) else {
            let request = format!("{} {}", ask.method, ask.path.join("/"));
            return Err(self.invalid(request, "the reference cannot be part of a path"));
        };
        let request = format!("{} {}", ask.method, url.path());
        let mut asked = request.clone();
        let mut builder = self.client.request(ask.method, url);
        if let Some(key) = ask.idempotency_key {
            if !is_header_text(key) {
                return Err(self.invalid(request, "the idempotency key cannot be a header"));
            }
            builder = builder.header("idempotency-key", key);
            asked = format!("{asked}\nidempotency-key: {key}");
        }
        if let Some(body) = ask.body {
            // Evidence is read by more people than may charge a card.
            asked = format!("{asked}\n{}", redact_text(&body));
            builder = builder.header(CONTENT_TYPE, "application/json").body(body);
        }

        if ask.idempotency_key.is_none() {
            self.wait_for_turn().await;
        }
        let exchange = Exchange {
            channel: &self.channel,
            wire: &self.wire,
            request,
            asked,
            now: &self.now,
        };
        let reply = exchange.make(builder).await?;
        if reply.is_whole {
            Ok(reply)
        } else {
            Err(reply.unknown("the answer is longer than any this channel gives"))
        }
    }

    /// `None` for a segment that a URL would swallow, as it does with `..`.
    fn url(&self, path: &[&str]) -> Option<Url> {
        if path
            .iter()
            .any(|segment| matches!(*segment, "" | "." | ".."))
        {
            return None;
        }
        let mut url = self.base_url.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(path);
        Some(url)
    }

    /// An error about a request that was not sent.
    pub(super) fn invalid(&self, request: String, reason: &str) -> ChannelError {
        ChannelError::Invalid(Box::new(Trouble {
            channel: self.channel.clone(),
            request,
            reason: reason.to_owned(),
            evidence: None,
            cause: None,
        }))
    }
}

/// One request that is ready to go, and how it is told of.
pub(super) struct Exchange<'a> {
    pub(super) channel: &'a ChannelName,
    pub(super) wire: &'a Wire,
    /// Method and path, for people.
    pub(super) request: String,
    /// What the evidence says was asked.
    pub(super) asked: String,
    pub(super) now: &'a Now,
}

impl Exchange<'_> {
    /// Sends once and waits for the answer, or for as much of it as is kept.
    pub(super) async fn make(self, builder: RequestBuilder) -> Result<Reply, ChannelError> {
        let sent = self.wire.send(builder).await;
        let (status, (body, is_whole)) = match sent.map_err(|failed| self.lost(failed))? {
            Sent::Network(response) => {
                let status = response.status();
                let read = read_capped(response).await;
                let lost = |error| self.lost(Failed::Network(error));
                (status, read.map_err(lost)?)
            }
            Sent::Within(delivered) => {
                let kept = delivered.body.iter().copied().take(ANSWER_BYTES_MAX);
                let is_whole = delivered.body.len() <= ANSWER_BYTES_MAX;
                (delivered.status, (kept.collect(), is_whole))
            }
        };
        Ok(Reply {
            status,
            evidence: Evidence {
                request: self.asked,
                answer: format!("{status}\n{}", readable(&body)),
                answered_at: (self.now)(),
            },
            body,
            is_whole,
            channel: self.channel.clone(),
            request: self.request,
        })
    }

    /// Sorts a failure of the transport: whatever is not provably unsent is unknown.
    fn lost(&self, failed: Failed) -> ChannelError {
        let (lost, cause) = match failed {
            Failed::Within(lost) => (Some(lost), None),
            Failed::Network(error) => {
                let lost = if error.is_builder() {
                    None
                } else if error.is_connect() {
                    Some(Lost::Unsent)
                } else if error.is_timeout() {
                    Some(Lost::Late)
                } else {
                    Some(Lost::Broken)
                };
                (lost, Some(TransportError(error.without_url())))
            }
        };
        let (class, reason): (fn(Box<Trouble>) -> ChannelError, _) = match lost {
            None => (ChannelError::Invalid, "the request cannot be written down"),
            Some(Lost::Unsent) => (ChannelError::Unavailable, "no connection came about"),
            Some(Lost::Late) => (ChannelError::Unknown, "the answer did not come in time"),
            Some(Lost::Broken) => (
                ChannelError::Unknown,
                "the connection broke before the answer was complete",
            ),
        };
        class(Box::new(Trouble {
            channel: self.channel.clone(),
            request: self.request.clone(),
            reason: reason.to_owned(),
            evidence: None,
            cause,
        }))
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outbound")
            .field("channel", &self.channel)
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

impl Reply {
    pub(super) fn json<Body: DeserializeOwned>(&self) -> serde_json::Result<Body> {
        serde_json::from_slice(&self.body)
    }

    pub(super) fn declined(self, code: String, message: String) -> ChannelError {
        ChannelError::Declined {
            channel: self.channel,
            code: code.into(),
            message,
            evidence: Box::new(self.evidence),
        }
    }

    pub(super) fn unavailable(self, reason: impl Into<String>) -> ChannelError {
        ChannelError::Unavailable(self.into_trouble(reason.into()))
    }

    pub(super) fn unknown(self, reason: impl Into<String>) -> ChannelError {
        ChannelError::Unknown(self.into_trouble(reason.into()))
    }

    pub(super) fn invalid(self, reason: impl Into<String>) -> ChannelError {
        ChannelError::Invalid(self.into_trouble(reason.into()))
    }

    fn into_trouble(self, reason: String) -> Box<Trouble> {
        Box::new(Trouble {
            channel: self.channel,
            request: self.request,
            reason,
            evidence: Some(self.evidence),
            cause: None,
        })
    }
}

pub(super) fn parse_base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then_some(url)
}

pub(super) fn build_client(base_url: &Url, timeouts: Timeouts) -> Result<Client, reqwest::Error> {
    let builder = client_builder(timeouts);
    match base_url.scheme() {
        // A machine without certificates still has a sandbox.
        "http" => builder.tls_certs_only([]).build(),
        _ => builder.build(),
    }
}

/// A client that sends once and goes nowhere else.
pub(super) fn client_builder(timeouts: Timeouts) -> ClientBuilder {
    install_tls_provider();
    Client::builder()
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.request)
        .pool_idle_timeout(IDLE_MAX)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .user_agent(concat!("clearday/", env!("CARGO_PKG_VERSION")))
}

fn is_header_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The body as text that Postgres takes too, which has no NUL.
fn readable(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace('\0', "\u{fffd}")
}

/// The body, and whether that was all of it.
async fn read_capped(mut response: Response) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}
