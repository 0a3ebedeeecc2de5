//! What every connector promises, tried on the sandbox: no fault becomes a decline, and one key has one effect.
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
use futures::future::{join, join_all};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::raw_http::{RawServer, answer, ask};
use crate::support::sandbox::{
    PATIENT, RunningSandbox, at, channel, channels, cny, reference, sandbox_name,
};

/// Long enough for the effect, and all that a test waits for an answer that never comes.
const IMPATIENT: Duration = Duration::from_secs(1);

/// What a fault is called by the connector, what the books then show, and how query and the same key heal it.
const FAULTS: &str = "\
lost_request: query unknown, close unknown, closes 0; then NotPaid, Closed, closes 1
lost_answer: query unknown, close unknown, closes 1; then Closed, Closed, closes 1
error_after_effect: query unknown, close unknown, closes 1; then Closed, Closed, closes 1
slow_answer: query unknown, close unknown, closes 1; then Closed, Closed, closes 1
held_answer: query unknown, close unknown, closes 1; then Closed, Closed, closes 1
unavailable: query unavailable, close unavailable, closes 0; then NotPaid, Closed, closes 1
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
    let closes = || {
        sandbox
            .handle
            .books()
            .count_effects(Event::Close, &reference)
    };
    let faulty = channels(&sandbox.base_url(), patience, &clock());
    let calm = channels(&sandbox.base_url(), PATIENT, &clock());
    let (faulty, calm) = (channel(&faulty), channel(&calm));
    sandbox.handle.create(&reference, cny(1234)).unwrap();

    // A calm call before each fault leaves a connection to be used again, as in a busy daemon.
    let queue = |operation| sandbox.handle.queue_fault(operation, &reference, fault);
    faulty.query(&reference).await.unwrap();
    let struck = queue(Operation::Query);
    let query = class_of(&faulty.query(&reference).await);
    struck.wait_until_struck().await;
    faulty.query(&reference).await.unwrap();
    let struck = queue(Operation::Close);
    let close = class_of(&faulty.close(&reference, name).await);
    struck.wait_until_struck().await;
    let closes_at_once = closes();

    let state = calm.query(&reference).await.unwrap().state;
    let outcome = calm.close(&reference, name).await.unwrap().outcome;
    format!(
        "{name}: query {query}, close {close}, closes {closes_at_once}; \
         then {state:?}, {outcome:?}, closes {}\n",
        closes()
    )
}

/// What the connector makes of answers that the sandbox itself never gives: `query`, then `close`, of payment R1.
const ANSWERS: &str = "\
nothing at all: unknown, unknown
no HTTP: unknown, unknown
half a body: unknown, unknown
200 garbage: unknown, unknown
200 empty: unknown, unknown
200 another payment: unknown, unknown
200 created: NotPaid, unknown
200 closed: Closed, Closed
200 paid: Paid, unknown
200 paid nothing: unknown, unknown
200 paid below the minor unit: unknown, unknown
200 no status of ours: unknown, unknown
202: unknown, unknown
302: unknown, unknown
400 in its words: invalid, invalid
401: unknown, unknown
404 of a gateway: unknown, unknown
404 another payment: unknown, unknown
404 in its words: NotFound, payment_not_found
408: unknown, unknown
409 in its words: order_paid, order_paid
422 in its words: invalid, invalid
429: unknown, unknown
500: unknown, unknown
500 not_processed: unknown, unknown
502: unknown, unknown
503 of a gateway: unknown, unknown
503 another code: unknown, unknown
503 another payment: unknown, unknown
503 not_processed: unavailable, unavailable
504: unknown, unknown
";

