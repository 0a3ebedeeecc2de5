//! Random lives of a few jobs, played on a database and on the pure table of states at once.
//!
//! After every step each row is what the model says, and at the end each history is the model's:
//! one row per change, numbered without a gap.
#![cfg(test)]

use chrono::{DateTime, TimeDelta, Utc};
use clearday::domain::job::{Job, JobEvent, JobState};
use clearday::domain::operation::{Operation, OperationKind, OperationState};
use clearday::domain::retry::FailureClass;
use clearday::engine::{Engine, OperateError, Run, WorkError};
use clearday::store::operations;
use clearday_jobs::{JobId, JobKind, OperationId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::world::{POLICY, World};

const WORKERS: usize = 2;
/// Enough for jobs to stand in each other's way, few enough to read a failure.
const JOBS_MAX: usize = 5;

#[test]
fn any_life_of_jobs_follows_the_table_on_sqlite() {
    play(96, World::sqlite);
}

#[test]
fn any_life_of_jobs_follows_the_table_on_postgres() {
    play(12, World::postgres);
}

fn play<F: Future<Output = World>>(cases: u32, world: impl Fn() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let lives = prop::collection::vec(step(), 1..60);
    TestRunner::new(config)
        .run(&lives, |steps| {
            runtime.block_on(async {
                let mut stage = Stage::new(world().await);
                for step in steps {
                    stage.play(step).await;
                    stage.check_rows().await;
                }
                stage.check_histories().await;
            });
            Ok(())
        })
        .unwrap();
}

/// What may happen; numbers pick a worker, a job or a run by their remainder.
#[derive(Clone, Debug)]
enum Step {
    Accept,
    Lease {
        worker: usize,
        room: usize,
    },
    /// A run that somebody leased once, perhaps long ago, comes to this end.
    End {
        run: usize,
        end: End,
    },
    /// A run writes an operation down and goes on.
    Intend {
        run: usize,
    },
    Prove {
        job: usize,
    },
    Renew {
        worker: usize,
    },
    HandBack {
        worker: usize,
    },
    Sweep,
    Cancel {
        job: usize,
    },
    Requeue {
        job: usize,
    },
    Advance {
        seconds: i64,
    },
}

#[derive(Clone, Copy, Debug)]
enum End {
    Finish,
    Snooze { seconds: i64 },
    Fail(FailureClass),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1_000_usize;
    prop_oneof![
        2 => Just(Step::Accept),
        4 => (any.clone(), 1..4_usize).prop_map(|(worker, room)| Step::Lease { worker, room }),
        4 => (any.clone(), end()).prop_map(|(run, end)| Step::End { run, end }),
        1 => any.clone().prop_map(|run| Step::Intend { run }),
        1 => any.clone().prop_map(|job| Step::Prove { job }),
        1 => any.clone().prop_map(|worker| Step::Renew { worker }),
        1 => any.clone().prop_map(|worker| Step::HandBack { worker }),
        2 => Just(Step::Sweep),
        2 => any.clone().prop_map(|job| Step::Cancel { job }),
        2 => any.prop_map(|job| Step::Requeue { job }),
        3 => prop_oneof![Just(1), Just(10), Just(21)].prop_map(|seconds| Step::Advance { seconds }),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Finish),
        (0..20_i64).prop_map(|seconds| End::Snooze { seconds }),
        Just(End::Fail(FailureClass::Unavailable)),
        Just(End::Fail(FailureClass::Interrupted)),
        Just(End::Fail(FailureClass::Invalid)),
    ]
}

/// A job as the model has it.
#[derive(Debug)]
struct Model {
    id: JobId,
    state: JobState,
    attempt: u32,
    rescues: u32,
    epoch: i64,
    lease_until: Option<DateTime<Utc>>,
    run_at: DateTime<Utc>,
    open_operation: Option<OperationId>,
    history: Vec<String>,
}

