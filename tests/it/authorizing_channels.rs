//! What every connector promises about authorizations, tried on the sandbox: no fault becomes a decline, one key holds
//! money once, and a channel that is not there is left alone.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use clearday::connectors::sandbox::{Fault, HoldEvent, HoldStatus, Operation};
use clearday::connectors::{
    Channel, ChannelError, ErrorClass, HoldAnswer, HoldOrder, HoldState, Now,
};
use clearday::domain::breaker::Admission;
use clearday_jobs::{Capture, Money, Token};
use futures::future::join_all;
use tokio::net::TcpListener;

use crate::support::raw_http::{RawServer, answer, ask};
use crate::support::sandbox::{PATIENT, RunningSandbox, at, channel, channels, cny, reference};

/// Long enough for the effect, and all that a test waits for an answer that never comes.
const IMPATIENT: Duration = Duration::from_secs(1);

/// What a fault is called by the connector, what the books then show, and how query and the same key heal it: a query,
/// asking to hold and asking to let go, each struck by the fault.
const FAULTS: &str = "\
lost_request: query unknown, authorize unknown, held 0, then held, held 1; void unknown, let go 0, then released, let go 1
lost_answer: query unknown, authorize unknown, held 1, then held, held 1; void unknown, let go 1, then released, let go 1
error_after_effect: query unknown, authorize unknown, held 1, then held, held 1; void unknown, let go 1, then released, let go 1
slow_answer: query unknown, authorize unknown, held 1, then held, held 1; void unknown, let go 1, then released, let go 1
held_answer: query unknown, authorize unknown, held 1, then held, held 1; void unknown, let go 1, then released, let go 1
unavailable: query unavailable, authorize unavailable, held 0, then held, held 1; void unavailable, let go 0, then released, let go 1
";

#[tokio::test]
async fn no_fault_becomes_a_decline_and_all_heal_with_one_effect() {
    let rows = [
        ("lost_request", Fault::LostRequest, PATIENT),
        ("lost_answer", Fault::LostAnswer, PATIENT),
        ("error_after_effect", Fault::ErrorAfterEffect, PATIENT),
        (
            "slow_answer",
            Fault::SlowAnswer { delay_ms: 60_000 },
            IMPATIENT,
        ),
        ("held_answer", Fault::HeldAnswer, IMPATIENT),
        ("unavailable", Fault::Unavailable, PATIENT),
    ];
    let sandbox = RunningSandbox::start(clock()).await;
    let lines = rows.map(|(name, fault, patience)| fault_line(&sandbox, name, fault, patience));
    assert_eq!(join_all(lines).await.concat(), FAULTS);
}

async fn fault_line(
    sandbox: &RunningSandbox,
    name: &str,
    fault: Fault,
    patience: Duration,
) -> String {
    let reference = reference(name);
    let count = |event| sandbox.handle.hold_books().count_effects(event, &reference);
    let faulty = channels(&sandbox.base_url(), patience, &clock());
    let calm = channels(&sandbox.base_url(), PATIENT, &clock());
    let (faulty, calm) = (channel(&faulty), channel(&calm));
    let strike = async |operation| {
        // A calm call before each fault leaves a connection to be used again, as in a busy daemon.
        faulty.query_authorization(&reference).await.unwrap();
        sandbox.handle.queue_fault(operation, &reference, fault)
    };

    let struck = strike(Operation::QueryAuthorization).await;
    let query = class_of(&faulty.query_authorization(&reference).await);
    struck.wait_until_struck().await;
    let struck = strike(Operation::Authorize).await;
    let authorize = class_of(&hold(faulty, name, "tok_1", name).await);
    struck.wait_until_struck().await;
    let held_at_once = count(HoldEvent::Authorize);
    let held = state_name(&hold(calm, name, "tok_1", name).await.unwrap());
    let held_then = count(HoldEvent::Authorize);

    let key = format!("void:{name}");
    let struck = strike(Operation::Void).await;
    let void = class_of(&faulty.void(&reference, cny(0), &key).await);
    struck.wait_until_struck().await;
    let void_at_once = count(HoldEvent::Void);
    let released = state_name(&calm.void(&reference, cny(0), &key).await.unwrap());
    format!(
        "{name}: query {query}, authorize {authorize}, held {held_at_once}, then {held}, held {held_then}; \
         void {void}, let go {void_at_once}, then {released}, let go {}\n",
        count(HoldEvent::Void)
    )
}

