//! SMS over an HTTP gateway: `POST` with our id as the idempotency key, `GET` by that id.
//!
//! A lost answer is asked about and never guessed. Only what the gateway says about this very
//! message is believed: a status alone may come from whatever stands in between.

use std::fmt;

use clearday_jobs::ChannelName;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::{Carriage, Carried, Letter, MessagesError};
use crate::config::Secret;
use crate::connectors::outbound::{Exchange, Reply, Timeouts, build_client, parse_base_url};
use crate::connectors::{
    ChannelError, DeclineCode, Evidence, Now, SetupError, TransportError, Wire,
};
use crate::domain::mask::mask_target;
use crate::domain::notice::MessageFate;
use crate::domain::partner::MessageChannel;

/// How the gateway is reached.
#[derive(Clone, Debug)]
pub struct SmsSettings {
    /// Where messages are posted; `/{id}` behind it is where one is asked about.
    pub url: String,
    /// The bearer token, where the gateway wants one.
    pub token: Option<Secret>,
    /// How long a call may take.
    pub timeouts: Timeouts,
    /// After this long without effect, a request that left has none any more.
    pub processing_window: std::time::Duration,
}

/// A message on its way to the gateway.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::connectors) struct MessageBody {
    pub(in crate::connectors) id: String,
    pub(in crate::connectors) to: String,
    pub(in crate::connectors) text: String,
}

/// Where a message stands at the gateway.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::connectors) struct StatusBody {
    pub(in crate::connectors) id: String,
    pub(in crate::connectors) status: SmsStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::connectors) reason: Option<String>,
}

/// How far a message got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsStatus {
    /// The gateway has it.
    Accepted,
    /// The telephone has it.
    Delivered,
    /// It will not arrive.
    Failed,
}

/// What is wrong, and with which message.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::connectors) struct ErrorBody {
    pub(in crate::connectors) id: String,
    pub(in crate::connectors) code: String,
    pub(in crate::connectors) message: String,
}

/// The documented codes that promise that nothing was sent.
pub(in crate::connectors) const NOT_PROCESSED: &str = "not_processed";
pub(in crate::connectors) const MESSAGE_NOT_FOUND: &str = "message_not_found";

/// The way to the gateway.
pub(super) struct SmsGateway {
    channel: ChannelName,
    wire: Wire,
    client: Client,
    url: Url,
    token: Option<Secret>,
    now: Now,
}

impl SmsGateway {
    pub(super) fn new(
        wire: &Wire,
        channel: ChannelName,
        settings: &SmsSettings,
        now: Now,
    ) -> Result<Self, MessagesError> {
        let Some(url) = parse_base_url(&settings.url) else {
            return Err(SetupError::BaseUrl { channel }.into());
        };
        if settings.timeouts.connect >= settings.timeouts.request {
            return Err(SetupError::Timeouts { channel }.into());
        }
        let client = wire
            .client(|| build_client(&url, settings.timeouts))
            .map_err(|error| MessagesError::Client("sms", TransportError(error)))?;
        Ok(Self {
            channel,
            wire: wire.clone(),
            client,
            url,
            token: settings.token.clone(),
            now,
        })
    }

    /// Hands a message over, once.
    pub(super) async fn send(&self, letter: &Letter<'_>) -> Result<Carriage, ChannelError> {
        let shown = mask_target(MessageChannel::Sms, letter.target);
        let body = MessageBody {
            id: letter.id.to_owned(),
            to: letter.target.to_owned(),
            text: letter.content.to_owned(),
        };
        let request = self
            .request(Method::POST, self.url.clone())
            .header("idempotency-key", letter.id)
            .json(&body);
        let asked = format!("\nidempotency-key: {}\nto: {shown}", letter.id);
        let mut reply = self.exchange("POST", &asked, request).await?;
        hide(&mut reply, letter.target, &shown);
        if matches!(reply.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
            return Err(
                reply.unknown("what the gateway says of an id is no refusal of the message")
            );
        }
        if !reply.status.is_success() {
            return Err(read_error(reply, letter.id));
        }
        let status = match read_status(&reply, letter.id) {
            Ok(body) => body,
            Err(reason) => return Err(reply.unknown(reason)),
        };
        match status.status {
            SmsStatus::Accepted => Ok(carried(Carried::Accepted, reply.evidence)),
            SmsStatus::Delivered => Ok(carried(Carried::Delivered, reply.evidence)),
            SmsStatus::Failed => {
                let reason = status.reason.unwrap_or_default();
                Err(reply.declined("undeliverable".to_owned(), reason))
            }
        }
    }

