//! What `deferred_authorization` promises: an accepted order is made good by its methods once, whatever is lost on
//! the way; what is held is let go with proof when the order is over; upstream gets one answer.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::connectors::messages::UPSTREAM;
use clearday::connectors::sandbox::{Fault, HoldEvent, HoldStatus, Operation};
use clearday::domain::authorization::{Authorization, AuthorizationState, reference_for};
use clearday::domain::import::orders::{OrderRow, ToldOrder, ToldStatus};
use clearday::domain::job::{Job, JobState};
use clearday::domain::ledger::Account;
use clearday::domain::order::OrderState;
use clearday::domain::record::{RecordKind, RecordStatus};
use clearday::store::{authorizations, ledger, records};
use clearday_jobs::{Currency, JobId, JobKind, Reference};
use serde_json::{Value, json};

use crate::support::house::{House, Mode, eventually, expiry_of, noon};
use crate::support::in_both_modes;
use crate::support::mortal::MortalDaemon;
use crate::support::sandbox::cny as minor;

in_both_modes! {
    an_order_accepted_while_its_channel_was_down_is_authorized_later: channel_down;
    a_channel_that_stays_away_opens_its_breaker_and_burns_no_attempt: breaker;
    the_next_method_takes_over_from_a_declined_one: declined;
    an_expired_card_is_suspended_without_a_call: expired_card;
    a_lost_answer_is_unknown_until_a_query_proves_it: lost_answer;
    a_lost_decline_is_found_by_a_query_and_the_next_method_asked: lost_decline;
    a_request_that_never_arrived_is_sent_again_under_the_same_key: lost_request;
    an_error_after_the_effect_is_no_decline: error_after_effect;
    an_order_short_of_money_waits_for_another_method: another_method;
    fixed_amounts_come_first_and_ties_stay_as_given: fixed_and_ties;
    money_taken_at_once_pays_the_order_and_is_on_record: automatic;
    what_an_expiring_order_holds_is_let_go_before_it_expires: void_at_expiry;
    a_lost_void_is_proved_before_the_order_expires: lost_void;
    a_capture_that_beat_the_void_pays_the_order: capture_beats_void;
    a_part_that_was_taken_of_an_order_that_expired_is_told: partial_capture;
    nothing_is_authorized_at_the_deadline: deadline;
    what_a_withdrawn_order_holds_is_let_go: cancelled;
    what_is_held_is_let_go_as_soon_as_upstream_withdraws_the_order: withdrawn;
    what_is_proved_absent_while_it_was_asked_about_is_not_sent_again: absent_meanwhile;
    an_order_that_got_cheaper_keeps_what_it_owes: cheaper;
    a_second_job_for_an_authorized_order_changes_nothing: second_job;
    an_authorization_that_lapsed_is_asked_for_again: lapsed;
    what_contradicts_the_order_goes_to_the_dead_letters: contradiction;
    upstream_is_told_the_answer_signed_and_under_one_id: told_upstream;
    the_answer_stands_when_nobody_can_be_told: nobody_to_tell;
}

// --- stories ---------------------------------------------------------------------------------

async fn channel_down(house: House) {
    fault(&house, Operation::Authorize, "card", Fault::Unavailable);
    let job = submit(&house, "key", &order(&[method("card")])).await;
    let waiting = house.job_waits(job, "channel sandbox is unavailable").await;
    assert_eq!(waiting.attempt, 0, "waiting for a channel burns no attempt");
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 0);
    settle(&house, job).await;
    assert_eq!(successful(&house, job).await, "Y");
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 1);
    house.close().await;
}

async fn breaker(house: House) {
    fault(&house, Operation::Authorize, "card", Fault::Unavailable);
    for _ in 0..8 {
        fault(
            &house,
            Operation::QueryAuthorization,
            "card",
            Fault::Unavailable,
        );
    }
    let job = submit(&house, "key", &order(&[method("card")])).await;
    let notes = settle(&house, job).await;
    let open: Vec<&String> = notes
        .iter()
        .filter(|note| note.starts_with("channel sandbox: breaker open until 2026-03-02T12:"))
        .collect();
    assert!(!open.is_empty(), "{notes:#?}");
    let done = house.job(job).await;
    assert_eq!(done.attempt, 1, "only the run that ended it counts");
    assert_eq!(successful(&house, job).await, "Y");
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 1);
    house.close().await;
}

