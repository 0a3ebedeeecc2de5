//! Closing a payment, held against the contract of connectors.
#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::sandbox::books::Event;
use clearday::connectors::sandbox::{Fault, FaultTicket, Operation};
use clearday::connectors::{Channels, PaymentState};

use super::answers::{self, Spoken};
use super::kit::{Call, Promises, Request, Speech, Subject, Told, WINDOW, clock};
use super::troubles;
use crate::support::sandbox::{RunningSandbox, channel, channels_within, cny, reference};

/// What the connector says of each trouble, what the books then show, and how it ends.
const TROUBLES: &str = "\
lost_request: ask unknown; act unknown, effects 0; ask unknown; stands NotPaid; again Closed, effects 1; stands Closed
lost_answer: ask unknown; act unknown, effects 1; ask unknown; stands Closed; again Closed, effects 1; stands Closed
error_after_effect: ask unknown; act unknown, effects 1; ask unknown; stands Closed; again Closed, effects 1; stands Closed
slow_answer: ask unknown; act unknown, effects 1; ask unknown; stands Closed; again Closed, effects 1; stands Closed
held_answer: ask unknown; act unknown, effects 1; ask unknown; stands Closed; again Closed, effects 1; stands Closed
unavailable: ask unavailable; act unavailable, effects 0; ask unavailable; stands NotPaid; again Closed, effects 1; stands Closed
nobody_listens: ask unavailable; act unavailable, effects 0; stands NotPaid; again Closed, effects 1; stands Closed
nobody_accepts: ask unavailable; act unavailable, effects 0; stands NotPaid; again Closed, effects 1; stands Closed
duplicate_answer: act Closed, effects 1; act unknown, effects 0; stands Closed; again Closed, effects 1; stands Closed; stands NotPaid; again Closed, effects 1; stands Closed
answer_about_another: act unknown, effects 1; ask unknown; stands Closed; again Closed, effects 1; stands Closed
answer_to_another_key: act Closed, effects 1; stands Closed
answer_to_a_question: stands NotPaid; act unknown, effects 1; stands Closed; again Closed, effects 1; stands Closed
late_arrival: act unknown, effects 0; stands NotPaid; within 300 s; arrives, effects 1; stands Closed; again Closed, effects 1; stands Closed
overtaken: act unknown, effects 0; again Closed, effects 1; arrives, effects 1; stands Closed
";

/// What the connector makes of answers that the sandbox itself never gives: to a query, then to a close.
const ANSWERS: &str = "\
nothing at all: unknown, unknown
no HTTP: unknown, unknown
half a body: unknown, unknown
200 OK: garbage: unknown, unknown
200 OK: empty: unknown, unknown
200 OK: of a gateway: unknown, unknown
200 OK: about another: unknown, unknown
200 OK: without end: unknown, unknown
200 OK: closed: Closed, Closed
200 OK: created: NotPaid, unknown
200 OK: paid: Paid, unknown
200 OK: paid nothing: unknown, unknown
200 OK: paid below the minor unit: unknown, unknown
200 OK: no status of ours: unknown, unknown
202 Accepted: unknown, unknown
204 No Content: unknown, unknown
302 Found: unknown, unknown
307 elsewhere: unknown, unknown
400 Bad Request: bad_key: invalid, invalid
400 Bad Request: of a gateway: unknown, unknown
401 Unauthorized: unknown, unknown
402 Payment Required: of a gateway: unknown, unknown
402 Payment Required: insufficient_funds about another: unknown, unknown
402 Payment Required: insufficient_funds: unknown, unknown
403 Forbidden: of a gateway: unknown, unknown
404 Not Found: of a gateway: unknown, unknown
404 Not Found: payment_not_found about another: unknown, unknown
404 Not Found: payment_not_found: NotFound, payment_not_found
408 Request Timeout: unknown, unknown
409 Conflict: of a gateway: unknown, unknown
409 Conflict: order_paid about another: unknown, unknown
409 Conflict: order_paid: order_paid, order_paid
410 Gone: unknown, unknown
422 Unprocessable Entity: key_reused about another: unknown, unknown
422 Unprocessable Entity: key_reused: invalid, invalid
429 Too Many Requests: of a gateway: unknown, unknown
429 Too Many Requests: not_processed: unknown, unknown
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
async fn no_trouble_becomes_a_decline_and_all_heal_with_one_effect() {
    let close = Close::start().await;
    assert_eq!(troubles::table(&close).await, TROUBLES);
}

