//! What the sandbox's bank says beyond the contract of every connector.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use clearday::connectors::sandbox::{BankEvent, NewEntry};
use clearday::connectors::{
    BankAccount, BankConnector, BankSettings, Banks, ChannelError, ErrorClass, Now, PayoutAnswer,
    PayoutOrder, PayoutState, SetupError, Timeouts,
};
use clearday_jobs::{ChannelName, Currency, Money, Reference};

use crate::support::raw_http::{RawServer, answer, ask};
use crate::support::sandbox::{
    PATIENT, RunningSandbox, at, bank, bank_name, banks, cny, reference,
};

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

fn class_of(answer: &Result<PayoutAnswer, ChannelError>) -> ErrorClass {
    match answer {
        Ok(_) => panic!("an answer came through"),
        Err(error) => error.class(),
    }
}