async fn declined(house: House) {
    let mut gift = method("gift");
    gift["token"] = json!("tok_declined_insufficient_funds");
    gift["fixed_amount"] = cny("5.00");
    let job = submit(&house, "key", &order(&[gift, method("card")])).await;
    house.job_reaches(job, JobState::Done).await;
    let answer = answer(&house, job).await;
    assert_eq!(
        answer["errors"],
        json!([{
            "method_id": "gift",
            "code": "declined",
            "message": "channel sandbox declined with insufficient_funds",
        }])
    );
    assert_eq!(answer["successful"], "Y");
    assert_eq!(answer["remaining_to_authorize"], cny("0.00"));
    assert_eq!(
        told(&answer),
        ["card 12.34 authorized: asked as number 1 of 1 (credit_card); it takes all that is left"]
    );
    house.close().await;
}

async fn expired_card(house: House) {
    let mut card = method("card");
    card["card_expires_on"] = json!("2026-02");
    let job = submit(&house, "key", &order(&[card, method("other")])).await;
    house.job_reaches(job, JobState::Done).await;
    let answer = answer(&house, job).await;
    assert_eq!(answer["errors"][0]["code"], "card_expired");
    assert_eq!(answer["successful"], "Y");
    let books = house.sandbox.handle.hold_books();
    assert!(books.find(&of("card")).is_none(), "it was not even asked");
    house.close().await;
}

async fn lost_answer(house: House) {
    fault(&house, Operation::Authorize, "card", Fault::LostAnswer);
    let job = submit(&house, "key", &order(&[method("card"), method("other")])).await;
    let waiting = house.job_waits(job, "was lost").await;
    assert_eq!(waiting.attempt, 0, "an unknown outcome burns no attempt");
    assert_eq!(state(&house, "card").await, AuthorizationState::Unknown);
    settle(&house, job).await;
    let answer = answer(&house, job).await;
    assert_eq!(answer["successful"], "Y");
    assert_eq!(answer["errors"], json!([]), "no time-out becomes a decline");
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 1);
    assert_eq!(count(&house, HoldEvent::Authorize, "other"), 0);
    house.close().await;
}

async fn lost_decline(house: House) {
    let mut gift = method("gift");
    gift["token"] = json!("tok_declined_blocked");
    fault(&house, Operation::Authorize, "gift", Fault::LostAnswer);
    let job = submit(&house, "key", &order(&[gift, method("card")])).await;
    house.job_waits(job, "was lost").await;
    settle(&house, job).await;
    assert_eq!(state(&house, "gift").await, AuthorizationState::Declined);
    assert_eq!(state(&house, "card").await, AuthorizationState::Authorized);
    assert_eq!(successful(&house, job).await, "Y");
    house.close().await;
}

async fn lost_request(house: House) {
    fault(&house, Operation::Authorize, "card", Fault::LostRequest);
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_waits(job, "was lost").await;
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 0);
    settle(&house, job).await;
    let books = house.sandbox.handle.hold_books();
    let keys: Vec<Option<String>> = books
        .effects()
        .iter()
        .map(|effect| effect.idempotency_key.clone())
        .collect();
    assert_eq!(keys, [Some(format!("authorize:sandbox:{}:1", of("card")))]);
    assert_eq!(successful(&house, job).await, "Y");
    house.close().await;
}

async fn error_after_effect(house: House) {
    fault(
        &house,
        Operation::Authorize,
        "card",
        Fault::ErrorAfterEffect,
    );
    let job = submit(&house, "key", &order(&[method("card")])).await;
    settle(&house, job).await;
    assert_eq!(successful(&house, job).await, "Y");
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 1);
    house.close().await;
}