impl Model {
    /// Follows the table; an operation without proof keeps a job from ending without its effect.
    /// Returns whether it was kept.
    fn follow(&mut self, event: JobEvent) -> bool {
        let next = self.state.after(event).unwrap();
        let is_end = matches!(next, JobState::Cancelled | JobState::Dead);
        let is_kept = is_end && self.open_operation.is_some();
        self.state = if is_kept { JobState::Ready } else { next };
        if !self.state.is_leased() {
            self.lease_until = None;
        }
        let version = self.history.len() + 1;
        self.history
            .push(format!("{version} {} {}", event.as_str(), self.state));
        if matches!(event, JobEvent::Snooze | JobEvent::Retry) {
            self.rescues = 0;
        }
        is_kept
    }

    /// Buried, or run again in ten minutes while a call has no proved outcome.
    fn bury(&mut self, now: DateTime<Utc>) {
        let is_kept = self.follow(JobEvent::Bury);
        self.run_at = if is_kept {
            now + TimeDelta::minutes(10)
        } else {
            now
        };
    }
}

/// One world with its workers, and the model beside it.
struct Stage {
    world: World,
    workers: Vec<Engine>,
    /// Every run that was ever leased, by whom.
    runs: Vec<(usize, Job)>,
    /// What each worker believes to hold.
    held: Vec<Vec<(usize, i64)>>,
    jobs: Vec<Model>,
    minted: u32,
}

impl Stage {
    fn new(world: World) -> Self {
        let workers = (0..WORKERS).map(|n| world.engine(&format!("w{n}")));
        Self {
            workers: workers.collect(),
            world,
            runs: Vec::new(),
            held: vec![Vec::new(); WORKERS],
            jobs: Vec::new(),
            minted: 0,
        }
    }

    async fn play(&mut self, step: Step) {
        match step {
            Step::Accept => self.accept().await,
            Step::Lease { worker, room } => self.lease(worker % WORKERS, room).await,
            Step::End { run, end } if !self.runs.is_empty() => {
                self.end(run % self.runs.len(), end).await;
            }
            Step::Intend { run } if !self.runs.is_empty() => {
                self.intend(run % self.runs.len()).await;
            }
            Step::Prove { job } if !self.jobs.is_empty() => {
                self.prove(job % self.jobs.len()).await;
            }
            Step::Cancel { job } if !self.jobs.is_empty() => {
                self.cancel(job % self.jobs.len()).await;
            }
            Step::Requeue { job } if !self.jobs.is_empty() => {
                self.requeue(job % self.jobs.len()).await;
            }
            Step::Renew { worker } => self.renew(worker % WORKERS).await,
            Step::HandBack { worker } => self.hand_back(worker % WORKERS).await,
            Step::Sweep => self.sweep().await,
            Step::Advance { seconds } => self.world.advance_seconds(seconds),
            Step::End { .. }
            | Step::Intend { .. }
            | Step::Prove { .. }
            | Step::Cancel { .. }
            | Step::Requeue { .. } => {}
        }
    }

    async fn accept(&mut self) {
        if self.jobs.len() == JOBS_MAX {
            return;
        }
        let id = self.world.due_job(&self.jobs.len().to_string()).await;
        self.jobs.push(Model {
            id,
            state: JobState::Ready,
            attempt: 0,
            rescues: 0,
            epoch: 0,
            lease_until: None,
            run_at: self.world.now(),
            open_operation: None,
            history: vec!["1 accepted ready".to_owned()],
        });
    }

    async fn lease(&mut self, worker: usize, room: usize) {
        let leased = self.workers[worker]
            .lease_due(JobKind::Reconciliation, room)
            .await
            .unwrap();
        let now = self.world.now();
        let mut due: Vec<usize> = (0..self.jobs.len())
            .filter(|at| self.jobs[*at].state == JobState::Ready && self.jobs[*at].run_at <= now)
            .collect();
        due.sort_by_key(|at| (self.jobs[*at].run_at, self.jobs[*at].id));
        due.truncate(room);
        let expected: Vec<JobId> = due.iter().map(|at| self.jobs[*at].id).collect();
        let ids: Vec<JobId> = leased.iter().map(|job| job.id).collect();
        assert_eq!(ids, expected);
        for at in due {
            let model = &mut self.jobs[at];
            model.follow(JobEvent::Lease);
            model.attempt += 1;
            model.epoch += 1;
            model.lease_until = Some(now + POLICY.lease);
            self.held[worker].retain(|(held, _)| *held != at);
            self.held[worker].push((at, model.epoch));
        }
        self.runs
            .extend(leased.into_iter().map(|job| (worker, job)));
    }

