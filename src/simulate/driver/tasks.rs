//! What daemons do, from stop to stop, and what follows when it has ended.

use std::task::Poll;

use chrono::TimeDelta;
use clearday_jobs::{JobId, JobKind};
use futures::future::poll_fn;

use super::Driver;
use crate::domain::job::Job;
use crate::simulate::SimulateError;
use crate::simulate::daemon::{Act, Daemon, Ended, Future, Task};
use crate::simulate::fault::Fault;
use crate::simulate::stop::{Step, Stop, Stops, Verdict};
use crate::store::jobs;
use crate::store::watch;

/// When ticks that could not be decided are looked at again.
const TICK_AGAIN: TimeDelta = TimeDelta::seconds(5);
/// Runs of one kind that a daemon carries out at the same time.
pub(super) const ROOM: usize = 4;

/// What there was before a run that lost its lease committed.
struct Before {
    id: JobId,
    version: Option<i64>,
    done: i64,
    changes: i64,
}

impl Driver<'_> {
    pub(super) fn tick(&mut self, number: usize) {
        let plans = self.ticks.clone();
        let instants = &self.tick_instants;
        let now = self.now;
        let next = self.daemons.get(number).and_then(|daemon| {
            let own_now = now + daemon.skew;
            instants.iter().find(|at| **at > own_now).copied()
        });
        self.begin(number, Act::Tick, |daemon| {
            daemon.tick_at = next;
            let engine = daemon.engine.clone();
            Box::pin(async move {
                let mut fired = 0_usize;
                for plan in &plans {
                    match engine.tick(plan).await {
                        Ok(count) => fired = fired.saturating_add(count),
                        Err(error) => return Ended::Ticked(Err(error)),
                    }
                }
                Ended::Ticked(Ok(fired))
            })
        });
    }

    pub(super) fn lease(&mut self, number: usize, kind: JobKind) {
        let runs = self.tasks.values().filter(|task| {
            task.daemon == number && matches!(task.act, Act::Run { kind: of, .. } if of == kind)
        });
        let room = ROOM.saturating_sub(runs.count());
        self.begin(number, Act::Lease(kind), |daemon| {
            daemon.heard.remove(&kind);
            let engine = daemon.engine.clone();
            Box::pin(async move { Ended::Leased(engine.lease_due(kind, room).await) })
        });
    }

    fn run_job(&mut self, number: usize, job: Job) {
        let act = Act::Run {
            kind: job.kind,
            id: job.id,
            key: job.idempotency_key.clone(),
            epoch: job.lease_epoch,
        };
        self.begin(number, act, |daemon| {
            let (engine, handler) = (daemon.engine.clone(), daemon.handler.clone());
            Box::pin(async move {
                engine.execute(job, |run| handler.carry_out(run)).await;
                Ended::Ran
            })
        });
    }

    /// Begins something: it is one of those that may go on.
    pub(super) fn begin(
        &mut self,
        number: usize,
        act: Act,
        future: impl FnOnce(&mut Daemon) -> Future,
    ) {
        let Some(daemon) = self.daemons.get_mut(number) else {
            return;
        };
        let future = future(daemon);
        self.count = self.count.saturating_add(1);
        let id = self.count;
        let task = Task {
            daemon: number,
            act,
            future,
            stop: None,
            not_before: self.now,
            born: self.upheavals,
        };
        self.tasks.insert(id, task);
    }

    /// Lets a task go on to its next stop, unless something goes wrong.
    pub(super) async fn go_on(&mut self, id: u64) -> Result<(), SimulateError> {
        let Some(task) = self.tasks.get(&id) else {
            return Ok(());
        };
        let (number, act, born) = (task.daemon, task.act.clone(), task.born);
        let step = task.stop.as_ref().map(|stop| stop.step);
        let fault = step.and_then(|step| self.strike_step(&act, step));
        match fault {
            Some(Fault::Crash) => {
                self.crash(number);
                return Ok(());
            }
            Some(Fault::Freeze) => {
                self.freeze(number);
                return Ok(());
            }
            Some(Fault::ClockJump) => self.jump(number),
            Some(_) | None => {}
        }
        let mut stale = None;
        if let (Act::Run { id, epoch, .. }, Some(Step::Write)) = (&act, step)
            && born < self.upheavals
        {
            stale = self.stale_look(*id, *epoch).await?;
        }
        if matches!(act, Act::Sweep | Act::HandBack) || fault == Some(Fault::CommitUnheard) {
            self.upheavals = self.upheavals.saturating_add(1);
        }
        self.tell(|| {
            let step = step.map_or("begin".to_owned(), Step::name);
            format!("d{number} {}: {step}", act.told())
        });
        let Some(mut task) = self.tasks.remove(&id) else {
            return Ok(());
        };
        if let Some(stop) = task.stop.take() {
            stop.release(Verdict { fault });
        }
        match poll(&self.house.stops, &mut task.future).await {
            Polled::Stopped(stop) => {
                let lasts = TimeDelta::from_std(stop.step.lasts()).unwrap_or_default();
                task.not_before = self.now + lasts;
                if let (Some(before), Step::Committed) = (stale, stop.step) {
                    self.check_stale(number, &act, &before).await?;
                }
                task.stop = Some(stop);
                self.tasks.insert(id, task);
            }
            Polled::Ended(ended) => self.ended(number, &act, ended).await?,
        }
        self.collect();
        Ok(())
    }

    /// What there is before a run commits that does not hold its lease any more; nothing where it does.
    async fn stale_look(&self, id: JobId, epoch: i64) -> Result<Option<Before>, SimulateError> {
        let mut tx = self.house.store.read().await?;
        if watch::lease_of(&mut tx, id).await? == Some(epoch) {
            return Ok(None);
        }
        Ok(Some(Before {
            version: jobs::find(&mut tx, id).await?.map(|job| job.version),
            done: watch::done(&mut tx).await?,
            changes: watch::changes(&mut tx).await?,
            id,
        }))
    }

    /// L7: a run that lost its lease commits nothing. It may record the ends of others that still hold theirs.
    async fn check_stale(
        &mut self,
        number: usize,
        act: &Act,
        before: &Before,
    ) -> Result<(), SimulateError> {
        let mut tx = self.house.store.read().await?;
        let version = jobs::find(&mut tx, before.id).await?.map(|job| job.version);
        let done = watch::done(&mut tx).await?;
        let changes = watch::changes(&mut tx).await?;
        drop(tx);
        let ended_others = version == before.version && done > before.done;
        if changes != before.changes && !ended_others {
            let what = format!(
                "d{number} committed without its lease: {} of {}",
                act.told(),
                before.id
            );
            self.find("L7", what);
        }
        Ok(())
    }

    /// What follows when a task has ended.
    async fn ended(&mut self, number: usize, act: &Act, ended: Ended) -> Result<(), SimulateError> {
        if self.trace.is_kept() {
            let words = self.outcome_of(act, &ended).await?;
            self.tell(|| format!("d{number} {}: {words}", act.told()));
        }
        match ended {
            Ended::Accepted(Ok(answers)) => {
                if let Act::Accept(batch) = act {
                    for (wanted, answer) in batch.iter().zip(answers) {
                        self.acknowledge(*wanted, &answer);
                    }
                }
            }
            Ended::Leased(Ok(jobs)) => {
                for job in jobs {
                    self.run_job(number, job);
                }
            }
            // What did not end in time is cut off.
            Ended::HandedBack(_) => self.stop(number, TimeDelta::seconds(5)),
            Ended::Accepted(Err(_))
            | Ended::Leased(Err(_))
            | Ended::Ran
            | Ended::Renewed(_)
            | Ended::Swept(_)
            | Ended::Ticked(Ok(_)) => {}
            // As whoever follows the schedules does.
            Ended::Ticked(Err(_)) => {
                let again = self.now + TICK_AGAIN;
                if let Some(daemon) = self.daemons.get_mut(number) {
                    daemon.tick_at = Some(again + daemon.skew);
                }
            }
        }
        Ok(())
    }

    async fn outcome_of(&self, act: &Act, ended: &Ended) -> Result<String, SimulateError> {
        if let Act::Run { id, .. } = act {
            let mut tx = self.house.store.read().await?;
            let job = jobs::find(&mut tx, *id).await?;
            return Ok(job.map_or("no job".to_owned(), |job| {
                format!("ended; the job is {}, {}", job.state, job.note)
            }));
        }
        Ok(if let Ended::Leased(Ok(jobs)) = ended {
            format!("{} leased", jobs.len())
        } else {
            format!("{ended:?}")
        })
    }
}

enum Polled {
    Stopped(Stop),
    Ended(Ended),
}

/// Polls a task until it stops or ends. What waits for the database's own thread is polled again when that answers.
async fn poll(stops: &Stops, future: &mut Future) -> Polled {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Polled::Ended(ended)),
        Poll::Pending => stops
            .take()
            .map_or(Poll::Pending, |stop| Poll::Ready(Polled::Stopped(stop))),
    })
    .await
}
