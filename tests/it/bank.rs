//! What every bank connector promises, tried on the sandbox: no fault becomes a rejection, and one order is paid once.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use clearday::connectors::sandbox::{BankEvent, Fault, NewEntry, Operation};
use clearday::connectors::{
    BankAccount, BankConnector, BankSettings, Banks, ChannelError, ErrorClass, Now, PayoutAnswer,
    PayoutOrder, PayoutState, SetupError, Timeouts,
};
use clearday_jobs::{ChannelName, Currency, Money, Reference};
use futures::future::join_all;

use crate::support::raw_http::{RawServer, answer, ask};
use crate::support::sandbox::{
    PATIENT, RunningSandbox, at, bank, bank_name, banks, cny, reference,
};

/// Long enough for the effect, and all that a test waits for an answer that never comes.
const IMPATIENT: Duration = Duration::from_secs(1);

/// What a fault is called by the connector, what the bank's books then show, and how query and the same key heal it.
const FAULTS: &str = "\
lost_request: order unknown, query unknown, accepted 0; then NotFound, Accepted, accepted 1
lost_answer: order unknown, query unknown, accepted 1; then Accepted, Accepted, accepted 1
error_after_effect: order unknown, query unknown, accepted 1; then Accepted, Accepted, accepted 1
slow_answer: order unknown, query unknown, accepted 1; then Accepted, Accepted, accepted 1
held_answer: order unknown, query unknown, accepted 1; then Accepted, Accepted, accepted 1
unavailable: order unavailable, query unavailable, accepted 0; then NotFound, Accepted, accepted 1
";

#[tokio::test]
async fn no_fault_becomes_a_rejection_and_all_heal_with_one_payout() {
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
    let id = reference(name);
    let accepted = || {
        let books = sandbox.handle.bank_books();
        books.count_effects(BankEvent::Accept, &id)
    };
    let faulty = banks(&sandbox.base_url(), patience, &clock());
    let calm = banks(&sandbox.base_url(), PATIENT, &clock());
    let (faulty, calm) = (bank(&faulty), bank(&calm));

    // A calm call before each fault leaves a connection to be used again, as in a busy daemon.
    let queue = |operation| sandbox.handle.queue_fault(operation, &id, fault);
    faulty.query(&id).await.unwrap();
    let struck = queue(Operation::PayOut);
    let ordered = class_of(&faulty.pay_out(&order(&id)).await);
    struck.wait_until_struck().await;
    faulty.query(&id).await.unwrap();
    let struck = queue(Operation::QueryPayout);
    let queried = class_of(&faulty.query(&id).await);
    struck.wait_until_struck().await;
    let accepted_at_once = accepted();

    let state = calm.query(&id).await.unwrap().state;
    let again = calm.pay_out(&order(&id)).await.unwrap().state;
    format!(
        "{name}: order {ordered}, query {queried}, accepted {accepted_at_once}; \
         then {state:?}, {again:?}, accepted {}\n",
        accepted()
    )
}

/// What the connector makes of answers that the sandbox itself never gives: to an order, then to a query, of P1.
const ANSWERS: &str = "\
nothing at all: unknown, unknown
200 garbage: unknown, unknown
200 another payout: unknown, unknown
200 another amount: unknown, Accepted
200 no status of ours: unknown, unknown
200 booked: Booked, Booked
200 rejected: Rejected(no such payee), Rejected(no such payee)
200 returned: Returned(closed), Returned(closed)
202: unknown, unknown
302: unknown, unknown
400 in its words: invalid, invalid
401: unknown, unknown
404 of a gateway: unknown, unknown
404 in its words: unknown, NotFound
404 another payout: unknown, unknown
408: unknown, unknown
409 in its words: unknown, unknown
422 in its words: invalid, invalid
429: unknown, unknown
500: unknown, unknown
503 of a gateway: unknown, unknown
503 not_processed: unavailable, unavailable
504: unknown, unknown
";