async fn another_method(house: House) {
    house.open_order("O-1", "O-1").await;
    let mut gift = method("gift");
    gift["maximum_charge"] = cny("5.00");
    let first = submit(&house, "first", &order(&[gift])).await;
    let done = house.job_reaches(first, JobState::Done).await;
    assert_eq!(done.note, "not authorized: 7.34 CNY remain ()");
    let answer_to_first = answer(&house, first).await;
    assert_eq!(answer_to_first["successful"], "N");
    assert_eq!(answer_to_first["remaining_to_authorize"], cny("7.34"));
    assert_eq!(house.order_state("O-1").await, OrderState::Open);

    let second = submit(&house, "second", &order(&[method("card")])).await;
    house.job_reaches(second, JobState::Done).await;
    let answer_to_second = answer(&house, second).await;
    assert_eq!(answer_to_second["successful"], "Y");
    let amounts: Vec<&Value> = list(&answer_to_second["authorizations"])
        .iter()
        .map(|it| &it["amount"])
        .collect();
    assert_eq!(amounts, ["5.00", "7.34"]);
    assert_eq!(
        answer(&house, first).await,
        answer_to_first,
        "an answer never changes"
    );
    house.close().await;
}

async fn fixed_and_ties(house: House) {
    let with = |id: &str, group: &str, field: &str, amount: &str| {
        let mut method = method(id);
        method["group"] = json!(group);
        method[field] = cny(amount);
        method
    };
    let methods = [
        with("card-b", "credit_card", "maximum_charge", "2.00"),
        with("card-a", "credit_card", "maximum_charge", "2.00"),
        with("gift", "stored_value_card", "maximum_charge", "3.00"),
        with("fixed", "other", "fixed_amount", "4.00"),
        with("rest", "other", "maximum_charge", "9.00"),
    ];
    let job = submit(&house, "key", &order(&methods)).await;
    house.job_reaches(job, JobState::Done).await;
    let amounts: Vec<String> = list(&answer(&house, job).await["authorizations"])
        .iter()
        .map(|it| {
            format!(
                "{} {}",
                it["method_id"].as_str().unwrap(),
                it["amount"].as_str().unwrap()
            )
        })
        .collect();
    let expected = [
        "fixed 4.00",
        "gift 3.00",
        "card-b 2.00",
        "card-a 2.00",
        "rest 1.34",
    ];
    assert_eq!(amounts, expected);
    house.close().await;
}

async fn automatic(house: House) {
    house.open_order("O-1", "O-1").await;
    let mut gift = method("gift");
    gift["capture"] = json!("automatic");
    gift["fixed_amount"] = cny("5.00");
    let mut card = method("card");
    card["capture"] = json!("automatic");
    let job = submit(&house, "key", &order(&[gift, card])).await;
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(successful(&house, job).await, "Y");
    assert_eq!(house.order_state("O-1").await, OrderState::Paid);
    let references = [of("gift"), of("card")];
    let mut tx = house.store.read().await.unwrap();
    let numbers: Vec<_> = references
        .iter()
        .map(|reference| (RecordKind::Payment, reference.as_str()))
        .collect();
    let mut found = records::find(&mut tx, &numbers).await.unwrap();
    found.sort_by_key(|record| record.amount.minor_units());
    let told: Vec<String> = found
        .iter()
        .map(|record| format!("{} {} {}", record.merchant_id, record.amount, record.status))
        .collect();
    assert_eq!(told, ["M-1 5.00 CNY succeeded", "M-1 7.34 CNY succeeded"]);
    assert_eq!(found[0].status, RecordStatus::Succeeded);
    drop(tx);
    assert_eq!(exposure(&house).await, 0, "what was taken is not at risk");
    house.close().await;
}

