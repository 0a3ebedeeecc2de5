//! Handing an SMS to the gateway, held against the contract of connectors.
#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::messages::{Letter, Messages};
use clearday::connectors::sandbox::{Fault, FaultTicket, Operation};
use clearday::domain::notice::MessageFate;
use clearday::domain::partner::MessageChannel;

use super::answers::{self, Spoken};
use super::kit::{Call, Promises, Request, Speech, Subject, Told, WINDOW, clock};
use super::troubles;
use crate::support::mailroom::RunningMailroom;
use crate::support::sandbox::{reference, within};

/// What the connector says of each trouble, what telephones then show, and how it ends. Under another key it is
/// another message, and the telephone shows both.
const TROUBLES: &str = "\
lost_request: ask unknown; act unknown, effects 0; ask unknown; stands NotFound; again Accepted, effects 1; stands Delivered
lost_answer: ask unknown; act unknown, effects 1; ask unknown; stands Delivered; again Accepted, effects 1; stands Delivered
error_after_effect: ask unknown; act unknown, effects 1; ask unknown; stands Delivered; again Accepted, effects 1; stands Delivered
slow_answer: ask unknown; act unknown, effects 1; ask unknown; stands Delivered; again Accepted, effects 1; stands Delivered
held_answer: ask unknown; act unknown, effects 1; ask unknown; stands Delivered; again Accepted, effects 1; stands Delivered
unavailable: ask unavailable; act unavailable, effects 0; ask unavailable; stands NotFound; again Accepted, effects 1; stands Delivered
nobody_listens: ask unavailable; act unavailable, effects 0; stands NotFound; again Accepted, effects 1; stands Delivered
nobody_accepts: ask unavailable; act unavailable, effects 0; stands NotFound; again Accepted, effects 1; stands Delivered
duplicate_answer: act Accepted, effects 1; act unknown, effects 0; stands Delivered; again Accepted, effects 1; stands Delivered; stands NotFound; again Accepted, effects 1; stands Delivered
answer_about_another: act unknown, effects 1; ask unknown; stands Delivered; again Accepted, effects 1; stands Delivered
answer_to_another_key: act unknown, effects 2; stands Delivered
answer_to_a_question: stands NotFound; act unknown, effects 1; stands Delivered; again Accepted, effects 1; stands Delivered
late_arrival: act unknown, effects 0; stands NotFound; within 300 s; arrives, effects 1; stands Delivered; again Accepted, effects 1; stands Delivered
overtaken: act unknown, effects 0; again Accepted, effects 1; arrives, effects 1; stands Delivered
";

/// What the connector makes of answers that the mailroom itself never gives: to a query, then to a message.
const ANSWERS: &str = "\
nothing at all: unknown, unknown
no HTTP: unknown, unknown
half a body: unknown, unknown
200 OK: garbage: unknown, unknown
200 OK: empty: unknown, unknown
200 OK: of a gateway: unknown, unknown
200 OK: about another: unknown, unknown
200 OK: without end: unknown, unknown
200 OK: accepted: Accepted, Accepted
200 OK: delivered: Delivered, Delivered
200 OK: failed: Failed(absent), undeliverable
200 OK: no status of ours: unknown, unknown
202 Accepted: unknown, Accepted
204 No Content: unknown, unknown
302 Found: unknown, unknown
307 elsewhere: unknown, unknown
400 Bad Request: bad_key: bad_key, bad_key
400 Bad Request: of a gateway: unknown, unknown
401 Unauthorized: unknown, unknown
402 Payment Required: of a gateway: unknown, unknown
402 Payment Required: insufficient_funds about another: unknown, unknown
402 Payment Required: insufficient_funds: unknown, unknown
403 Forbidden: of a gateway: unknown, unknown
404 Not Found: of a gateway: unknown, unknown
404 Not Found: message_not_found about another: unknown, unknown
404 Not Found: message_not_found: NotFound, unknown
408 Request Timeout: unknown, unknown
409 Conflict: of a gateway: unknown, unknown
409 Conflict: id_reused about another: unknown, unknown
409 Conflict: id_reused: id_reused, unknown
410 Gone: unknown, unknown
422 Unprocessable Entity: invalid_number about another: unknown, unknown
422 Unprocessable Entity: invalid_number: invalid_number, invalid_number
429 Too Many Requests: of a gateway: unknown, unknown
429 Too Many Requests: not_processed: unavailable, unavailable
500 Internal Server Error: of a gateway: unknown, unknown
500 Internal Server Error: not_processed: unknown, unknown
502 Bad Gateway: unknown, unknown
503 Service Unavailable: of a gateway: unknown, unknown
503 Service Unavailable: busy: unknown, unknown
503 Service Unavailable: not_processed about another: unknown, unknown
503 Service Unavailable: not_processed: unavailable, unavailable
504 Gateway Timeout: unknown, unknown
";

