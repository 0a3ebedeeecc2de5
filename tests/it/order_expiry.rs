//! What `order_expiry` promises: query, close at the channel, expire; money found on the way is
//! taken; nothing happens twice.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::connectors::sandbox::{Event, Fault, Operation};
use clearday::domain::job::JobState;
use clearday::domain::order::OrderState;
use clearday_jobs::{JobId, JobKind};

use crate::support::house::{House, Mode, expiry_of};
use crate::support::in_both_modes;
use crate::support::sandbox::reference;

in_both_modes! {
    an_unpaid_order_is_closed_at_the_channel_and_then_expires: unpaid;
    an_order_without_references_expires_at_its_deadline: without_references;
    money_found_at_the_channel_is_taken_and_the_order_not_expired: paid;
    a_combination_expires_together_at_its_earliest_deadline: combination;
    a_second_job_for_the_same_order_changes_nothing: second_job;
    a_lost_answer_is_unknown_until_a_query_proves_it: lost_answer;
    a_request_that_never_arrived_is_sent_again_under_the_same_key: lost_request;
    a_channel_that_is_down_is_asked_again: unavailable;
    a_reference_the_channel_never_heard_of_is_closed_after_quarantine: not_found;
    another_amount_than_owed_is_not_taken_in_silence: wrong_amount;
    an_unknown_order_is_retried_and_then_buried: unknown_order;
    the_references_of_an_order_that_ended_elsewhere_are_closed_too: ended_elsewhere;
    second_money_is_recorded_and_told_and_never_taken_in_silence: second_money;
    a_channel_that_is_not_configured_hides_no_payment_at_another: unconfigured_channel;
}

async fn submit(house: &House, order_no: &str) -> JobId {
    let key = format!("expire {order_no}");
    house
        .submit(JobKind::OrderExpiry, &key, &expiry_of(order_no))
        .await
}

fn closes_of(house: &House, name: &str) -> usize {
    house
        .sandbox
        .handle
        .books()
        .count_effects(Event::Close, &reference(name))
}

async fn unpaid(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    let job = submit(&house, "O-1").await;

    house
        .clock
        .advance(TimeDelta::minutes(60) - TimeDelta::microseconds(1));
    assert_eq!(house.order_state("O-1").await, OrderState::Open);
    house.clock.advance(TimeDelta::microseconds(1));

    house.job_reaches(job, JobState::Done).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    assert_eq!(closes_of(&house, "R-1"), 1);
    let events: Vec<String> = house
        .timeline(job)
        .await
        .into_iter()
        .map(|e| e.event)
        .collect();
    assert_eq!(events, ["accepted", "leased", "finished"]);
    house.close().await;
}

async fn without_references(house: House) {
    house.open_order("O-1", "O-1").await;
    let job = submit(&house, "O-1").await;
    house.clock.advance(TimeDelta::hours(1));
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    house.close().await;
}

async fn paid(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    house.sandbox.handle.pay(&reference("R-1")).unwrap();
    let job = submit(&house, "O-1").await;
    house.clock.advance(TimeDelta::hours(1));
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Paid);
    assert_eq!(closes_of(&house, "R-1"), 0);
    house.close().await;
}

async fn combination(house: House) {
    house.open_order("O-1", "G-1").await;
    house.open_order("O-2", "G-1").await;
    house.open_reference("G-1", "R-1", 2_468).await;
    let first = submit(&house, "O-1").await;
    let second = submit(&house, "O-2").await;
    house.clock.advance(TimeDelta::hours(1));
    // Both jobs race for the group; the loser of a compare-and-set comes back a moment later.
    for job in [first, second] {
        advance_until_done(&house, job).await;
    }
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    assert_eq!(house.order_state("O-2").await, OrderState::Expired);
    assert_eq!(closes_of(&house, "R-1"), 1);
    house.close().await;
}

async fn second_job(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;
    house.job_reaches(job, JobState::Done).await;
    let effects = house.sandbox.handle.effects();

    let again = house
        .submit(JobKind::OrderExpiry, "another key", &expiry_of("O-1"))
        .await;
    let done = house.job_reaches(again, JobState::Done).await;
    assert_eq!(done.note, "the order had expired before");
    assert_eq!(house.sandbox.handle.effects(), effects);
    house.close().await;
}

async fn lost_answer(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    fault(&house, Operation::Close, Fault::LostAnswer);
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;

    let waiting = house.job_waits(job, "was lost").await;
    assert_eq!(waiting.attempt, 0, "an unknown outcome burns no attempt");
    assert_eq!(house.order_state("O-1").await, OrderState::Expiring);
    advance_until_done(&house, job).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    assert_eq!(closes_of(&house, "R-1"), 1);
    house.close().await;
}