async fn void_at_expiry(house: House) {
    house.open_order("O-1", "O-1").await;
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(exposure(&house).await, 1_234);
    let expiry = expire(&house).await;
    house.job_reaches(expiry, JobState::Done).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    assert_eq!(state(&house, "card").await, AuthorizationState::Voided);
    assert_eq!(count(&house, HoldEvent::Void, "card"), 1);
    assert_eq!(exposure(&house).await, 0);
    house.close().await;
}

async fn lost_void(house: House) {
    house.open_order("O-1", "O-1").await;
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_reaches(job, JobState::Done).await;
    fault(&house, Operation::Void, "card", Fault::LostAnswer);
    let expiry = expire(&house).await;
    house.job_waits(expiry, "was lost").await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expiring);
    assert_eq!(state(&house, "card").await, AuthorizationState::Voiding);
    settle(&house, expiry).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    assert_eq!(count(&house, HoldEvent::Void, "card"), 1);
    house.close().await;
}

async fn capture_beats_void(house: House) {
    house.open_order("O-1", "O-1").await;
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_reaches(job, JobState::Done).await;
    house.sandbox.handle.capture(&of("card")).unwrap();
    let expiry = expire(&house).await;
    settle(&house, expiry).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Paid);
    assert_eq!(state(&house, "card").await, AuthorizationState::Captured);
    assert_eq!(exposure(&house).await, 0);
    house.close().await;
}

async fn partial_capture(house: House) {
    house.open_order("O-1", "O-1").await;
    let mut gift = method("gift");
    gift["capture"] = json!("automatic");
    gift["maximum_charge"] = cny("5.00");
    let job = submit(&house, "key", &order(&[gift])).await;
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(successful(&house, job).await, "N");
    let expiry = expire(&house).await;
    let dead = house.job_reaches(expiry, JobState::Dead).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    let reference = of("gift");
    assert_eq!(
        dead.note,
        format!(
            "5.00 CNY for authorization {reference} was taken although the order had expired before: \
             give it back to the payer, then retry"
        )
    );
    // It is on record, so the retry after settling it with the payer has nothing left to do.
    house.engine().retry(expiry, "ops").await.unwrap();
    let done = house.job_reaches(expiry, JobState::Done).await;
    assert_eq!(done.note, "the order had expired before");
    house.close().await;
}

async fn deadline(house: House) {
    house.open_order("O-1", "O-1").await;
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_reaches(job, JobState::Done).await;
    let answer = answer(&house, job).await;
    assert_eq!(answer["successful"], "N");
    assert_eq!(answer["errors"][0]["code"], "order_expired");
    assert_eq!(answer["errors"][0]["method_id"], Value::Null);
    assert_eq!(answer["remaining_to_authorize"], cny("12.34"));
    assert_eq!(house.sandbox.handle.hold_books().effects(), []);
    house.close().await;
}

async fn cancelled(house: House) {
    house.open_order("O-1", "O-1").await;
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_reaches(job, JobState::Done).await;
    house.cancel_order("O-1").await;
    let again = submit(&house, "again", &order(&[method("card")])).await;
    house.job_reaches(again, JobState::Done).await;
    assert_eq!(
        answer(&house, again).await["errors"][0]["code"],
        "order_cancelled"
    );
    assert_eq!(state(&house, "card").await, AuthorizationState::Voided);
    assert_eq!(exposure(&house).await, 0);
    house.close().await;
}

async fn withdrawn(house: House) {
    house.open_order("O-1", "O-1").await;
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_reaches(job, JobState::Done).await;
    withdraw(&house).await;
    let voided = eventually(async || {
        let state = state(&house, "card").await;
        (state == AuthorizationState::Voided).then_some(())
    });
    voided.await.unwrap();
    assert_eq!(count(&house, HoldEvent::Void, "card"), 1);
    house.close().await;
}

/// Upstream takes O-1 back.
async fn withdraw(house: &House) {
    let row = OrderRow {
        line: 2,
        told: ToldOrder {
            order_no: "O-1".parse().unwrap(),
            group_no: "O-1".parse().unwrap(),
            merchant_id: "M-1".parse().unwrap(),
            total: minor(1_234),
            status: ToldStatus::Cancelled,
            expires_at: noon() + TimeDelta::hours(1),
        },
        reference: None,
    };
    house.engine().import_orders(&[row]).await.unwrap();
}

