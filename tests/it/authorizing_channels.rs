//! What the sandbox's channel says about authorizations beyond the contract of every connector, and that a channel that
//! is not there is left alone.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::TimeDelta;
use clearday::connectors::sandbox::HoldStatus;
use clearday::connectors::{
    Channel, ChannelError, ErrorClass, HoldAnswer, HoldOrder, HoldState, Now,
};
use clearday::domain::breaker::Admission;
use clearday_jobs::{Capture, Money, Token};
use tokio::net::TcpListener;

use crate::support::raw_http::{RawServer, answer, ask};
use crate::support::sandbox::{PATIENT, RunningSandbox, at, channel, channels, cny, reference};

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
        assert_eq!(channel.gate().admit(), Admission::Call);
        let answer = channel.query_authorization(&reference("A1")).await;
        assert_eq!(class_of(&answer), ErrorClass::Unavailable.to_string());
    }
    assert_eq!(channel.gate().admit(), Admission::Wait(at(10)));
    assert_eq!(channel.gate().open_until(), Some(at(10)));
    seconds.store(10, Ordering::SeqCst);
    assert_eq!(channel.gate().admit(), Admission::Call);
    let turn = at(10) + TimeDelta::milliseconds(250);
    assert_eq!(channel.gate().admit(), Admission::Wait(turn));
}

#[tokio::test]
async fn silence_opens_the_breaker() {
    let server = RawServer::start(|_| Vec::new()).await;
    let now = clock();
    let channels = channels(&server.base_url(), PATIENT, &now);
    let channel = channel(&channels);
    for _ in 0..3 {
        assert_eq!(channel.gate().admit(), Admission::Call);
        let lost = channel.query(&reference("R1")).await;
        assert_eq!(lost.unwrap_err().class(), ErrorClass::Unknown);
    }
    let until = now() + TimeDelta::seconds(10);
    assert_eq!(channel.gate().admit(), Admission::Wait(until));
}

#[tokio::test]
async fn answers_that_make_no_sense_open_no_breaker() {
    let server = RawServer::start(|_| answer("502 Bad Gateway", "down")).await;
    let channels = channels(&server.base_url(), PATIENT, &clock());
    let channel = channel(&channels);
    for _ in 0..5 {
        let lost = channel.query(&reference("R1")).await;
        assert_eq!(lost.unwrap_err().class(), ErrorClass::Unknown);
    }
    assert_eq!(channel.gate().admit(), Admission::Call);
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
