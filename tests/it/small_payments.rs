//! Payments that are small enough for nobody: what a payee gets in a day stays below the limit, whatever piles up.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::config::{Approvals, TwoPeopleFrom};
use clearday::domain::job::JobState;
use clearday::domain::merchant::Merchant;
use clearday::domain::record::Record;
use clearday::verify::verify;
use clearday_jobs::{Currency, JobId};

use crate::support::house::{House, Mode};
use crate::support::settling::{merchant, payment};

/// A house where two people are asked from ¥500.00.
async fn with_limit(mode: Mode) -> House {
    let mut house = House::without_daemons(mode).await;
    house.approvals = Approvals {
        two_people_from: vec![TwoPeopleFrom {
            currency: Currency::CNY,
            amount: "500.00".to_owned(),
        }],
    };
    house.start_daemon();
    house
}

/// A sale of ¥300.00 before fees.
fn sale_of(merchant_id: &str, number: &str, day: &str) -> Record {
    Record {
        merchant_id: merchant_id.parse().unwrap(),
        ..payment(number, 30_000, &format!("{day}T10:00:00+08:00"))
    }
}

async fn nothing_is_wrong(house: House) {
    let report = verify(&house.store).await.unwrap();
    assert!(report.ok, "{report:#?}");
    house.close().await;
}

fn ordered(house: &House) -> usize {
    house.sandbox.handle.bank_books().effects().len()
}

/// Three settlements of three days come due while the merchant is held, and could all leave on one. Which of them is
/// decided first is nobody's promise: at most one is small enough, and people are asked about each of the others.
async fn piled_up(mode: Mode) {
    let house = with_limit(mode).await;
    let held = Merchant {
        is_held: true,
        ..merchant("M-1")
    };
    house.import_merchant(held).await;
    let days = ["2026-03-02", "2026-03-03", "2026-03-04"];
    for day in days {
        house.import_records(&[sale_of("M-1", day, day)]).await;
    }
    let mut jobs = Vec::new();
    for (day, at) in days.iter().zip(["2026-03-03", "2026-03-04", "2026-03-05"]) {
        house.clock_shows(&format!("{at}T09:00:00"));
        jobs.push(house.settle(day, "M-1", day).await);
        all_rest(&house, &jobs).await;
    }
    assert_eq!(ordered(&house), 0);

    house.import_merchant(merchant("M-1")).await;
    house.clock_shows("2026-03-05T12:00:00");
    all_rest(&house, &jobs).await;
    // Whoever lost a race to the day's sum decides again when its next attempt is due.
    let mut asked = house.requested().await.len();
    for _ in 0..10 {
        if ordered(&house) + asked >= jobs.len() {
            break;
        }
        house.clock.advance(TimeDelta::minutes(10));
        all_rest(&house, &jobs).await;
        asked = house.requested().await.len();
    }
    let left = ordered(&house);
    assert!(left <= 1, "{left} left where two pass the limit of the day");
    assert_eq!(left + asked, jobs.len());
    house.approve_all().await;
    house.clock_shows("2026-03-05T15:00:00");
    nothing_is_wrong(house).await;
}

async fn all_rest(house: &House, jobs: &[JobId]) {
    for job in jobs {
        house.job_rests(*job).await;
    }
}

/// Two merchants are paid to one account; what a person refused there is not small enough on the next day.
async fn refused(mode: Mode) {
    let house = with_limit(mode).await;
    for merchant_id in ["M-1", "M-2"] {
        house.import_merchant(merchant(merchant_id)).await;
        let sale = sale_of(merchant_id, merchant_id, "2026-03-02");
        house.import_records(&[sale]).await;
    }
    house.clock_shows("2026-03-03T09:00:00");
    let first = house.settle("one", "M-1", "2026-03-02").await;
    house.job_waits(first, "waits for the statement").await;
    let second = house.settle("two", "M-2", "2026-03-02").await;
    house.job_waits(second, "two people").await;
    house.reject("not this one").await;
    house.job_reaches(second, JobState::Done).await;

    house.clock_shows("2026-03-04T09:00:00");
    let again = house.settle("again", "M-2", "2026-03-02").await;
    house.job_waits(again, "two people").await;
    assert_eq!(ordered(&house), 1);
    nothing_is_wrong(house).await;
}

mod embedded {
    use super::*;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_piled_up_is_counted_on_the_day_it_leaves() {
        piled_up(Mode::Embedded).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_person_refused_needs_two_people() {
        refused(Mode::Embedded).await;
    }
}

mod production {
    use super::*;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_piled_up_is_counted_on_the_day_it_leaves() {
        piled_up(Mode::Production).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_person_refused_needs_two_people() {
        refused(Mode::Production).await;
    }
}
