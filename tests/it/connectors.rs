//! What the sandbox's channel says beyond the contract of every connector, and how other processes drive it.
#![cfg(test)]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use clearday::connectors::sandbox::books::Event;
use clearday::connectors::sandbox::{Fault, Operation, SandboxHandle, ServeError, serve};
use clearday::connectors::{
    ANSWER_BYTES_MAX, Channel, ChannelError, ChannelSettings, Channels, CloseOutcome, DeclineCode,
    ErrorClass, Now, PaymentState, SandboxSettings, SetupError, Timeouts, install_tls_provider,
};
use clearday_jobs::ChannelName;
use futures::future::join;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::raw_http::{RawServer, answer, ask};
use crate::support::sandbox::{
    PATIENT, RunningSandbox, at, channel, channels, cny, reference, sandbox_name,
};

#[tokio::test]
async fn answer_without_end_is_cut() {
    let endless = "x".repeat(64 * 1024 * 1024);
    let server = RawServer::start(|_| answer("200 OK", &endless)).await;
    let channels = channels(&server.base_url(), PATIENT, &clock());
    let error = channel(&channels)
        .query(&reference("R1"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unknown);
    let kept = error.evidence().unwrap().answer.len();
    assert_eq!(kept, "200 OK\n".len() + ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_sent() {
    let server = RawServer::start(|_| answer("200 OK", "")).await;
    let channels = channels(&server.base_url(), PATIENT, &clock());
    let channel = channel(&channels);
    for (name, key) in [("..", "key"), (".", "key"), ("R1", ""), ("R1", "a\r\nb: c")] {
        let answer = channel.close(&reference(name), key).await;
        assert_eq!(class_of(&answer), ErrorClass::Invalid, "{name} {key:?}");
    }
    assert_eq!(server.served(), 0);
}

#[tokio::test]
async fn query_tells_every_state() {
    let sandbox = RunningSandbox::start(clock()).await;
    let channels = channels(&sandbox.base_url(), PATIENT, &clock());
    let state_of = async |name: &str| {
        let answer = channel(&channels).query(&reference(name)).await;
        answer.unwrap().state
    };
    // A reference may look like a path or a query.
    let names = ["open/../R?a=1#%2F", "paid", "closed"];
    for name in names {
        sandbox.handle.create(&reference(name), cny(1234)).unwrap();
    }
    let paid = sandbox.handle.pay(&reference("paid")).unwrap();
    channel(&channels)
        .close(&reference("closed"), "key")
        .await
        .unwrap();

    assert_eq!(state_of(names[0]).await, PaymentState::NotPaid);
    assert_eq!(state_of("closed").await, PaymentState::Closed);
    assert_eq!(state_of("absent").await, PaymentState::NotFound);
    let PaymentState::Paid(receipt) = state_of("paid").await else {
        panic!("the buyer paid");
    };
    assert_eq!(receipt.amount, cny(1234));
    assert_eq!(receipt.channel_trade_no, paid.channel_trade_no);
    assert_eq!(receipt.paid_at, at(0));
}

#[tokio::test]
async fn close_succeeds_once_and_again_but_not_after_money() {
    let sandbox = RunningSandbox::start(clock()).await;
    let channels = channels(&sandbox.base_url(), PATIENT, &clock());
    let close = async |name: &str, key: &str| {
        let answer = channel(&channels).close(&reference(name), key).await;
        answer.map(|closed| closed.outcome)
    };
    for name in ["open", "paid"] {
        sandbox.handle.create(&reference(name), cny(1234)).unwrap();
    }
    sandbox.handle.pay(&reference("paid")).unwrap();

    assert_eq!(close("open", "first").await.unwrap(), CloseOutcome::Closed);
    assert_eq!(close("open", "first").await.unwrap(), CloseOutcome::Closed);
    assert_eq!(
        close("open", "second").await.unwrap(),
        CloseOutcome::AlreadyClosed
    );
    let books = sandbox.handle.books();
    assert_eq!(books.count_effects(Event::Close, &reference("open")), 1);

    let decline = |error: ChannelError| {
        let ChannelError::Declined { code, .. } = error else {
            panic!("{error}");
        };
        code
    };
    let late = close("paid", "third").await.unwrap_err();
    assert_eq!(decline(late), DeclineCode::OrderPaid);
    let stray = close("absent", "fourth").await.unwrap_err();
    assert_eq!(decline(stray), DeclineCode::PaymentNotFound);
    let reused = close("paid", "first").await.unwrap_err();
    assert_eq!(reused.class(), ErrorClass::Invalid);
}

#[tokio::test]
async fn evidence_keeps_the_words_and_no_more() {
    let sandbox = RunningSandbox::start(clock()).await;
    let later: Now = Arc::new(|| at(7));
    let channels = channels(&sandbox.base_url(), PATIENT, &later);
    sandbox.handle.create(&reference("R1"), cny(1234)).unwrap();
    let answer = channel(&channels).close(&reference("R1"), "key").await;
    let evidence = answer.unwrap().evidence;
    assert_eq!(
        evidence.request,
        "POST /v1/payments/R1/close\nidempotency-key: key"
    );
    assert_eq!(
        evidence.answer,
        "200 OK\n{\"reference\":\"R1\",\"status\":\"closed\",\
         \"closed_at\":\"2026-05-28T20:26:40Z\",\"was_closed\":false}"
    );
    assert_eq!(evidence.answered_at, at(7));
}

#[tokio::test]
async fn error_tells_an_operator_who_what_and_why() {
    let server = RawServer::start(|_| answer("502 Bad Gateway", "down")).await;
    let channels = channels(&server.base_url(), PATIENT, &clock());
    let error = channel(&channels)
        .query(&reference("R1"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "channel sandbox gave no answer to be trusted"
    );
    assert_eq!(
        error.source().unwrap().to_string(),
        "GET /v1/payments/R1: 502 Bad Gateway, not in the channel's words"
    );
}

#[tokio::test]
async fn held_answer_opens_the_gap_between_effect_and_answer() {
    let sandbox = RunningSandbox::start(clock()).await;
    let channels = channels(&sandbox.base_url(), PATIENT, &clock());
    let reference = reference("R1");
    sandbox.handle.create(&reference, cny(1234)).unwrap();
    let ticket = sandbox
        .handle
        .queue_fault(Operation::Close, &reference, Fault::HeldAnswer);

    let in_the_gap = async {
        ticket.wait_until_struck().await;
        let closes = sandbox
            .handle
            .books()
            .count_effects(Event::Close, &reference);
        ticket.release();
        closes
    };
    let (answer, closes_in_the_gap) =
        join(channel(&channels).close(&reference, "key"), in_the_gap).await;
    assert_eq!(closes_in_the_gap, 1);
    assert_eq!(answer.unwrap().outcome, CloseOutcome::Closed);
}

#[tokio::test]
async fn stop_lets_a_held_answer_go() {
    let sandbox = RunningSandbox::start(clock()).await;
    let channels = channels(&sandbox.base_url(), PATIENT, &clock());
    let reference = reference("R1");
    sandbox.handle.create(&reference, cny(1234)).unwrap();
    let ticket = sandbox
        .handle
        .queue_fault(Operation::Close, &reference, Fault::HeldAnswer);

    let stop = async {
        ticket.wait_until_struck().await;
        sandbox.stop().await;
    };
    let (answer, ()) = join(channel(&channels).close(&reference, "key"), stop).await;
    assert_eq!(answer.unwrap().outcome, CloseOutcome::Closed);
}

#[tokio::test]
async fn other_processes_drive_the_sandbox_over_http() {
    let sandbox = RunningSandbox::start(clock()).await;
    let ask = async |method, path, body| ask(sandbox.address, method, path, body).await;
    let payment = |status: &str| {
        format!(
            "{{\"reference\":\"R1\",\"channel_trade_no\":\"SANDBOX000000000001\",\"status\":\"{status}\",\
             \"status_since\":\"2026-05-28T20:26:40Z\",\"amount\":\"12.34\",\"currency\":\"CNY\"}}"
        )
    };
    let order = r#"{"reference":"R1","amount":"12.34","currency":"CNY"}"#;
    assert_eq!(
        ask("POST", "/v1/payments", order).await,
        (200, payment("created"))
    );

    let fault =
        r#"{"operation":"pay","reference":"R1","fault":{"slow_answer":{"delay_ms":60000}}}"#;
    assert_eq!(
        ask("POST", "/v1/faults", fault).await,
        (201, r#"{"id":1,"struck":false}"#.to_owned())
    );
    ask("POST", "/v1/faults/1/release", "").await;
    assert_eq!(
        ask("POST", "/v1/payments/R1/pay", "").await,
        (200, payment("paid"))
    );
    assert_eq!(
        ask("GET", "/v1/faults/1", "").await,
        (200, r#"{"id":1,"struck":true}"#.to_owned())
    );

    let effect = |event: &str| {
        format!(
            "{{\"event\":\"{event}\",\"reference\":\"R1\",\"idempotency_key\":null,\
             \"at\":\"2026-05-28T20:26:40Z\",\"amount\":\"12.34\",\"currency\":\"CNY\"}}"
        )
    };
    let effects = format!("[{},{}]", effect("create"), effect("pay"));
    assert_eq!(ask("GET", "/v1/effects", "").await, (200, effects));
}

#[tokio::test]
async fn requests_that_make_no_sense_to_the_sandbox_are_refused() {
    let sandbox = RunningSandbox::start(clock()).await;
    for (method, path, body, status) in [
        ("POST", "/v1/payments", "{", 400),
        (
            "POST",
            "/v1/payments",
            r#"{"reference":"R1","amount":"-1.00","currency":"CNY"}"#,
            422,
        ),
        (
            "POST",
            "/v1/payments",
            r#"{"reference":"R1","amount":"1.001","currency":"CNY"}"#,
            422,
        ),
        (
            "POST",
            "/v1/payments",
            r#"{"reference":"R1","amount":"1","currency":"XYZ"}"#,
            422,
        ),
        ("POST", "/v1/payments/R1/close", "", 400),
        ("GET", "/v1/payments/R1", "", 404),
        ("GET", "/v1/payments/R%201", "", 400),
        (
            "POST",
            "/v1/faults",
            r#"{"operation":"pay","reference":"R1","fault":"explode"}"#,
            422,
        ),
        ("GET", "/v1/faults/7", "", 404),
    ] {
        let (answered, text) = ask(sandbox.address, method, path, body).await;
        assert_eq!(answered, status, "{method} {path} {body}: {text}");
    }
    assert_eq!(sandbox.handle.effects(), []);
}

#[tokio::test]
async fn sandbox_refuses_to_be_reached_from_outside() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let sandbox = SandboxHandle::new(clock());
    let served = serve(listener, sandbox, CancellationToken::new()).await;
    assert!(matches!(served, Err(ServeError::NotLoopback(_))));
}

#[test]
fn channels_are_found_by_name() {
    let channels = channels("http://127.0.0.1:1/", PATIENT, &clock());
    let names: Vec<_> = channels.iter().map(Channel::name).collect();
    assert_eq!(names, [&sandbox_name()]);
    let stranger = ChannelName::new("wechat_pay").unwrap();
    assert!(channels.find(&stranger).is_none());
}

#[test]
fn sandbox_claims_only_what_it_does() {
    let channels = channels("http://127.0.0.1:1/", PATIENT, &clock());
    let can = channel(&channels).capabilities();
    assert!(can.query && can.close && can.close_is_idempotent);
    assert!(can.authorize && can.authorize_is_idempotent && can.charge);
    assert!(can.void && can.void_is_idempotent && can.reduce);
    assert_eq!([can.capture, can.refund, can.statement], [false; 3]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let build = |base_url: &str, connect_ms, names: &[&str]| {
        let settings = ChannelSettings::Sandbox(SandboxSettings {
            base_url: base_url.to_owned(),
            timeouts: Timeouts {
                connect: Duration::from_millis(connect_ms),
                request: Duration::from_millis(100),
            },
            processing_window: Duration::ZERO,
        });
        let named = names
            .iter()
            .map(|name| (ChannelName::new(*name).unwrap(), settings.clone()));
        Channels::build(named, &clock()).map(drop)
    };
    for base_url in [
        "127.0.0.1:1",
        "ftp://127.0.0.1",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1/?token=secret",
    ] {
        let refused = build(base_url, 10, &["a"]).unwrap_err();
        assert!(matches!(refused, SetupError::BaseUrl { .. }));
        assert!(!format!("{refused:?} {refused}").contains("secret"));
    }
    let refused = build("http://127.0.0.1", 100, &["a"]);
    assert!(matches!(refused, Err(SetupError::Timeouts { .. })));
    let refused = build("http://127.0.0.1", 10, &["a", "a"]);
    assert!(matches!(refused, Err(SetupError::Twice { .. })));
}

#[test]
fn tls_provider_is_installed_once_or_more() {
    install_tls_provider();
    install_tls_provider();
}

fn clock() -> Now {
    Arc::new(|| at(0))
}

fn class_of<Answer>(answer: &Result<Answer, ChannelError>) -> ErrorClass {
    match answer {
        Ok(_) => panic!("an answer came through"),
        Err(error) => error.class(),
    }
}
