//! Lets a house work until nothing is left to do before an instant, moving its clock only when
//! everybody waits for it.
#![cfg(test)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::domain::job::{Job, JobState, LeaseHold};
use clearday::store::jobs::{self, JobFilter};

use super::house::House;
use super::mortal::MortalDaemon;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Looks without any change after which the clock is nudged: a bell was lost with a dead daemon, and the
/// poll that makes up for it goes by the clock.
const LOOKS_BEFORE_NUDGE: u32 = 20;
/// The same while somebody has a job in hand: it may just get no time to run, and must not be late for that.
const LOOKS_AT_WORK: u32 = 400;
/// Nudges without any change after which the house is stuck.
const NUDGES_MAX: u32 = 300;
/// A poll or a sweep of the daemons comes within this.
const NUDGE: TimeDelta = TimeDelta::seconds(5);
/// More jobs than any story has.
const JOBS_MAX: usize = 1_000;

impl House {
    /// Works through everything that is due before `until`, then lets it be `until`. Daemons that die on the
    /// way are given time to be missed, and `heir` is called once for each.
    pub(crate) async fn work_until(
        &mut self,
        until: DateTime<Utc>,
        mut mortal: Option<&mut MortalDaemon>,
        heir: impl Fn(&mut Self),
    ) {
        let (mut last_seen, mut looks, mut nudges) = (0, 0, 0);
        let mut has_heir = false;
        loop {
            let is_dead = mortal.as_deref_mut().is_some_and(MortalDaemon::is_dead);
            if is_dead && !has_heir {
                heir(self);
                has_heir = true;
            }
            let jobs = self.all_jobs().await;
            let seen: i64 = jobs.iter().map(|job| job.version).sum();
            let now = self.clock.now();
            let living: Vec<&str> = self.daemons.iter().map(|d| d.engine().worker()).collect();
            match waits_for(&jobs, now, is_dead.then_some(&living)) {
                Waits::Clock(next) if next <= until => self.clock.advance(next - now),
                Waits::Clock(_) | Waits::Nothing => {
                    if until > now {
                        self.clock.advance(until - now);
                    }
                    return;
                }
                Waits::Work => {
                    if seen != last_seen {
                        (looks, nudges) = (0, 0);
                    }
                    looks += 1;
                    let is_held = |lease: &LeaseHold| {
                        let is_alive = !is_dead || living.contains(&lease.worker.as_str());
                        is_alive && lease.until > now
                    };
                    let is_at_work = jobs
                        .iter()
                        .any(|job| job.lease.as_ref().is_some_and(is_held));
                    let patience = if is_at_work {
                        LOOKS_AT_WORK
                    } else {
                        LOOKS_BEFORE_NUDGE
                    };
                    if looks > patience {
                        (looks, nudges) = (0, nudges + 1);
                        assert!(nudges < NUDGES_MAX, "the house is stuck: {jobs:#?}");
                        self.clock.advance(NUDGE);
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            last_seen = seen;
        }
    }

    pub(crate) async fn all_jobs(&self) -> Vec<Job> {
        let mut tx = self.store.read().await.unwrap();
        jobs::list(&mut tx, &JobFilter::default(), JOBS_MAX)
            .await
            .unwrap()
    }
}

enum Waits {
    /// A daemon works, or should.
    Work,
    /// Nothing happens before then.
    Clock(DateTime<Utc>),
    /// Nothing will happen at all.
    Nothing,
}

/// `living` are the workers that are left, once one has died: what the dead one held waits for its lease.
fn waits_for(jobs: &[Job], now: DateTime<Utc>, living: Option<&Vec<&str>>) -> Waits {
    let mut leases = jobs.iter().filter_map(|job| job.lease.as_ref());
    let is_orphan = |lease: &LeaseHold| {
        living.is_some_and(|living| !living.contains(&lease.worker.as_str()) && lease.until > now)
    };
    if let Some(first) = leases.next() {
        let is_only_orphans = is_orphan(first) && leases.all(is_orphan);
        return if is_only_orphans {
            Waits::Clock(first.until)
        } else {
            Waits::Work
        };
    }
    let waiting = jobs.iter().filter(|job| job.state == JobState::Ready);
    match waiting.map(|job| job.run_at).min() {
        None => Waits::Nothing,
        Some(next) if next <= now => Waits::Work,
        Some(next) => Waits::Clock(next),
    }
}