/// What the connector makes of answers that the sandbox itself never gives: query, authorize, void of A1.
const ANSWERS: &str = "\
nothing at all: unknown, unknown, unknown
200 garbage: unknown, unknown, unknown
200 another authorization: unknown, unknown, unknown
200 authorized: held, held, held
200 authorized nothing: unknown, unknown, unknown
200 captured: captured, captured, captured
200 voided: released, unknown, released
200 declined: declined, unknown, declined
202: unknown, unknown, unknown
302: unknown, unknown, unknown
400 in its words: invalid, invalid, invalid
401: unknown, unknown, unknown
402 of a gateway: unknown, unknown, unknown
402 another authorization: unknown, unknown, unknown
402 in its words: unknown, insufficient_funds, unknown
404 of a gateway: unknown, unknown, unknown
404 in its words: not found, unknown, authorization_not_found
408: unknown, unknown, unknown
409 in its words: reference_reused, unknown, reference_reused
422 in its words: invalid, invalid, invalid
429: unknown, unknown, unknown
500: unknown, unknown, unknown
502: unknown, unknown, unknown
503 of a gateway: unknown, unknown, unknown
503 not_processed: unavailable, unavailable, unavailable
504: unknown, unknown, unknown
";

#[tokio::test]
async fn only_the_channels_own_words_about_this_authorization_are_believed() {
    let body = |reference: &str, status: &str, amount: &str| {
        format!(
            r#"{{"reference":"{reference}","channel_trade_no":"T1","status":"{status}",
            "status_since":"2026-06-01T00:00:00Z","amount":"{amount}","currency":"CNY","new_field":1}}"#
        )
    };
    let ok = |reference, status, amount| answer("200 OK", &body(reference, status, amount));
    let words = |status: &str, reference: &str, code: &str| {
        let said = format!(r#"{{"code":"{code}","message":"so it is","reference":"{reference}"}}"#);
        answer(status, &said)
    };
    let page = "<html>down</html>";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", vec![]),
        ("200 garbage", answer("200 OK", "{\"reference\":\"A1\",")),
        ("200 another authorization", ok("A2", "authorized", "1.00")),
        ("200 authorized", ok("A1", "authorized", "1.00")),
        ("200 authorized nothing", ok("A1", "authorized", "0.00")),
        ("200 captured", ok("A1", "captured", "1.00")),
        ("200 voided", ok("A1", "voided", "1.00")),
        ("200 declined", ok("A1", "declined", "1.00")),
        (
            "202",
            answer("202 Accepted", &body("A1", "authorized", "1.00")),
        ),
        ("302", answer("302 Found", "")),
        ("400 in its words", words("400 Bad Request", "A1", "bad")),
        ("401", answer("401 Unauthorized", "")),
        ("402 of a gateway", answer("402 Payment Required", page)),
        (
            "402 another authorization",
            words("402 Payment Required", "A2", "insufficient_funds"),
        ),
        (
            "402 in its words",
            words("402 Payment Required", "A1", "insufficient_funds"),
        ),
        ("404 of a gateway", answer("404 Not Found", page)),
        (
            "404 in its words",
            words("404 Not Found", "A1", "authorization_not_found"),
        ),
        ("408", answer("408 Request Timeout", "")),
        (
            "409 in its words",
            words("409 Conflict", "A1", "reference_reused"),
        ),
        (
            "422 in its words",
            words("422 Unprocessable Entity", "A1", "key_reused"),
        ),
        ("429", answer("429 Too Many Requests", page)),
        ("500", answer("500 Internal Server Error", page)),
        ("502", answer("502 Bad Gateway", page)),
        ("503 of a gateway", answer("503 Service Unavailable", page)),
        (
            "503 not_processed",
            words("503 Service Unavailable", "A1", "not_processed"),
        ),
        ("504", answer("504 Gateway Timeout", page)),
    ];
    let mut table = Vec::new();
    for (name, bytes) in cases {
        let server = RawServer::start(|_| bytes).await;
        let channels = channels(&server.base_url(), PATIENT, &clock());
        let channel = channel(&channels);
        let reference = reference("A1");
        let said = [
            channel.query_authorization(&reference).await,
            hold(channel, "A1", "tok_1", "key").await,
            channel.void(&reference, cny(0), "void").await,
        ]
        .map(|answer| match answer {
            Ok(answer) => state_name(&answer).to_owned(),
            Err(ChannelError::Declined { code, .. }) => code.to_string(),
            Err(error) => error.class().to_string(),
        });
        table.push(format!("{name}: {}\n", said.join(", ")));
    }
    assert_eq!(table.concat(), ANSWERS);
}

#[tokio::test]
async fn money_is_held_taken_let_go_in_part_and_declined_as_asked() {
    let sandbox = RunningSandbox::start(clock()).await;
    let channels = channels(&sandbox.base_url(), PATIENT, &clock());
    let channel = channel(&channels);
    let held = hold(channel, "held", "tok_1", "1").await.unwrap();
    assert_eq!(held.state, HoldState::Held(cny(1_234)));
    let kept = channel.void(&reference("held"), cny(1_000), "2").await;
    assert_eq!(kept.unwrap().state, HoldState::Held(cny(1_000)));
    let released = channel.void(&reference("held"), cny(0), "3").await;
    assert_eq!(released.unwrap().state, HoldState::Released);

    let declined = hold(channel, "declined", "tok_declined_stolen_card", "4").await;
    let Err(ChannelError::Declined { code, .. }) = declined else {
        panic!("{declined:?}");
    };
    assert_eq!(code.as_str(), "stolen_card");
    let asked = channel.query_authorization(&reference("declined")).await;
    let code = "stolen_card".to_owned();
    assert_eq!(asked.unwrap().state, HoldState::Declined { code });

    let token = Token::new("tok_1").unwrap();
    let reference = reference("taken");
    let order = HoldOrder {
        reference: &reference,
        amount: cny(1_234),
        token: &token,
        capture: Capture::Automatic,
        idempotency_key: "5",
    };
    let HoldState::Captured(receipt) = channel.authorize(&order).await.unwrap().state else {
        panic!("it is taken at once");
    };
    assert_eq!((receipt.amount, receipt.paid_at), (cny(1_234), at(0)));
    let late = channel.void(&reference, cny(0), "6").await;
    let Err(ChannelError::Declined { code, .. }) = late else {
        panic!("{late:?}");
    };
    assert_eq!(code.as_str(), "authorization_captured");
}