/// Waits until the only authorization is in `state`.
async fn card_becomes(house: &House, state: AuthorizationState) {
    let arrived = eventually(async || {
        let held = held(house).await;
        held.iter().any(|it| it.state == state).then_some(())
    });
    arrived.await.unwrap();
}

async fn absent_meanwhile(house: House) {
    house.open_order("O-1", "O-1").await;
    fault(&house, Operation::Authorize, "card", Fault::LostRequest);
    let handle = &house.sandbox.handle;
    let held = handle.queue_fault(
        Operation::QueryAuthorization,
        &of("card"),
        Fault::HeldAnswer,
    );
    let job = submit(&house, "key", &order(&[method("card")])).await;
    card_becomes(&house, AuthorizationState::Unknown).await;
    // Longer than the channel may need for what left: now silence proves something.
    house.clock.advance(TimeDelta::minutes(20));
    held.wait_until_struck().await;
    withdraw(&house).await;
    card_becomes(&house, AuthorizationState::Absent).await;
    held.release();

    house.job_rests(job).await;
    house.clock.advance(TimeDelta::minutes(1));
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(successful(&house, job).await, "N");
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 0);
    house.close().await;
}

async fn cheaper(house: House) {
    let mut payload = order(&[method("card")]);
    payload["order"]["total"] = cny("20.00");
    let job = submit(&house, "key", &payload).await;
    house.job_reaches(job, JobState::Done).await;
    house.open_order("O-1", "O-1").await;
    let again = submit(&house, "again", &payload).await;
    house.job_reaches(again, JobState::Done).await;
    assert_eq!(successful(&house, again).await, "Y");
    let books = house.sandbox.handle.hold_books();
    let hold = books.find(&of("card")).unwrap();
    assert_eq!(
        (hold.status, hold.amount.minor_units()),
        (HoldStatus::Authorized, 1_234)
    );
    assert_eq!(exposure(&house).await, 1_234);
    house.close().await;
}

async fn second_job(house: House) {
    house.open_order("O-1", "O-1").await;
    let payload = order(&[method("card"), method("other")]);
    let first = submit(&house, "first", &payload).await;
    house.job_reaches(first, JobState::Done).await;
    let effects = house.sandbox.handle.hold_books().effects().to_vec();
    let second = submit(&house, "second", &payload).await;
    house.job_reaches(second, JobState::Done).await;
    assert_eq!(answer(&house, second).await, answer(&house, first).await);
    assert_eq!(house.sandbox.handle.hold_books().effects(), effects);
    assert_eq!(held(&house).await.len(), 1);
    house.close().await;
}

async fn lapsed(house: House) {
    fault(&house, Operation::Authorize, "card", Fault::LostAnswer);
    let job = submit(&house, "key", &order(&[method("card")])).await;
    house.job_waits(job, "was lost").await;
    house.sandbox.handle.lapse(&of("card")).unwrap();
    settle(&house, job).await;
    assert_eq!(successful(&house, job).await, "Y");
    let states: Vec<(u32, AuthorizationState)> = held(&house)
        .await
        .iter()
        .map(|it| (it.number, it.state))
        .collect();
    assert_eq!(
        states,
        [
            (1, AuthorizationState::Lapsed),
            (2, AuthorizationState::Authorized)
        ]
    );
    house.close().await;
}

async fn contradiction(house: House) {
    house.open_order("O-1", "O-1").await;
    let mut payload = order(&[method("card")]);
    payload["order"]["merchant_id"] = json!("M-2");
    let job = submit(&house, "key", &payload).await;
    let dead = house.job_reaches(job, JobState::Dead).await;
    assert_eq!(dead.note, "order O-1 is merchant M-1's, not M-2's");
    house.close().await;
}

