//! A database with its schema, a clock that stands still, and engines that share both.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::clock::{Clock, Ids};
use clearday::domain::job::Job;
use clearday::domain::operation::{Operation, OperationKind, OperationState};
use clearday::engine::{Acceptance, Bell, Engine, Policy, Source, Submission};
use clearday::store::rejections::{self, Rejection};
use clearday::store::{Store, Tx, events, jobs, operations};
use clearday_jobs::{JobId, JobKind, OperationId};

use super::servers::TestDatabase;

/// As many connections as two daemons' worth of concurrent transactions in one test needs.
const CONNECTIONS_MAX: u32 = 8;

/// Short enough to be reached in a few steps of a test.
pub(crate) const POLICY: Policy = Policy {
    lease: TimeDelta::seconds(20),
    attempts_max: 3,
    rescues_max: 2,
    handler_timeout: Duration::from_mins(1),
    partition_concurrency: None,
};

/// When every test's clock starts.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-03-02T12:00:00.123456Z".parse().unwrap()
}

/// Makes of `async fn name(world: World)` one test per database, both with that name.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::world::World::postgres().await).await;
            })+
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::world::World::sqlite().await).await;
            })+
        }
    };
}
pub(crate) use on_both_databases;

/// One database and one clock.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) bell: Arc<HeardBell>,
    // Last, so that the store lets go of it first.
    pub(crate) database: TestDatabase,
}

impl World {
    pub(crate) async fn postgres() -> Self {
        Self::new(TestDatabase::postgres().await).await
    }

    pub(crate) async fn sqlite() -> Self {
        Self::new(TestDatabase::sqlite()).await
    }

    async fn new(database: TestDatabase) -> Self {
        let store = Store::connect(database.url(), CONNECTIONS_MAX)
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let clock = Clock::manual(noon());
        Self {
            store,
            ids: Ids::seeded(clock.clone(), 7),
            clock,
            bell: Arc::default(),
            database,
        }
    }

    /// A daemon's engine that leases under this name.
    pub(crate) fn engine(&self, worker: &str) -> Engine {
        self.engine_with(worker, POLICY)
    }

    pub(crate) fn engine_with(&self, worker: &str, policy: Policy) -> Engine {
        let bell: Arc<dyn Bell> = Arc::<HeardBell>::clone(&self.bell);
        Engine::new(
            self.store.clone(),
            self.clock.clone(),
            self.ids.clone(),
            policy,
            worker.to_owned(),
            bell,
        )
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }

    /// A transaction that may write.
    pub(crate) async fn begin(&self) -> Tx {
        self.store.begin().await.unwrap()
    }

    /// The job as it stands.
    pub(crate) async fn job(&self, id: JobId) -> Job {
        let mut tx = self.store.read().await.unwrap();
        jobs::find(&mut tx, id).await.unwrap().unwrap()
    }

    /// The job that holds this key among the jobs of [`due`].
    pub(crate) async fn job_of_key(&self, key: &str) -> Option<JobId> {
        let mut tx = self.store.read().await.unwrap();
        let keys = [(JobKind::Reconciliation, key)];
        let found = jobs::find_by_keys(&mut tx, &keys).await.unwrap();
        found.first().map(|job| job.id)
    }

    /// The job's history, a line like `2 leased running` per change; checks that it is whole.
    pub(crate) async fn story(&self, id: JobId) -> Vec<String> {
        let job = self.job(id).await;
        let mut tx = self.store.read().await.unwrap();
        let timeline = events::timeline(&mut tx, id).await.unwrap();
        let versions: Vec<i64> = timeline.iter().map(|entry| entry.version).collect();
        assert_eq!(versions, (1..=job.version).collect::<Vec<i64>>());
        let last = timeline.last().unwrap();
        assert_eq!(last.state, job.state.as_str());
        assert_eq!(last.occurred_at, job.updated_at);
        timeline
            .iter()
            .map(|entry| format!("{} {} {}", entry.version, entry.event, entry.state))
            .collect()
    }