#[tokio::test]
async fn only_the_channels_own_words_about_this_payment_are_believed() {
    let payment = |reference: &str, status: &str, amount: &str| {
        format!(
            r#"{{"reference":"{reference}","channel_trade_no":"T1","status":"{status}",
            "status_since":"2026-06-01T00:00:00Z","closed_at":"2026-06-01T00:00:00Z",
            "was_closed":false,"amount":"{amount}","currency":"CNY","new_field":1}}"#
        )
    };
    let words = |reference: &str, code: &str| {
        format!(r#"{{"code":"{code}","message":"so it is","reference":"{reference}"}}"#)
    };
    let page = "<html>down</html>";
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", vec![]),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("half a body", half.as_bytes().to_vec()),
        ("200 garbage", answer("200 OK", "{\"reference\":\"R1\",")),
        ("200 empty", answer("200 OK", "")),
        (
            "200 another payment",
            answer("200 OK", &payment("R2", "closed", "1.00")),
        ),
        (
            "200 created",
            answer("200 OK", &payment("R1", "created", "1.00")),
        ),
        (
            "200 closed",
            answer("200 OK", &payment("R1", "closed", "1.00")),
        ),
        ("200 paid", answer("200 OK", &payment("R1", "paid", "1.00"))),
        (
            "200 paid nothing",
            answer("200 OK", &payment("R1", "paid", "0.00")),
        ),
        (
            "200 paid below the minor unit",
            answer("200 OK", &payment("R1", "paid", "1.001")),
        ),
        (
            "200 no status of ours",
            answer("200 OK", &payment("R1", "frozen", "1.00")),
        ),
        (
            "202",
            answer("202 Accepted", &payment("R1", "closed", "1.00")),
        ),
        ("302", answer("302 Found", "")),
        (
            "400 in its words",
            answer("400 Bad Request", &words("R1", "bad_key")),
        ),
        ("401", answer("401 Unauthorized", "")),
        ("404 of a gateway", answer("404 Not Found", page)),
        (
            "404 another payment",
            answer("404 Not Found", &words("R2", "payment_not_found")),
        ),
        (
            "404 in its words",
            answer("404 Not Found", &words("R1", "payment_not_found")),
        ),
        ("408", answer("408 Request Timeout", "")),
        (
            "409 in its words",
            answer("409 Conflict", &words("R1", "order_paid")),
        ),
        (
            "422 in its words",
            answer("422 Unprocessable Entity", &words("R1", "key_reused")),
        ),
        ("429", answer("429 Too Many Requests", page)),
        ("500", answer("500 Internal Server Error", page)),
        (
            "500 not_processed",
            answer("500 Internal Server Error", &words("R1", "not_processed")),
        ),
        ("502", answer("502 Bad Gateway", page)),
        ("503 of a gateway", answer("503 Service Unavailable", page)),
        (
            "503 another code",
            answer("503 Service Unavailable", &words("R1", "busy")),
        ),
        (
            "503 another payment",
            answer("503 Service Unavailable", &words("R2", "not_processed")),
        ),
        (
            "503 not_processed",
            answer("503 Service Unavailable", &words("R1", "not_processed")),
        ),
        ("504", answer("504 Gateway Timeout", page)),
    ];
    let mut table = Vec::new();
    for (name, bytes) in cases {
        let server = RawServer::start(|_| bytes).await;
        let channels = channels(&server.base_url(), PATIENT, &clock());
        let channel = channel(&channels);
        let query = match channel.query(&reference("R1")).await {
            Ok(answer) => state_name(&answer.state).to_owned(),
            Err(error) => error_name(&error),
        };
        let close = match channel.close(&reference("R1"), "key").await {
            Ok(answer) => format!("{:?}", answer.outcome),
            Err(error) => error_name(&error),
        };
        table.push(format!("{name}: {query}, {close}\n"));
    }
    assert_eq!(table.concat(), ANSWERS);
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let server = RawServer::start(|address| {
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{address}/v1/payments/R2/close\r\ncontent-length: 0\r\n\r\n")
            .into_bytes()
    })
    .await;
    let channels = channels(&server.base_url(), PATIENT, &clock());
    let answer = channel(&channels).close(&reference("R1"), "key").await;
    assert_eq!(class_of(&answer), ErrorClass::Unknown);
    assert_eq!(server.served(), 1);
}

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
async fn connection_refused_is_provably_unsent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let channels = channels(&format!("http://{address}"), PATIENT, &clock());
    let channel = channel(&channels);
    let query = channel.query(&reference("R1")).await;
    let close = channel.close(&reference("R1"), "key").await;
    assert_eq!(class_of(&query), ErrorClass::Unavailable);
    assert_eq!(class_of(&close), ErrorClass::Unavailable);
}

#[tokio::test]
async fn connection_that_never_comes_about_is_provably_unsent() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts; Linux lets newcomers wait once the queue is full.
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(IMPATIENT, TcpStream::connect(address)).await {
        queue.push(connected.unwrap());
    }

    let channels = channels(&format!("http://{address}"), IMPATIENT, &clock());
    let answer = channel(&channels).close(&reference("R1"), "key").await;
    assert_eq!(class_of(&answer), ErrorClass::Unavailable);
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

fn state_name(state: &PaymentState) -> &'static str {
    match state {
        PaymentState::NotPaid => "NotPaid",
        PaymentState::Paid(_) => "Paid",
        PaymentState::Closed => "Closed",
        PaymentState::NotFound => "NotFound",
    }
}

fn error_name(error: &ChannelError) -> String {
    if let ChannelError::Declined { code, .. } = error {
        return code.to_string();
    }
    error.class().to_string()
}