async fn told_upstream(house: House) {
    let url = house.mailroom.webhook_url(UPSTREAM);
    let endpoint = UPSTREAM.parse().unwrap();
    let mailroom = &house.mailroom.handle;
    mailroom.queue_fault(Operation::CallWebhook, &endpoint, Fault::LostAnswer);
    let mut payload = order(&[method("card")]);
    payload["callback_url"] = json!(url);
    let job = submit(&house, "key", &payload).await;
    house.job_waits(job, "authorized; telling upstream: ").await;
    assert_eq!(
        successful(&house, job).await,
        "Y",
        "it can be read before it is told"
    );
    settle(&house, job).await;
    let done = house.job(job).await;
    assert_eq!(done.note, "authorized; telling upstream: webhook delivered");
    let calls = mailroom.webhooks();
    assert_eq!(calls.len(), 2, "its answer was lost, so it is told again");
    assert!(calls.iter().all(|call| call.is_verified));
    assert_eq!(calls[0].id, calls[1].id);
    let told: Value = serde_json::from_str(&calls[1].body).unwrap();
    assert_eq!(told["type"], "deferred_authorization.answered");
    assert_eq!(told["data"], answer(&house, job).await);
    assert_eq!(count(&house, HoldEvent::Authorize, "card"), 1);
    house.close().await;
}

async fn nobody_to_tell(house: House) {
    let mut payload = order(&[method("card")]);
    // No keys are there to sign with.
    payload["callback_url"] = json!("http://127.0.0.1:9/");
    let job = submit(&house, "key", &payload).await;
    let done = house.job_reaches(job, JobState::Done).await;
    assert!(
        done.note
            .starts_with("authorized; telling upstream: webhook exhausted ("),
        "{}",
        done.note
    );
    assert_eq!(successful(&house, job).await, "Y");
    house.close().await;
}

// --- a daemon killed at any step -------------------------------------------------------------

/// Authorizes an order and lets it expire, the answers to both calls being lost, with a daemon that dies after
/// `steps`; returns how many it took.
async fn authorize_and_expire(mode: Mode, steps: u64) -> u64 {
    let mut house = House::without_daemons(mode).await;
    let mut mortal = MortalDaemon::start(&house, steps).await;
    if mode == Mode::Production {
        house.start_daemon();
    }
    house.open_order("O-1", "O-1").await;
    fault(&house, Operation::Authorize, "card", Fault::LostAnswer);
    fault(&house, Operation::Void, "card", Fault::LostAnswer);
    let payload = order(&[method("card")]).to_string();
    let job = house
        .submit(JobKind::DeferredAuthorization, "key", &payload)
        .await;
    house
        .work_until(
            noon() + TimeDelta::minutes(50),
            Some(&mut mortal),
            House::start_daemon,
        )
        .await;
    assert_eq!(successful(&house, job).await, "Y", "killed at step {steps}");
    house
        .submit(JobKind::OrderExpiry, "key", &expiry_of("O-1"))
        .await;
    house
        .work_until(
            noon() + TimeDelta::hours(3),
            Some(&mut mortal),
            House::start_daemon,
        )
        .await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    for event in [HoldEvent::Authorize, HoldEvent::Void] {
        let times = count(&house, event, "card");
        assert_eq!(times, 1, "{event:?}, killed at step {steps}");
    }
    assert_eq!(exposure(&house).await, 0, "killed at step {steps}");
    let lived = mortal.lived();
    mortal.kill();
    house.close().await;
    lived
}

macro_rules! on_sqlite {
    ($($name:ident: $first:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let steps = authorize_and_expire(Mode::Embedded, u64::MAX).await;
            assert!(steps > 20, "{steps} steps are no story");
            for step in ($first..steps).step_by(4) {
                authorize_and_expire(Mode::Embedded, step).await;
            }
        }
    )+};
}

mod an_authorization_survives_its_daemon_killed_on_sqlite {
    use super::*;

    on_sqlite! {
        at_every_fourth_step: 0;
        and_at_the_one_after_it: 1;
        and_at_the_one_after_that: 2;
        and_at_the_one_before_it: 3;
    }
}

