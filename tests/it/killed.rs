//! A daemon killed at any step, and what the next one makes of it.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::connectors::sandbox::{Event, Fault, Operation};
use clearday::domain::order::OrderState;
use clearday_jobs::JobKind;

use crate::support::house::{House, Mode, expiry_of, noon};
use crate::support::mortal::MortalDaemon;
use crate::support::sandbox::reference;

/// Expires an order whose close is answered into the void, with a daemon that dies after `steps`; returns how
/// many it took.
async fn expire(mode: Mode, steps: u64) -> u64 {
    let mut house = House::without_daemons(mode).await;
    let mut mortal = MortalDaemon::start(&house, steps).await;
    if mode == Mode::Production {
        house.start_daemon();
    }
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    let handle = &house.sandbox.handle;
    handle.queue_fault(Operation::Close, &reference("R-1"), Fault::LostAnswer);
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
    let books = house.sandbox.handle.books();
    assert_eq!(books.count_effects(Event::Close, &reference("R-1")), 1);
    let lived = mortal.lived();
    mortal.kill();
    house.close().await;
    lived
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_survives_its_daemon_killed_at_every_step_on_sqlite() {
    let steps = expire(Mode::Embedded, u64::MAX).await;
    assert!(steps > 10, "{steps} steps are no story");
    for step in 0..steps {
        expire(Mode::Embedded, step).await;
    }
}