#[tokio::test]
async fn only_the_banks_own_words_about_this_payout_are_believed() {
    let payout = |id: &str, status: &str, reason: &str, amount: &str| {
        let body = format!(
            r#"{{"end_to_end_id":"{id}","status":"{status}","status_since":"2026-06-01T00:00:00Z",
            {reason}"amount":"{amount}","currency":"CNY","new_field":1}}"#
        );
        answer("200 OK", &body)
    };
    let words = |status: &str, id: &str, code: &str| {
        let body = format!(r#"{{"code":"{code}","message":"so it is","reference":"{id}"}}"#);
        answer(status, &body)
    };
    let page = "<html>down</html>";
    let unknown_payee = r#""reason":"no such payee","#;
    let not_found = "payout_not_found";
    let unprocessable = "422 Unprocessable Entity";
    let busy = "503 Service Unavailable";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", vec![]),
        ("200 garbage", answer("200 OK", "{")),
        ("200 another payout", payout("P2", "accepted", "", "12.34")),
        ("200 another amount", payout("P1", "accepted", "", "12.35")),
        ("200 no status of ours", payout("P1", "frozen", "", "12.34")),
        ("200 booked", payout("P1", "booked", "", "12.34")),
        (
            "200 rejected",
            payout("P1", "rejected", unknown_payee, "12.34"),
        ),
        (
            "200 returned",
            payout("P1", "returned", r#""reason":"closed","#, "12.34"),
        ),
        ("202", answer("202 Accepted", "")),
        ("302", answer("302 Found", "")),
        (
            "400 in its words",
            words("400 Bad Request", "P1", "bad_key"),
        ),
        ("401", answer("401 Unauthorized", "")),
        ("404 of a gateway", answer("404 Not Found", page)),
        ("404 in its words", words("404 Not Found", "P1", not_found)),
        (
            "404 another payout",
            words("404 Not Found", "P2", not_found),
        ),
        ("408", answer("408 Request Timeout", "")),
        (
            "409 in its words",
            words("409 Conflict", "P1", "end_to_end_id_reused"),
        ),
        (
            "422 in its words",
            words(unprocessable, "P1", "payee_missing"),
        ),
        ("429", answer("429 Too Many Requests", page)),
        ("500", answer("500 Internal Server Error", page)),
        ("503 of a gateway", answer(busy, page)),
        ("503 not_processed", words(busy, "P1", "not_processed")),
        ("504", answer("504 Gateway Timeout", "")),
    ];
    let id = reference("P1");
    let mut table = Vec::new();
    for (name, bytes) in cases {
        let server = RawServer::start(|_| bytes).await;
        let banks = banks(&server.base_url(), PATIENT, &clock());
        let ordered = told(bank(&banks).pay_out(&order(&id)).await);
        let queried = told(bank(&banks).query(&id).await);
        table.push(format!("{name}: {ordered}, {queried}\n"));
    }
    assert_eq!(table.concat(), ANSWERS);
}

#[tokio::test]
async fn bank_pays_at_the_end_of_its_day_and_says_what_it_will_not_pay() {
    let sandbox = RunningSandbox::start(clock()).await;
    let banks = banks(&sandbox.base_url(), PATIENT, &clock());
    let bank = bank(&banks);
    let (good, unknown, closed, dear) = (
        reference("good"),
        reference("unknown"),
        reference("closed"),
        reference("dear"),
    );
    let to = |id, account| PayoutOrder {
        payee_account_no: account,
        ..order(id)
    };
    let rejected = |reason: &str| PayoutState::Rejected {
        reason: reason.to_owned(),
    };
    let pay = async |order: PayoutOrder<'_>| bank.pay_out(&order).await.unwrap().state;
    let stands = async |id| bank.query(id).await.unwrap().state;

    assert_eq!(pay(order(&good)).await, PayoutState::Accepted);
    assert_eq!(
        pay(to(&unknown, "62220000")).await,
        rejected("the payee's account is unknown")
    );
    assert_eq!(pay(to(&closed, "62221111")).await, PayoutState::Accepted);
    let most = PayoutOrder {
        amount: cny(1_000_000_000),
        ..order(&dear)
    };
    assert_eq!(pay(most).await, rejected("the balance is insufficient"));

    let (status, done) = ask(
        sandbox.address,
        "POST",
        "/v1/bank/book",
        r#"{"date":"2026-03-02"}"#,
    )
    .await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(stands(&good).await, PayoutState::Booked);
    assert_eq!(
        stands(&closed).await,
        rejected("the payee's account is closed")
    );
    sandbox
        .handle
        .return_payout(&good, day(3), "no such person")
        .unwrap();
    let returned = PayoutState::Returned {
        reason: "no such person".to_owned(),
    };
    assert_eq!(stands(&good).await, returned);
    assert_eq!(stands(&reference("absent")).await, PayoutState::NotFound);
}