#[tokio::test]
async fn only_the_channels_own_words_about_this_payment_are_believed() {
    let close = Close::start().await;
    assert_eq!(answers::table(&close).await, ANSWERS);
}

pub(super) struct Close(RunningSandbox);

impl Close {
    pub(super) async fn start() -> Self {
        Self(RunningSandbox::start(clock()).await)
    }
}

impl Subject for Close {
    type Connector = Channels;

    fn promises(&self, channels: &Channels) -> Promises {
        let can = channel(channels).capabilities();
        Promises {
            is_idempotent: can.close_is_idempotent,
            is_one_by_reference: true,
            window: can.query.then_some(can.processing_window),
            speech: Speech::Words,
        }
    }

    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn connector(&self, address: SocketAddr, patience: Duration) -> Channels {
        payment_channel(address, patience)
    }

    async fn prepare(&self, call: &Call) {
        let reference = reference(&call.about);
        self.0.handle.create(&reference, cny(1_234)).unwrap();
    }

    async fn act(&self, channels: &Channels, call: &Call) -> Told {
        let reference = reference(&call.about);
        match channel(channels).close(&reference, &call.key).await {
            Ok(answer) => Told::done(format!("{:?}", answer.outcome)),
            Err(error) => error.into(),
        }
    }

    async fn ask(&self, channels: &Channels, call: &Call) -> Option<Told> {
        let answer = channel(channels).query(&reference(&call.about)).await;
        Some(match answer.map(|answer| answer.state) {
            Ok(PaymentState::Closed) => Told::done("Closed"),
            Ok(PaymentState::NotPaid) => Told::not_done("NotPaid"),
            Ok(PaymentState::NotFound) => Told::not_done("NotFound"),
            Ok(PaymentState::Paid(_)) => Told::refused("Paid"),
            Err(error) => error.into(),
        })
    }

    fn effects(&self, call: &Call) -> usize {
        let books = self.0.handle.books();
        books.count_effects(Event::Close, &reference(&call.about))
    }

    fn disturb(&self, request: Request, call: &Call, fault: Fault) -> FaultTicket {
        let operation = match request {
            Request::Act => Operation::Close,
            Request::Ask => Operation::Query,
        };
        let reference = reference(&call.about);
        self.0.handle.queue_fault(operation, &reference, fault)
    }
}

impl Spoken for Close {
    const CODES: [&'static str; 3] = ["payment_not_found", "order_paid", "key_reused"];

    fn bodies(&self, about: &str) -> Vec<(&'static str, String)> {
        let payment = |status: &str, amount: &str| {
            format!(
                r#"{{"reference":"{about}","channel_trade_no":"T1","status":"{status}",
                "status_since":"2026-06-01T00:00:00Z","closed_at":"2026-06-01T00:00:00Z",
                "was_closed":false,"amount":"{amount}","currency":"CNY","new_field":1}}"#
            )
        };
        vec![
            ("closed", payment("closed", "1.00")),
            ("created", payment("created", "1.00")),
            ("paid", payment("paid", "1.00")),
            ("paid nothing", payment("paid", "0.00")),
            ("paid below the minor unit", payment("paid", "1.001")),
            ("no status of ours", payment("frozen", "1.00")),
        ]
    }

    fn error(&self, about: &str, code: &str) -> String {
        sandbox_error(about, code)
    }
}

/// The one channel of that address.
pub(super) fn payment_channel(address: SocketAddr, patience: Duration) -> Channels {
    let base_url = format!("http://{address}");
    channels_within(WINDOW, &base_url, patience, &clock())
}

/// What the sandbox says where something is wrong.
pub(super) fn sandbox_error(about: &str, code: &str) -> String {
    format!(r#"{{"code":"{code}","message":"so it is","reference":"{about}"}}"#)
}