    async fn end(&mut self, run: usize, end: End) {
        let (worker, job) = self.runs[run].clone();
        let at = self.position(job.id);
        let now = self.world.now();
        let until = move |seconds| now + TimeDelta::seconds(seconds);
        let handler = |run: Run| async move {
            let tx = run.begin().await?;
            match end {
                End::Finish => run.done(tx, "done").await,
                End::Snooze { seconds } => run.snooze(tx, until(seconds), "later").await,
                End::Fail(FailureClass::Unavailable) => Err(WorkError::Unavailable {
                    what: "it".to_owned(),
                    reason: "away".to_owned(),
                }),
                End::Fail(FailureClass::Interrupted) => Err(WorkError::LostRace("it".to_owned())),
                End::Fail(FailureClass::Invalid) => Err(WorkError::Invalid("it".to_owned())),
            }
        };
        let epoch = job.lease_epoch;
        let engine = &self.workers[worker];
        engine.execute(job, handler).await;
        self.held[worker].retain(|held| *held != (at, epoch));

        let model = &mut self.jobs[at];
        if model.epoch != epoch || !model.state.is_leased() {
            return;
        }
        match end {
            End::Finish => {
                model.follow(JobEvent::Finish);
            }
            End::Snooze { seconds } => {
                model.follow(JobEvent::Snooze);
                model.attempt = 0;
                model.run_at = until(seconds);
            }
            End::Fail(class) => {
                let is_last = model.attempt >= POLICY.attempts_max;
                if class == FailureClass::Invalid || is_last {
                    model.bury(now);
                } else {
                    model.follow(JobEvent::Retry);
                    // The wait has jitter: its bounds are what is promised.
                    let run_at = self.world.job(model.id).await.run_at;
                    let wait = run_at - now;
                    assert!(wait >= TimeDelta::milliseconds(500) && wait <= TimeDelta::minutes(10));
                    model.run_at = run_at;
                }
            }
        }
    }

    async fn intend(&mut self, run: usize) {
        let (worker, job) = self.runs[run].clone();
        let at = self.position(job.id);
        if self.jobs[at].open_operation.is_some() {
            return;
        }
        self.minted += 1;
        let operation = Operation {
            id: OperationId(self.world.ids.uuid()),
            job_id: job.id,
            kind: OperationKind::Close,
            channel: "sandbox".parse().unwrap(),
            reference: format!("REF-{}", self.minted).parse().unwrap(),
            generation: 1,
            idempotency_key: format!("close:{}", self.minted),
            state: OperationState::Intended,
            intended_at: self.world.now(),
            updated_at: self.world.now(),
        };
        let model = &mut self.jobs[at];
        let is_held = model.epoch == job.lease_epoch && model.state.is_leased();
        let run = Run::new(self.workers[worker].clone(), job);
        let mut tx = run.begin().await.unwrap();
        operations::intend(&mut tx, &operation).await.unwrap();
        let committed = run.checkpoint(tx).await;
        assert_eq!(committed.is_ok(), is_held);
        if is_held {
            model.open_operation = Some(operation.id);
        }
    }

    async fn prove(&mut self, at: usize) {
        let Some(id) = self.jobs[at].open_operation.take() else {
            return;
        };
        let mut tx = self.world.begin().await;
        let (state, now) = (OperationState::Declined, self.world.now());
        let learned = operations::learn(&mut tx, id, state, "told", Some("{}"), now).await;
        assert!(learned.unwrap());
        tx.commit().await.unwrap();
    }