    /// Asks what became of a message.
    pub(super) async fn query(
        &self,
        id: &str,
        target: &str,
    ) -> Result<(MessageFate, Evidence), ChannelError> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(id);
        }
        let request = self.request(Method::GET, url);
        let mut reply = self
            .exchange("GET", &format!("\nid: {id}"), request)
            .await?;
        hide(
            &mut reply,
            target,
            &mask_target(MessageChannel::Sms, target),
        );
        if reply.status != StatusCode::OK {
            return read_absence(read_error(reply, id));
        }
        let body = match read_status(&reply, id) {
            Ok(body) => body,
            Err(reason) => return Err(reply.unknown(reason)),
        };
        let fate = match body.status {
            SmsStatus::Accepted => MessageFate::Accepted,
            SmsStatus::Delivered => MessageFate::Delivered,
            SmsStatus::Failed => MessageFate::Failed(body.reason.unwrap_or_default()),
        };
        Ok((fate, reply.evidence))
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    async fn exchange(
        &self,
        method: &str,
        details: &str,
        request: RequestBuilder,
    ) -> Result<Reply, ChannelError> {
        let told = format!("{method} {}", self.url.path());
        let exchange = Exchange {
            channel: &self.channel,
            wire: &self.wire,
            asked: format!("{told}{details}"),
            request: told,
            now: &self.now,
        };
        let reply = exchange.make(request).await?;
        if reply.is_whole {
            Ok(reply)
        } else {
            Err(reply.unknown("the answer is longer than any a gateway gives"))
        }
    }
}

impl fmt::Debug for SmsGateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SmsGateway")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

fn carried(how: Carried, evidence: Evidence) -> Carriage {
    Carriage { how, evidence }
}

/// What the gateway repeats of us is kept without the number.
fn hide(reply: &mut Reply, target: &str, shown: &str) {
    reply.evidence.answer = reply.evidence.answer.replace(target, shown);
}

fn read_status(reply: &Reply, id: &str) -> Result<StatusBody, String> {
    let body: StatusBody = reply
        .json()
        .map_err(|error| format!("the answer is no status: {error}"))?;
    if body.id == id {
        Ok(body)
    } else {
        Err("the answer is about another message".to_owned())
    }
}

/// To a query, "no such message" is an answer like any other.
fn read_absence(error: ChannelError) -> Result<(MessageFate, Evidence), ChannelError> {
    if let ChannelError::Declined {
        code: DeclineCode::Other(code),
        evidence,
        ..
    } = &error
        && code == MESSAGE_NOT_FOUND
    {
        return Ok((MessageFate::NotFound, evidence.as_ref().clone()));
    }
    Err(error)
}

/// Sorts an answer that is no success; see the module's own words.
fn read_error(reply: Reply, id: &str) -> ChannelError {
    let status = reply.status;
    let said = reply.json().ok();
    let Some(body) = said.filter(|body: &ErrorBody| body.id == id) else {
        return reply.unknown(format!("{status}, not in the gateway's words"));
    };
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
            if body.code == NOT_PROCESSED =>
        {
            reply.unavailable(body.message)
        }
        StatusCode::BAD_REQUEST
        | StatusCode::NOT_FOUND
        | StatusCode::CONFLICT
        | StatusCode::UNPROCESSABLE_ENTITY => reply.declined(body.code, body.message),
        _ => reply.unknown(format!("{status} promises nothing")),
    }
}
