//! Holding a payer's money, held against the contract of connectors.
#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::sandbox::{Fault, FaultTicket, HoldEvent, Operation};
use clearday::connectors::{ChannelError, Channels, HoldAnswer, HoldOrder, HoldState};
use clearday_jobs::{Capture, Token};

use super::answers::{self, Spoken};
use super::close::{payment_channel, sandbox_error};
use super::kit::{Call, Promises, Request, Speech, Subject, Told, clock};
use super::troubles;
use crate::support::sandbox::{RunningSandbox, channel, cny, reference};

/// What the connector says of each trouble, what the books then show, and how it ends.
const TROUBLES: &str = "\
lost_request: ask unknown; act unknown, effects 0; ask unknown; stands not found; again held, effects 1; stands held
lost_answer: ask unknown; act unknown, effects 1; ask unknown; stands held; again held, effects 1; stands held
error_after_effect: ask unknown; act unknown, effects 1; ask unknown; stands held; again held, effects 1; stands held
slow_answer: ask unknown; act unknown, effects 1; ask unknown; stands held; again held, effects 1; stands held
held_answer: ask unknown; act unknown, effects 1; ask unknown; stands held; again held, effects 1; stands held
unavailable: ask unavailable; act unavailable, effects 0; ask unavailable; stands not found; again held, effects 1; stands held
nobody_listens: ask unavailable; act unavailable, effects 0; stands not found; again held, effects 1; stands held
nobody_accepts: ask unavailable; act unavailable, effects 0; stands not found; again held, effects 1; stands held
duplicate_answer: act held, effects 1; act unknown, effects 0; stands held; again held, effects 1; stands held; stands not found; again held, effects 1; stands held
answer_about_another: act unknown, effects 1; ask unknown; stands held; again held, effects 1; stands held
answer_to_another_key: act held, effects 1; stands held
answer_to_a_question: stands not found; act unknown, effects 1; stands held; again held, effects 1; stands held
late_arrival: act unknown, effects 0; stands not found; within 300 s; arrives, effects 1; stands held; again held, effects 1; stands held
overtaken: act unknown, effects 0; again held, effects 1; arrives, effects 1; stands held
";

/// What the connector makes of answers that the sandbox itself never gives: to a query, then to the wish to hold.
const ANSWERS: &str = "\
nothing at all: unknown, unknown
no HTTP: unknown, unknown
half a body: unknown, unknown
200 OK: garbage: unknown, unknown
200 OK: empty: unknown, unknown
200 OK: of a gateway: unknown, unknown
200 OK: about another: unknown, unknown
200 OK: without end: unknown, unknown
200 OK: authorized: held, held
200 OK: authorized nothing: unknown, unknown
200 OK: captured: captured, captured
200 OK: voided: released, unknown
200 OK: declined: declined, unknown
202 Accepted: unknown, unknown
204 No Content: unknown, unknown
302 Found: unknown, unknown
307 elsewhere: unknown, unknown
400 Bad Request: bad_key: invalid, invalid
400 Bad Request: of a gateway: unknown, unknown
401 Unauthorized: unknown, unknown
402 Payment Required: of a gateway: unknown, unknown
402 Payment Required: insufficient_funds about another: unknown, unknown
402 Payment Required: insufficient_funds: unknown, insufficient_funds
403 Forbidden: of a gateway: unknown, unknown
404 Not Found: of a gateway: unknown, unknown
404 Not Found: authorization_not_found about another: unknown, unknown
404 Not Found: authorization_not_found: not found, unknown
408 Request Timeout: unknown, unknown
409 Conflict: of a gateway: unknown, unknown
409 Conflict: reference_reused about another: unknown, unknown
409 Conflict: reference_reused: reference_reused, unknown
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
async fn no_trouble_becomes_a_decline_and_all_heal_with_one_hold() {
    let authorize = Authorize::start().await;
    assert_eq!(troubles::table(&authorize).await, TROUBLES);
}

#[tokio::test]
async fn only_the_channels_own_words_about_this_authorization_are_believed() {
    let authorize = Authorize::start().await;
    assert_eq!(answers::table(&authorize).await, ANSWERS);
}

struct Authorize(RunningSandbox);

impl Authorize {
    async fn start() -> Self {
        Self(RunningSandbox::start(clock()).await)
    }
}

impl Subject for Authorize {
    type Connector = Channels;

    fn promises(&self, channels: &Channels) -> Promises {
        let can = channel(channels).capabilities();
        Promises {
            is_idempotent: can.authorize_is_idempotent,
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

    async fn prepare(&self, _: &Call) {}

    async fn act(&self, channels: &Channels, call: &Call) -> Told {
        told(hold(channels, call).await)
    }

    async fn ask(&self, channels: &Channels, call: &Call) -> Option<Told> {
        let reference = reference(&call.about);
        let answer = channel(channels).query_authorization(&reference).await;
        Some(told(answer))
    }

    fn effects(&self, call: &Call) -> usize {
        let books = self.0.handle.hold_books();
        books.count_effects(HoldEvent::Authorize, &reference(&call.about))
    }

    fn disturb(&self, request: Request, call: &Call, fault: Fault) -> FaultTicket {
        let operation = match request {
            Request::Act => Operation::Authorize,
            Request::Ask => Operation::QueryAuthorization,
        };
        let reference = reference(&call.about);
        self.0.handle.queue_fault(operation, &reference, fault)
    }
}

impl Spoken for Authorize {
    const CODES: [&'static str; 3] = ["authorization_not_found", "reference_reused", "key_reused"];

    fn bodies(&self, about: &str) -> Vec<(&'static str, String)> {
        vec![
            ("authorized", hold_body(about, "authorized", "1.00")),
            ("authorized nothing", hold_body(about, "authorized", "0.00")),
            ("captured", hold_body(about, "captured", "1.00")),
            ("voided", hold_body(about, "voided", "1.00")),
            ("declined", hold_body(about, "declined", "1.00")),
        ]
    }

    fn error(&self, about: &str, code: &str) -> String {
        sandbox_error(about, code)
    }
}

fn told(answer: Result<HoldAnswer, ChannelError>) -> Told {
    match answer.map(|answer| answer.state) {
        Ok(HoldState::Held(_)) => Told::done("held"),
        Ok(HoldState::Captured(_)) => Told::done("captured"),
        Ok(HoldState::Released) => Told::done("released"),
        Ok(HoldState::Lapsed) => Told::done("lapsed"),
        Ok(HoldState::Declined { .. }) => Told::refused("declined"),
        Ok(HoldState::NotFound) => Told::not_done("not found"),
        Err(error) => error.into(),
    }
}

/// Asks to hold ¥12.34.
pub(super) async fn hold(channels: &Channels, call: &Call) -> Result<HoldAnswer, ChannelError> {
    let order = HoldOrder {
        reference: &reference(&call.about),
        amount: cny(1_234),
        token: &Token::new("tok_1").unwrap(),
        capture: Capture::Manual,
        idempotency_key: &call.key,
    };
    channel(channels).authorize(&order).await
}

/// What the sandbox says of an authorization.
pub(super) fn hold_body(about: &str, status: &str, amount: &str) -> String {
    format!(
        r#"{{"reference":"{about}","channel_trade_no":"T1","status":"{status}",
        "status_since":"2026-06-01T00:00:00Z","amount":"{amount}","currency":"CNY","new_field":1}}"#
    )
}