#[tokio::test]
async fn same_order_is_one_payout_under_any_key_and_another_under_its_id_is_doubtful() {
    let sandbox = RunningSandbox::start(clock()).await;
    let banks = banks(&sandbox.base_url(), PATIENT, &clock());
    let bank = bank(&banks);
    let id = reference("P1");
    let other_key = PayoutOrder {
        idempotency_key: "another",
        ..order(&id)
    };
    for order in [order(&id), order(&id), other_key] {
        let answer = bank.pay_out(&order).await.unwrap();
        assert_eq!(answer.state, PayoutState::Accepted);
    }
    let dearer = PayoutOrder {
        amount: cny(9_999),
        ..order(&id)
    };
    let refused = bank.pay_out(&dearer).await;
    assert_eq!(class_of(&refused), ErrorClass::Unknown);
    let books = sandbox.handle.bank_books();
    assert_eq!(books.count_effects(BankEvent::Accept, &id), 1);
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_sent() {
    let server = RawServer::start(|_| answer("200 OK", "")).await;
    let settings = BankSettings {
        payout_max: Some(cny(1_234)),
        ..settings(&server.base_url())
    };
    let banks = Banks::build([(bank_name(), settings)], &clock()).unwrap();
    let (id, long) = (reference("P1"), reference(&"P".repeat(36)));
    let dollars = Money::from_minor(1, Currency::parse("USD").unwrap());
    let with = |amount| PayoutOrder {
        amount,
        ..order(&id)
    };
    for order in [
        with(dollars),
        with(cny(0)),
        with(cny(-1)),
        with(cny(1_235)),
        order(&long),
        PayoutOrder {
            idempotency_key: "a\r\nb: c",
            ..order(&id)
        },
    ] {
        let refused = bank(&banks).pay_out(&order).await;
        assert_eq!(class_of(&refused), ErrorClass::Invalid, "{order:?}");
    }
    assert_eq!(server.served(), 0);
}

#[tokio::test]
async fn evidence_keeps_what_was_ordered_and_what_was_said() {
    let sandbox = RunningSandbox::start(clock()).await;
    let banks = banks(&sandbox.base_url(), PATIENT, &clock());
    let id = reference("P1");
    let evidence = bank(&banks).pay_out(&order(&id)).await.unwrap().evidence;
    assert_eq!(
        evidence.request,
        "POST /v1/bank/payouts\nidempotency-key: P1\n\
         {\"end_to_end_id\":\"P1\",\"amount\":\"12.34\",\"currency\":\"CNY\",\
         \"payee_account_no\":\"62221234\",\"payee_name\":\"Tea House\",\"remittance\":\"settlement\"}"
    );
    assert_eq!(
        evidence.answer,
        "200 OK\n{\"end_to_end_id\":\"P1\",\"status\":\"accepted\",\
         \"status_since\":\"2026-05-28T20:26:40Z\",\"amount\":\"12.34\",\"currency\":\"CNY\"}"
    );
}

#[tokio::test]
async fn statement_is_served_over_http_and_is_what_the_handle_says() {
    let sandbox = RunningSandbox::start(clock()).await;
    let entry = NewEntry {
        booked_on: day(2),
        amount: cny(500),
        end_to_end_id: None,
        counterparty: "A & B",
        text: "<deposit>",
    };
    sandbox.handle.bank_deposit(entry).unwrap();
    let (status, xml) = ask(sandbox.address, "GET", "/v1/bank/statement/2026-03-02", "").await;
    assert_eq!(
        (status, &xml),
        (200, &sandbox.handle.statement(day(2)).unwrap())
    );
    assert!(xml.contains("<Nm>A &amp; B</Nm>"), "{xml}");
    assert!(xml.contains("<Ustrd>&lt;deposit&gt;</Ustrd>"), "{xml}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let build = |settings: BankSettings, names: &[&str]| {
        let named = names
            .iter()
            .map(|name| (ChannelName::new(*name).unwrap(), settings.clone()));
        Banks::build(named, &clock()).map(drop)
    };
    let good = || settings("http://127.0.0.1:1");
    assert!(build(good(), &["a", "b"]).is_ok());
    let refused = build(good(), &["a", "a"]);
    assert!(matches!(refused, Err(SetupError::Twice { .. })));
    let refused = build(settings("127.0.0.1:1"), &["a"]);
    assert!(matches!(refused, Err(SetupError::BaseUrl { .. })));
    let hasty = BankSettings {
        timeouts: Timeouts {
            connect: PATIENT,
            request: PATIENT,
        },
        ..good()
    };
    let refused = build(hasty, &["a"]);
    assert!(matches!(refused, Err(SetupError::Timeouts { .. })));
}

fn settings(base_url: &str) -> BankSettings {
    BankSettings {
        connector: BankConnector::Sandbox,
        base_url: base_url.to_owned(),
        timeouts: Timeouts {
            connect: PATIENT / 2,
            request: PATIENT,
        },
        account: BankAccount {
            account_no: "6222".to_owned(),
            currency: Currency::CNY,
            cutoff: "17:00:00".parse().unwrap(),
            zone: chrono_tz::Asia::Shanghai,
        },
        payout_max: None,
        processing_window: Duration::ZERO,
    }
}

fn order(id: &Reference) -> PayoutOrder<'_> {
    PayoutOrder {
        end_to_end_id: id,
        amount: cny(1_234),
        payee_account_no: "62221234",
        payee_name: "Tea House",
        remittance: "settlement",
        idempotency_key: id.as_str(),
    }
}

fn day(day_of_month: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, day_of_month).unwrap()
}

fn clock() -> Now {
    Arc::new(|| at(0))
}

fn told(answer: Result<PayoutAnswer, ChannelError>) -> String {
    match answer.map(|answer| answer.state) {
        Ok(PayoutState::Rejected { reason }) => format!("Rejected({reason})"),
        Ok(PayoutState::Returned { reason }) => format!("Returned({reason})"),
        Ok(state) => format!("{state:?}"),
        Err(error) => error.class().to_string(),
    }
}

fn class_of(answer: &Result<PayoutAnswer, ChannelError>) -> ErrorClass {
    match answer {
        Ok(_) => panic!("an answer came through"),
        Err(error) => error.class(),
    }
}
