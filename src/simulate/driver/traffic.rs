//! What is on its way: submissions, bells, late requests, and what happens outside.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobKind;

use super::{Driver, JOBS_MAX};
use crate::connectors::Parcel;
use crate::domain::job::JobState;
use crate::engine::{Acceptance, Source, Submission};
use crate::simulate::SimulateError;
use crate::simulate::daemon::{Act, Daemon, Ended, Life};
use crate::simulate::fault::{Fault, IN_TRANSIT};
use crate::simulate::stop::{Call, lock};
use crate::simulate::world::Event;
use crate::store::jobs::{self, JobFilter};

/// Upstream sends again what nobody acknowledged for so long.
const RESEND: TimeDelta = TimeDelta::seconds(30);

/// Something on its way, to arrive at an instant.
#[derive(Debug)]
pub(super) enum Transit {
    /// A submission of upstream's.
    Submission(usize),
    /// Upstream looks whether it was acknowledged.
    Resend(usize),
    /// A bell.
    Bell(JobKind),
    /// A request that nobody waits for any more.
    Request(Call, Parcel),
    /// Something outside.
    Event(Event),
    /// A daemon is told to stop, for a new release.
    Deploy(usize),
    /// Somebody looks at the dead letters, and retries them.
    Requeue,
}

impl Driver<'_> {
    pub(super) fn send(&mut self, at: DateTime<Utc>, what: Transit) {
        self.count = self.count.saturating_add(1);
        self.transit.insert((at, self.count), what);
    }

    /// What was left on the way by the last step starts to travel.
    pub(super) fn collect(&mut self) {
        for kind in self.bells.take() {
            self.ring(kind);
        }
        let stragglers = std::mem::take(&mut *lock(&self.house.stragglers));
        for (call, parcel) in stragglers {
            let late = TimeDelta::seconds(self.travel.between(12, 240));
            self.send(self.now + late, Transit::Request(call, parcel));
        }
    }

    fn ring(&mut self, kind: JobKind) {
        let soon = self.now + TimeDelta::milliseconds(self.travel.between(0, 20));
        match self.strike(&IN_TRANSIT, self.rates.transit, || format!("bell {kind}")) {
            Some(Fault::Lost) => return,
            Some(Fault::Twice) => self.send(soon, Transit::Bell(kind)),
            Some(Fault::Overtaken) => {
                let late = TimeDelta::seconds(self.travel.between(1, 20));
                self.send(self.now + late, Transit::Bell(kind));
                return;
            }
            Some(_) | None => {}
        }
        self.send(soon, Transit::Bell(kind));
    }

    /// Upstream sends what it wants, and looks later whether it was acknowledged.
    fn submit(&mut self, wanted: usize) {
        let Some(kind) = self.world.wanted.get(wanted).map(|it| it.kind) else {
            return;
        };
        self.send(self.now + RESEND, Transit::Resend(wanted));
        let soon = self.now + TimeDelta::milliseconds(self.travel.between(0, 1_500));
        let place = || format!("submission {kind}");
        match self.strike(&IN_TRANSIT, self.rates.transit, place) {
            Some(Fault::Lost) => return,
            Some(Fault::Twice) => self.send(soon, Transit::Submission(wanted)),
            Some(Fault::Overtaken) => {
                let late = TimeDelta::seconds(self.travel.between(5, 120));
                self.send(self.now + late, Transit::Submission(wanted));
                return;
            }
            Some(_) | None => {}
        }
        self.send(soon, Transit::Submission(wanted));
    }

    pub(super) async fn arrive(&mut self, what: Transit) -> Result<(), SimulateError> {
        match what {
            Transit::Submission(wanted) => {
                self.accept(wanted);
                Ok(())
            }
            Transit::Resend(wanted) => {
                if !self.world.is_acknowledged(wanted) {
                    self.submit(wanted);
                }
                Ok(())
            }
            Transit::Bell(kind) => {
                if let Some(daemon) = self.somebody() {
                    daemon.heard.insert(kind);
                }
                Ok(())
            }
            Transit::Request(call, parcel) => {
                self.tell(|| format!("a late request arrives: {}", call.as_str()));
                self.house.outside.answer(parcel).await;
                Ok(())
            }
            Transit::Event(event) => {
                self.tell(|| format!("outside: {event:?}"));
                let asked = self.world.happen(self.house, &self.door, &event).await?;
                if let Some(wanted) = asked {
                    self.submit(wanted);
                }
                Ok(())
            }
            Transit::Deploy(number) => {
                if let Some(daemon) = self.daemons.get_mut(number)
                    && daemon.is_up()
                {
                    daemon.is_leaving = true;
                    self.tell(|| format!("d{number} is told to stop"));
                }
                Ok(())
            }
            Transit::Requeue => self.requeue().await,
        }
    }

    /// Somebody who is up, or frozen: who is asleep hears it later.
    pub(super) fn somebody(&mut self) -> Option<&mut Daemon> {
        let up: Vec<usize> = self
            .daemons
            .iter()
            .filter(|daemon| !matches!(daemon.life, Life::Dead(_)) && !daemon.is_leaving)
            .map(|daemon| daemon.number)
            .collect();
        let number = self.order.pick(&up).copied()?;
        self.daemons.get_mut(number)
    }

    /// A daemon takes in a submission, and what else has arrived with it.
    fn accept(&mut self, first: usize) {
        let up: Vec<usize> = self
            .daemons
            .iter()
            .filter(|daemon| daemon.is_up() && !daemon.is_leaving)
            .map(|daemon| daemon.number)
            .collect();
        let Some(number) = self.order.pick(&up).copied() else {
            // It stays in its stream until somebody reads that.
            let somebody = self.daemons.iter().filter_map(|daemon| match daemon.life {
                Life::Dead(until) | Life::Frozen(until) => Some(until),
                Life::Alive => None,
            });
            let soon = self.now + TimeDelta::seconds(1);
            let at = somebody.min().map_or(soon, |until| until.max(soon));
            self.send(at, Transit::Submission(first));
            return;
        };
        let mut batch = vec![first];
        if self.order.happens(500) {
            let here = |what: &Transit| {
                if let Transit::Submission(wanted) = what {
                    Some(*wanted)
                } else {
                    None
                }
            };
            let arrived: Vec<((DateTime<Utc>, u64), usize)> = self
                .transit
                .iter()
                .take_while(|((at, _), _)| *at <= self.now)
                .filter_map(|(key, what)| Some((*key, here(what)?)))
                .collect();
            for (key, wanted) in arrived {
                self.transit.remove(&key);
                batch.push(wanted);
            }
        }
        let submissions: Vec<Submission> = batch
            .iter()
            .filter_map(|wanted| self.world.wanted.get(*wanted))
            .map(|wanted| Submission {
                kind: wanted.kind.to_string(),
                idempotency_key: Some(wanted.key.clone()),
                payload: wanted.payload.clone().into_bytes(),
                source: Source::Http,
                fault: None,
            })
            .collect();
        self.begin(number, Act::Accept(batch), |daemon| {
            let engine = daemon.engine.clone();
            Box::pin(async move { Ended::Accepted(engine.accept(submissions).await) })
        });
    }

    pub(super) fn acknowledge(&mut self, wanted: usize, answer: &Acceptance) {
        if let Acceptance::Refused(refusal) = answer {
            self.find("L1", format!("submission {wanted} was refused: {refusal}"));
        }
        let lost = self.strike(&[Fault::Lost], self.rates.transit, || {
            "acknowledgement".to_owned()
        });
        if lost.is_none()
            && let Some(is_acknowledged) = self.world.acknowledged.get_mut(wanted)
        {
            *is_acknowledged = true;
        }
    }

    /// An operator retries what lies among the dead letters.
    async fn requeue(&mut self) -> Result<(), SimulateError> {
        let filter = JobFilter {
            state: Some(JobState::Dead),
            ..JobFilter::default()
        };
        let mut tx = self.house.store.read().await?;
        let dead = jobs::list(&mut tx, &filter, JOBS_MAX).await?;
        drop(tx);
        for job in dead {
            self.tell(|| {
                format!(
                    "retried: {} {}: {}",
                    job.kind, job.idempotency_key, job.note
                )
            });
            let retried = self.door.retry(job.id, "operator").await;
            retried.map_err(SimulateError::set_up)?;
        }
        Ok(())
    }
}