    async fn renew(&mut self, worker: usize) {
        let held = self.workers[worker].renew_held().await.unwrap();
        let until = self.world.now() + POLICY.lease;
        let believed = self.held[worker].len();
        let jobs = &mut self.jobs;
        self.held[worker].retain(|(at, epoch)| {
            let model = &mut jobs[*at];
            let is_held = model.epoch == *epoch && model.state.is_leased();
            if is_held {
                model.lease_until = Some(until);
            }
            is_held
        });
        let renewed = self.held[worker].len();
        assert_eq!((held.renewed, held.lost), (renewed, believed - renewed));
    }

    async fn hand_back(&mut self, worker: usize) {
        let handed_back = self.workers[worker].hand_back_all().await.unwrap();
        let now = self.world.now();
        let mut expected = 0;
        for (at, epoch) in std::mem::take(&mut self.held[worker]) {
            let model = &mut self.jobs[at];
            if model.epoch == epoch && model.state.is_leased() {
                model.follow(JobEvent::HandBack);
                model.attempt -= 1;
                model.run_at = now;
                expected += 1;
            } else {
                // What it lost it learns with the next renewal.
                self.held[worker].push((at, epoch));
            }
        }
        assert_eq!(handed_back, expected);
    }

    async fn sweep(&mut self) {
        let swept = self.workers[0].sweep().await.unwrap();
        let now = self.world.now();
        let mut expected = 0;
        for (at, model) in self.jobs.iter_mut().enumerate() {
            if model.lease_until.is_some_and(|until| until < now) {
                if model.rescues >= POLICY.rescues_max {
                    model.bury(now);
                } else {
                    // At once the first time; then with jitter, whose bounds are what is promised.
                    let run_at = self.world.job(model.id).await.run_at;
                    let wait = run_at - now;
                    if model.rescues == 0 {
                        assert_eq!(wait, TimeDelta::zero());
                    } else {
                        assert!(wait >= TimeDelta::milliseconds(500));
                        assert!(wait <= TimeDelta::minutes(10));
                    }
                    model.run_at = run_at;
                    model.follow(JobEvent::Rescue);
                    model.rescues += 1;
                }
                // Its own lapsed leases a worker gives up as it sweeps them.
                self.held[0].retain(|held| *held != (at, model.epoch));
                expected += 1;
            }
        }
        assert_eq!(swept, expected);
    }

    async fn cancel(&mut self, at: usize) {
        let model = &mut self.jobs[at];
        let asked = self.workers[0].cancel(model.id, "ops").await;
        match model.state.after(JobEvent::Cancel) {
            Some(JobState::Cancelled) if model.open_operation.is_some() => {
                assert!(matches!(asked, Err(OperateError::OpenOperation { .. })));
            }
            Some(_) => {
                asked.unwrap();
                model.follow(JobEvent::Cancel);
            }
            None => assert!(matches!(asked, Err(OperateError::Refused { .. }))),
        }
    }

    async fn requeue(&mut self, at: usize) {
        let now = self.world.now();
        let model = &mut self.jobs[at];
        let asked = self.workers[0].retry(model.id, "ops").await;
        if model.state.after(JobEvent::Requeue).is_some() {
            asked.unwrap();
            model.follow(JobEvent::Requeue);
            (model.attempt, model.rescues, model.run_at) = (0, 0, now);
        } else {
            assert!(matches!(asked, Err(OperateError::Refused { .. })));
        }
    }

    fn position(&self, id: JobId) -> usize {
        self.jobs.iter().position(|model| model.id == id).unwrap()
    }

    async fn check_rows(&self) {
        for model in &self.jobs {
            let row = self.world.job(model.id).await;
            assert_eq!(row.state, model.state);
            assert_eq!(row.version, i64::try_from(model.history.len()).unwrap());
            assert_eq!((row.attempt, row.rescues), (model.attempt, model.rescues));
            assert_eq!(row.lease_epoch, model.epoch);
            assert_eq!(row.lease.map(|lease| lease.until), model.lease_until);
            assert_eq!(row.run_at, model.run_at);
        }
    }

    async fn check_histories(&self) {
        for model in &self.jobs {
            assert_eq!(self.world.story(model.id).await, model.history);
        }
    }
}