// --- helpers ---------------------------------------------------------------------------------

/// An order of ¥12.34 with these methods.
fn order(methods: &[Value]) -> Value {
    json!({
        "version": 1,
        "order": {
            "order_no": "O-1",
            "merchant_id": "M-1",
            "payer_id": "C-1",
            "total": cny("12.34"),
        },
        "methods": methods,
    })
}

fn method(id: &str) -> Value {
    json!({
        "method_id": id,
        "group": "credit_card",
        "channel": "sandbox",
        "token": format!("tok_{id}"),
        "charge_sequence": 1,
        "capture": "manual",
    })
}

fn cny(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "CNY" })
}

async fn submit(house: &House, key: &str, payload: &Value) -> JobId {
    let kind = JobKind::DeferredAuthorization;
    house.submit(kind, key, &payload.to_string()).await
}

/// Lets the order's deadline come.
async fn expire(house: &House) -> JobId {
    house.clock.advance(TimeDelta::hours(1));
    house
        .submit(JobKind::OrderExpiry, "expire", &expiry_of("O-1"))
        .await
}

/// The first authorization of a method of O-1.
fn of(method_id: &str) -> Reference {
    reference_for(&"O-1".parse().unwrap(), &method_id.parse().unwrap(), 1).unwrap()
}

fn fault(house: &House, operation: Operation, method_id: &str, fault: Fault) {
    let handle = &house.sandbox.handle;
    handle.queue_fault(operation, &of(method_id), fault);
}

fn count(house: &House, event: HoldEvent, method_id: &str) -> usize {
    let books = house.sandbox.handle.hold_books();
    books.count_effects(event, &of(method_id))
}

async fn held(house: &House) -> Vec<Authorization> {
    let mut tx = house.store.read().await.unwrap();
    let found = authorizations::of_order(&mut tx, &"O-1".parse().unwrap()).await;
    found
        .unwrap()
        .into_iter()
        .map(|it| it.authorization)
        .collect()
}

async fn state(house: &House, method_id: &str) -> AuthorizationState {
    let held = held(house).await;
    let found = held.iter().find(|it| it.reference == of(method_id));
    found.unwrap().state
}

async fn answer(house: &House, job: JobId) -> Value {
    let mut tx = house.store.read().await.unwrap();
    let answer = authorizations::answer_of(&mut tx, job).await.unwrap();
    serde_json::from_str(&answer.unwrap()).unwrap()
}

async fn successful(house: &House, job: JobId) -> String {
    answer(house, job).await["successful"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn told(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list(&answer["authorizations"])
        .iter()
        .map(|it| {
            let words = ["method_id", "amount", "state", "because"].map(|field| text(&it[field]));
            let [method, amount, state, because] = words;
            format!("{method} {amount} {state}: {because}")
        })
        .collect()
}

/// What the merchant's orders hold beside the books, in minor units.
async fn exposure(house: &House) -> i64 {
    let mut tx = house.store.read().await.unwrap();
    let cny = Currency::parse("CNY").unwrap();
    ledger::balance(&mut tx, Account::MemoExposure, "M-1", cny)
        .await
        .unwrap()
}

/// Moves the clock from wait to wait until the job is done; returns the notes of its waits.
async fn settle(house: &House, job: JobId) -> Vec<String> {
    let mut notes = Vec::new();
    for _ in 0..40 {
        let settled: Job = eventually(async || {
            let job = house.job(job).await;
            let is_due = job.state == JobState::Ready && job.run_at <= house.clock.now();
            (!job.state.is_leased() && !is_due).then_some(job)
        })
        .await
        .unwrap();
        if settled.state != JobState::Ready {
            assert_eq!(settled.state, JobState::Done, "{settled:#?}");
            return notes;
        }
        notes.push(settled.note);
        house.clock.advance(settled.run_at - house.clock.now());
    }
    panic!("the job waited too often: {notes:#?}");
}
