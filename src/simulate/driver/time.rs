//! When nobody can go on, the clock moves.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobKind;

use super::Driver;
use super::traffic::Transit;
use crate::simulate::SimulateError;
use crate::simulate::daemon::Life;
use crate::simulate::setup::{ending, horizon};
use crate::simulate::world::day_of;
use crate::store::watch;

/// Due jobs for which no bell was heard are looked for this often.
const POLL: TimeDelta = TimeDelta::seconds(5);
/// Due jobs may wait this long for whoever looks at the database.
const NEARLY: TimeDelta = TimeDelta::seconds(2);

impl Driver<'_> {
    pub(super) fn set_clock(&mut self, to: DateTime<Utc>) {
        self.now = to;
        self.house.clock.set(to);
        for daemon in &mut self.daemons {
            daemon.clock.set(to + daemon.skew);
            if let Life::Frozen(until) = daemon.life
                && until <= to
            {
                daemon.life = Life::Alive;
            }
        }
    }

    /// Moves the clock to the next instant at which anything can happen; `false` when nothing will.
    pub(super) async fn move_clock(&mut self) -> Result<bool, SimulateError> {
        // What is nearly there needs no look at the database.
        if let Some(next) = self.next_instant(&[])
            && next <= self.now + NEARLY
        {
            self.set_clock(next);
            return Ok(true);
        }
        let mut tx = self.house.store.read().await?;
        let waiting = watch::waiting(&mut tx).await?;
        let leased = watch::leased(&mut tx).await?;
        drop(tx);
        let is_over = waiting.is_empty() && leased == 0 && self.tasks.is_empty();
        let is_quiet = self.transit.values().all(|what| match what {
            Transit::Event(_) => true,
            Transit::Resend(wanted) => self.world.is_acknowledged(*wanted),
            Transit::Submission(_)
            | Transit::Bell(_)
            | Transit::Request(..)
            | Transit::Deploy(_)
            | Transit::Requeue => false,
        });
        if self.is_healing && is_over && is_quiet && self.now >= ending(self.plan) {
            return Ok(false);
        }
        self.is_watchful = leased > 0;
        let next = self.next_instant(&waiting);
        let Some(next) = next.filter(|next| *next <= horizon(self.plan)) else {
            return Ok(false);
        };
        if day_of(next) != day_of(self.now) {
            self.verify().await?;
        }
        self.set_clock(next);
        for (kind, at) in waiting {
            if at <= self.now
                && let Some(daemon) = self.somebody()
            {
                // By its alarm or its poll.
                daemon.heard.insert(kind);
            }
        }
        Ok(true)
    }

    fn next_instant(&self, waiting: &[(JobKind, DateTime<Utc>)]) -> Option<DateTime<Utc>> {
        let mut instants: Vec<DateTime<Utc>> = Vec::new();
        instants.extend(self.tasks.values().map(|task| task.not_before));
        instants.extend(self.transit.keys().next().map(|(at, _)| *at));
        for (_, at) in waiting {
            instants.push(if *at <= self.now {
                self.now + POLL
            } else {
                *at
            });
        }
        for daemon in &self.daemons {
            match daemon.life {
                Life::Frozen(until) | Life::Dead(until) => instants.push(until),
                Life::Alive => {
                    instants.extend(daemon.tick_at.map(|at| at - daemon.skew));
                    if self.is_watchful {
                        instants.extend([daemon.renew_at, daemon.sweep_at]);
                    }
                }
            }
        }
        instants.into_iter().filter(|at| *at > self.now).min()
    }
}
