//! Calling an endpoint, held against the contract of connectors as far as Standard Webhooks keep it.
//!
//! An endpoint is believed by its status alone, so an answer that belongs to another call cannot be told apart; what
//! keeps that from happening is that a connection with an answer too many is given up. An endpoint that says 5xx did not
//! take the call, whatever it did before: it is called again, and knows a repetition by its id.
#![cfg(test)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::messages::Messages;
use clearday::connectors::sandbox::{Fault, FaultTicket, Operation};
use clearday::domain::partner::MessageChannel;

use super::answers::{self, Spoken};
use super::kit::{Call, Promises, Request, Speech, Subject, Told, clock};
use super::sms::letter;
use super::troubles;
use crate::support::mailroom::RunningMailroom;
use crate::support::sandbox::{reference, within};

/// What the connector says of each trouble, what the endpoint then knows, and how it ends.
const TROUBLES: &str = "\
lost_request: act unknown, effects 0; again Delivered, effects 1
lost_answer: act unknown, effects 1; again Delivered, effects 1
error_after_effect: act unavailable, effects 1; again Delivered, effects 1
slow_answer: act unknown, effects 1; again Delivered, effects 1
held_answer: act unknown, effects 1; again Delivered, effects 1
unavailable: act unavailable, effects 0; again Delivered, effects 1
nobody_listens: act unavailable, effects 0; again Delivered, effects 1
nobody_accepts: act unavailable, effects 0; again Delivered, effects 1
duplicate_answer: act Delivered, effects 1; act unknown, effects 0; again Delivered, effects 1; again Delivered, effects 1
answer_about_another: act Delivered, effects 1; again Delivered, effects 1
answer_to_another_key: act Delivered, effects 2
answer_to_a_question: nobody can be asked
late_arrival: act unknown, effects 0; arrives, effects 1; again Delivered, effects 1
overtaken: act unknown, effects 0; again Delivered, effects 1; arrives, effects 1
";

/// What the connector makes of answers: 2xx is delivered, 410 is never again, and any other is a failure.
const ANSWERS: &str = "\
nothing at all: unknown
no HTTP: unknown
half a body: unknown
200 OK: garbage: Delivered
200 OK: empty: Delivered
200 OK: of a gateway: Delivered
200 OK: about another: Delivered
200 OK: without end: Delivered
200 OK: anything: Delivered
202 Accepted: Delivered
204 No Content: Delivered
302 Found: unavailable
307 elsewhere: unavailable
400 Bad Request: bad_key: unavailable
400 Bad Request: of a gateway: unavailable
401 Unauthorized: unavailable
402 Payment Required: of a gateway: unavailable
402 Payment Required: insufficient_funds about another: unavailable
402 Payment Required: insufficient_funds: unavailable
403 Forbidden: of a gateway: unavailable
404 Not Found: of a gateway: unavailable
404 Not Found: not_found about another: unavailable
404 Not Found: not_found: unavailable
408 Request Timeout: unavailable
409 Conflict: of a gateway: unavailable
409 Conflict: conflict about another: unavailable
409 Conflict: conflict: unavailable
410 Gone: gone
422 Unprocessable Entity: nonsense about another: unavailable
422 Unprocessable Entity: nonsense: unavailable
429 Too Many Requests: of a gateway: unavailable
429 Too Many Requests: not_processed: unavailable
500 Internal Server Error: of a gateway: unavailable
500 Internal Server Error: not_processed: unavailable
502 Bad Gateway: unavailable
503 Service Unavailable: of a gateway: unavailable
503 Service Unavailable: busy: unavailable
503 Service Unavailable: not_processed about another: unavailable
503 Service Unavailable: not_processed: unavailable
504 Gateway Timeout: unavailable
";

#[tokio::test]
async fn no_trouble_becomes_a_refusal_and_all_heal_with_one_message() {
    let webhook = Webhook::start().await;
    assert_eq!(troubles::table(&webhook).await, TROUBLES);
}

#[tokio::test]
async fn an_endpoint_is_believed_by_its_status() {
    let webhook = Webhook::start().await;
    assert_eq!(answers::table(&webhook).await, ANSWERS);
}

struct Webhook(RunningMailroom);

impl Webhook {
    async fn start() -> Self {
        Self(RunningMailroom::start(clock()).await)
    }
}

/// A way to send, and where to.
struct Caller {
    messages: Messages,
    address: SocketAddr,
}

impl Subject for Webhook {
    type Connector = Caller;

    fn promises(&self, _: &Caller) -> Promises {
        Promises {
            is_idempotent: true,
            is_one_by_reference: false,
            window: None,
            speech: Speech::Status,
        }
    }

    fn address(&self) -> SocketAddr {
        self.0.http
    }

    fn connector(&self, address: SocketAddr, patience: Duration) -> Caller {
        let mut settings = self.0.settings();
        settings.webhooks.timeouts = within(patience);
        let messages = Messages::build(&settings, &clock()).unwrap();
        Caller { messages, address }
    }

    /// The endpoint has keys.
    async fn prepare(&self, call: &Call) {
        self.0.webhook_url(&call.about);
    }

    async fn act(&self, caller: &Caller, call: &Call) -> Told {
        let Caller { messages, address } = caller;
        let url = format!("http://{address}/webhooks/{}", call.about);
        let letter = letter(call, &url);
        let sent = messages.send(MessageChannel::Webhook, &call.about, &letter);
        match Box::pin(sent).await {
            Ok(carriage) => Told::done(format!("{:?}", carriage.how)),
            Err(error) => error.into(),
        }
    }

    async fn ask(&self, _: &Caller, _: &Call) -> Option<Told> {
        None
    }

    /// As the endpoint counts, which knows a repetition by its id; another body under an id would be another message.
    fn effects(&self, call: &Call) -> usize {
        let received = self.0.handle.webhooks();
        let known: BTreeSet<(&str, &str)> = received
            .iter()
            .filter(|webhook| webhook.is_verified && webhook.endpoint == call.about)
            .map(|webhook| (webhook.id.as_str(), webhook.body.as_str()))
            .collect();
        known.len()
    }

    fn disturb(&self, _: Request, call: &Call, fault: Fault) -> FaultTicket {
        let endpoint = reference(&call.about);
        let handle = &self.0.handle;
        handle.queue_fault(Operation::CallWebhook, &endpoint, fault)
    }
}

impl Spoken for Webhook {
    const CODES: [&'static str; 3] = ["not_found", "conflict", "nonsense"];

    fn bodies(&self, about: &str) -> Vec<(&'static str, String)> {
        vec![("anything", format!("thank you for {about}"))]
    }

    fn error(&self, about: &str, code: &str) -> String {
        format!("{about}: {code}")
    }
}