#[tokio::test]
async fn evidence_shows_no_token() {
    let sandbox = RunningSandbox::start(clock()).await;
    let channels = channels(&sandbox.base_url(), PATIENT, &clock());
    let held = hold(channel(&channels), "A1", "tok_secret", "key").await;
    let evidence = held.unwrap().evidence;
    assert!(
        evidence
            .request
            .starts_with("POST /v1/authorizations\nidempotency-key: key\n")
    );
    assert!(
        evidence.request.contains("\"amount\":\"12.34\""),
        "{}",
        evidence.request
    );
    assert!(!format!("{evidence:?}").contains("tok_secret"));
}

#[tokio::test]
async fn other_processes_drive_authorizations_over_http() {
    let sandbox = RunningSandbox::start(clock()).await;
    let channels = channels(&sandbox.base_url(), PATIENT, &clock());
    for name in ["taken", "lapsed"] {
        hold(channel(&channels), name, "tok_1", name).await.unwrap();
    }
    let ask = async |path: &str| ask(sandbox.address, "POST", path, "").await.0;
    assert_eq!(ask("/v1/authorizations/taken/capture").await, 200);
    assert_eq!(ask("/v1/authorizations/lapsed/lapse").await, 200);
    assert_eq!(ask("/v1/authorizations/absent/lapse").await, 404);
    assert_eq!(ask("/v1/authorizations/lapsed/capture").await, 409);
    let books = sandbox.handle.hold_books();
    let status = |name| books.find(&reference(name)).unwrap().status;
    assert_eq!(status("taken"), HoldStatus::Captured);
    assert_eq!(status("lapsed"), HoldStatus::Lapsed);
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_left_alone_and_then_called_at_a_pace() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let seconds = Arc::new(AtomicI64::new(0));
    let told = Arc::clone(&seconds);
    let now: Now = Arc::new(move || at(told.load(Ordering::SeqCst)));
    let channels = channels(&format!("http://{address}"), PATIENT, &now);
    let channel = channel(&channels);
    for _ in 0..3 {
        assert_eq!(channel.admit(), Admission::Call);
        let answer = channel.query_authorization(&reference("A1")).await;
        assert_eq!(class_of(&answer), ErrorClass::Unavailable.to_string());
    }
    assert_eq!(channel.admit(), Admission::Wait(at(10)));
    assert_eq!(channel.breaker_open_until(), Some(at(10)));
    seconds.store(10, Ordering::SeqCst);
    assert_eq!(channel.admit(), Admission::Call);
    let turn = at(10) + TimeDelta::milliseconds(250);
    assert_eq!(channel.admit(), Admission::Wait(turn));
}

#[tokio::test]
async fn lost_answers_open_no_breaker() {
    let server = RawServer::start(|_| answer("502 Bad Gateway", "down")).await;
    let channels = channels(&server.base_url(), PATIENT, &clock());
    let channel = channel(&channels);
    for _ in 0..5 {
        let lost = channel.query(&reference("R1")).await;
        assert_eq!(lost.unwrap_err().class(), ErrorClass::Unknown);
    }
    assert_eq!(channel.admit(), Admission::Call);
}

async fn hold(
    channel: &Channel,
    name: &str,
    token: &str,
    key: &str,
) -> Result<HoldAnswer, ChannelError> {
    let amount: Money = cny(1_234);
    let order = HoldOrder {
        reference: &reference(name),
        amount,
        token: &Token::new(token).unwrap(),
        capture: Capture::Manual,
        idempotency_key: key,
    };
    channel.authorize(&order).await
}

fn clock() -> Now {
    Arc::new(|| at(0))
}

fn class_of(answer: &Result<HoldAnswer, ChannelError>) -> String {
    match answer {
        Ok(answer) => panic!("an answer came through: {answer:?}"),
        Err(error) => error.class().to_string(),
    }
}

fn state_name(answer: &HoldAnswer) -> &'static str {
    match &answer.state {
        HoldState::Held(_) => "held",
        HoldState::Captured(_) => "captured",
        HoldState::Released => "released",
        HoldState::Lapsed => "lapsed",
        HoldState::Declined { .. } => "declined",
        HoldState::NotFound => "not found",
    }
}