#[tokio::test]
async fn no_trouble_becomes_a_refusal_and_all_heal_with_one_message() {
    let sms = Sms::start().await;
    assert_eq!(troubles::table(&sms).await, TROUBLES);
}

#[tokio::test]
async fn only_the_gateways_own_words_about_this_message_are_believed() {
    let sms = Sms::start().await;
    assert_eq!(answers::table(&sms).await, ANSWERS);
}

pub(super) struct Sms(RunningMailroom);

impl Sms {
    pub(super) async fn start() -> Self {
        Self(RunningMailroom::start(clock()).await)
    }
}

impl Subject for Sms {
    type Connector = Messages;

    fn promises(&self, messages: &Messages) -> Promises {
        Promises {
            is_idempotent: true,
            is_one_by_reference: false,
            window: Some(messages.processing_window(MessageChannel::Sms)),
            speech: Speech::Words,
        }
    }

    fn address(&self) -> SocketAddr {
        self.0.http
    }

    fn connector(&self, address: SocketAddr, patience: Duration) -> Messages {
        let mut settings = self.0.settings();
        let sms = settings.sms.as_mut().unwrap();
        sms.url = format!("http://{address}/v1/messages");
        sms.timeouts = within(patience);
        sms.processing_window = WINDOW;
        Messages::build(&settings, &clock()).unwrap()
    }

    async fn prepare(&self, _: &Call) {}

    async fn act(&self, messages: &Messages, call: &Call) -> Told {
        let number = number(call);
        let letter = letter(call, &number);
        let sent = messages.send(MessageChannel::Sms, "P-1", &letter);
        match Box::pin(sent).await {
            Ok(carriage) => Told::done(format!("{:?}", carriage.how)),
            Err(error) => error.into(),
        }
    }

    async fn ask(&self, messages: &Messages, call: &Call) -> Option<Told> {
        let number = number(call);
        let answer = messages.query_sms(&call.key, &number);
        Some(match Box::pin(answer).await {
            Ok((fate @ (MessageFate::Accepted | MessageFate::Delivered), _)) => {
                Told::done(format!("{fate:?}"))
            }
            Ok((MessageFate::NotFound, _)) => Told::not_done("NotFound"),
            Ok((MessageFate::Failed(reason), _)) => Told::refused(format!("Failed({reason})")),
            Err(error) => error.into(),
        })
    }

    fn effects(&self, call: &Call) -> usize {
        let number = number(call);
        let received = self.0.handle.sms();
        received.iter().filter(|sms| sms.to == number).count()
    }

    fn disturb(&self, request: Request, call: &Call, fault: Fault) -> FaultTicket {
        let number = number(call);
        let handle = &self.0.handle;
        match request {
            Request::Act => handle.queue_fault(Operation::SendSms, &reference(&number), fault),
            Request::Ask => {
                let is_known = handle.sms().iter().any(|sms| sms.id == call.key);
                let address = if is_known { &number } else { &call.key };
                handle.queue_fault(Operation::QuerySms, &reference(address), fault)
            }
        }
    }
}

impl Spoken for Sms {
    const CODES: [&'static str; 3] = ["message_not_found", "id_reused", "invalid_number"];

    fn bodies(&self, about: &str) -> Vec<(&'static str, String)> {
        let id = Call::new(about).key;
        let status = |status: &str| {
            format!(r#"{{"id":"{id}","status":"{status}","reason":"absent","new_field":1}}"#)
        };
        vec![
            ("accepted", status("accepted")),
            ("delivered", status("delivered")),
            ("failed", status("failed")),
            ("no status of ours", status("frozen")),
        ]
    }

    fn error(&self, about: &str, code: &str) -> String {
        let id = Call::new(about).key;
        format!(r#"{{"id":"{id}","code":"{code}","message":"so it is"}}"#)
    }
}

/// Everything is sent to a telephone of its own.
fn number(call: &Call) -> String {
    format!("tel:{}", call.about)
}

pub(super) fn letter<'a>(call: &'a Call, target: &'a str) -> Letter<'a> {
    Letter {
        id: &call.key,
        target,
        subject: "代付请求 Payment request",
        content: "请付款。 Please pay.",
    }
}