async fn lost_request(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    fault(&house, Operation::Close, Fault::LostRequest);
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;

    house.job_waits(job, "was lost").await;
    assert_eq!(closes_of(&house, "R-1"), 0);
    advance_until_done(&house, job).await;
    assert_eq!(closes_of(&house, "R-1"), 1);
    let keys: Vec<String> = house
        .sandbox
        .handle
        .effects()
        .into_iter()
        .filter_map(|effect| effect.idempotency_key)
        .collect();
    assert_eq!(keys, ["close:sandbox:R-1:1"]);
    house.close().await;
}

async fn unavailable(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    fault(&house, Operation::Close, Fault::Unavailable);
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;

    house.job_waits(job, "is unavailable").await;
    advance_until_done(&house, job).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    assert_eq!(closes_of(&house, "R-1"), 1);
    house.close().await;
}

async fn not_found(house: House) {
    house.open_order("O-1", "O-1").await;
    house.issue_reference("O-1", "R-never-used").await;
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;
    advance_until_done(&house, job).await;
    assert_eq!(house.order_state("O-1").await, OrderState::Expired);
    house.close().await;
}

async fn wrong_amount(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_200).await;
    house.sandbox.handle.pay(&reference("R-1")).unwrap();
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;
    let dead = house.job_reaches(job, JobState::Dead).await;
    assert_eq!(
        dead.note,
        "reference R-1 was paid with 12.00 CNY but 12.34 CNY is owed: settle it with the payer, then retry"
    );
    assert_eq!(house.order_state("O-1").await, OrderState::Expiring);
    house.close().await;
}

async fn unknown_order(house: House) {
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-404").await;
    house.job_waits(job, "it is not known yet").await;
    let mut waits = 0;
    while house.job(job).await.state != JobState::Dead {
        waits += 1;
        assert!(waits < 10, "five attempts are four waits");
        let version = house.job(job).await.version;
        house.clock.advance(TimeDelta::minutes(11));
        crate::support::house::eventually(async || {
            let job = house.job(job).await;
            let moved = job.version >= version + 2 && job.state != JobState::Running;
            moved.then_some(())
        })
        .await
        .unwrap();
    }
    assert_eq!(house.job(job).await.attempt, 5);
    house.close().await;
}

fn fault(house: &House, operation: Operation, fault: Fault) {
    house
        .sandbox
        .handle
        .queue_fault(operation, &reference("R-1"), fault);
}

/// Moves the clock from wait to wait until the job is done.
async fn advance_until_done(house: &House, job: JobId) {
    for _ in 0..20 {
        let settled = crate::support::house::eventually(async || {
            let job = house.job(job).await;
            (!job.state.is_leased()
                && (job.state != JobState::Ready || job.run_at > house.clock.now()))
            .then_some(job)
        })
        .await
        .unwrap();
        if settled.state == JobState::Ready {
            house.clock.advance(settled.run_at - house.clock.now());
        } else {
            assert_eq!(settled.state, JobState::Done, "{settled:#?}");
            return;
        }
    }
    panic!("the job waited too often: {:#?}", house.timeline(job).await);
}

async fn ended_elsewhere(house: House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    house.cancel_order("O-1").await;
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;
    let done = house.job_reaches(job, JobState::Done).await;
    assert_eq!(done.note, "the order was cancelled");
    assert_eq!(closes_of(&house, "R-1"), 1, "nobody can pay it any more");
    house.close().await;
}

async fn second_money(house: House) {
    house.open_order("O-1", "O-1").await;
    for name in ["R-1", "R-2"] {
        house.open_reference("O-1", name, 1_234).await;
        house.sandbox.handle.pay(&reference(name)).unwrap();
    }
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;
    let dead = house.job_reaches(job, JobState::Dead).await;
    assert_eq!(
        dead.note,
        "reference R-2 was paid with 12.34 CNY although the order was paid: give it back to the payer, then retry"
    );
    assert_eq!(house.order_state("O-1").await, OrderState::Paid);
    // It is on record, so the retry after settling it with the payer has nothing left to do.
    house.engine().retry(job, "ops").await.unwrap();
    let done = house.job_reaches(job, JobState::Done).await;
    assert_eq!(done.note, "the order was paid");
    house.close().await;
}

async fn unconfigured_channel(house: House) {
    house.open_order("O-1", "O-1").await;
    house.issue_reference_at("another", "O-1", "A-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    house.sandbox.handle.pay(&reference("R-1")).unwrap();
    house.clock.advance(TimeDelta::hours(1));
    let job = submit(&house, "O-1").await;
    let waiting = house.job_waits(job, "channel another is unavailable").await;
    assert!(
        waiting.note.contains("it is not configured"),
        "{}",
        waiting.note
    );
    assert_eq!(house.order_state("O-1").await, OrderState::Paid);
    house.close().await;
}