    /// Why the job is where it is, by its history.
    pub(crate) async fn last_reason(&self, id: JobId) -> String {
        let mut tx = self.store.read().await.unwrap();
        let mut timeline = events::timeline(&mut tx, id).await.unwrap();
        timeline.pop().unwrap().reason
    }

    /// What was refused, the newest first.
    pub(crate) async fn rejections(&self) -> Vec<Rejection> {
        let mut tx = self.store.read().await.unwrap();
        rejections::list(&mut tx, None, 1_000).await.unwrap()
    }

    /// A call of this job that is written down and not answered.
    pub(crate) async fn intend(&self, job_id: JobId) -> Operation {
        let operation = Operation {
            id: OperationId(self.ids.uuid()),
            job_id,
            kind: OperationKind::Close,
            channel: "sandbox".parse().unwrap(),
            reference: "REF-1".parse().unwrap(),
            generation: 1,
            idempotency_key: "close:sandbox:REF-1:1".to_owned(),
            state: OperationState::Intended,
            intended_at: self.now(),
            updated_at: self.now(),
        };
        let mut tx = self.begin().await;
        operations::intend(&mut tx, &operation).await.unwrap();
        tx.commit().await.unwrap();
        operation
    }

    /// A job that is due at once, accepted.
    pub(crate) async fn due_job(&self, key: &str) -> JobId {
        self.accept(due(key)).await
    }

    /// A job that is due at once, leased by this engine.
    pub(crate) async fn leased_job(&self, engine: &Engine, key: &str) -> Job {
        let id = self.due_job(key).await;
        lease_one(engine, id).await
    }

    pub(crate) async fn accept(&self, submission: Submission) -> JobId {
        let answers = self.engine("door").accept(vec![submission]).await.unwrap();
        new_id(&answers[0])
    }
}

/// Leases everything that is due and returns this job, which must be among it.
pub(crate) async fn lease_one(engine: &Engine, id: JobId) -> Job {
    let leased = engine
        .lease_due(JobKind::Reconciliation, 1_000)
        .await
        .unwrap();
    leased.into_iter().find(|job| job.id == id).unwrap()
}

pub(crate) fn new_id(answer: &Acceptance) -> JobId {
    match answer {
        Acceptance::New(id) => *id,
        Acceptance::Known(..) | Acceptance::Refused(_) => panic!("{answer:?}"),
    }
}

/// A job that is due as soon as it is accepted.
pub(crate) fn due(key: &str) -> Submission {
    let payload =
        format!(r#"{{"version":1,"channel":"wechat_pay","statements":["wechat_pay/{key}.csv"]}}"#);
    submission(JobKind::Reconciliation.as_str(), key, payload.as_bytes())
}

/// A job that is due at `run_at`.
pub(crate) fn due_at(key: &str, run_at: &str) -> Submission {
    let payload = format!(r#"{{"version":1,"order_no":"SO-{key}","expires_at":"{run_at}"}}"#);
    submission(JobKind::OrderExpiry.as_str(), key, payload.as_bytes())
}

pub(crate) fn submission(kind: &str, key: &str, payload: &[u8]) -> Submission {
    Submission {
        kind: kind.to_owned(),
        idempotency_key: Some(key.to_owned()),
        payload: payload.to_vec(),
        source: Source::Http,
        fault: None,
    }
}

/// A bell that counts how often it rang.
#[derive(Debug, Default)]
pub(crate) struct HeardBell(Mutex<BTreeMap<JobKind, u32>>);

impl HeardBell {
    /// How often it rang for this kind since it was asked last.
    pub(crate) fn take(&self, kind: JobKind) -> u32 {
        self.0.lock().unwrap().remove(&kind).unwrap_or(0)
    }
}

impl Bell for HeardBell {
    fn ring(&self, kind: JobKind) {
        *self.0.lock().unwrap().entry(kind).or_default() += 1;
    }
}
