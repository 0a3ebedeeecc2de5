//! A hundred workers at one queue, on Postgres only: SQLite has one writer.
#![cfg(test)]

use std::collections::HashSet;

use clearday::clock::{Clock, Ids};
use clearday::engine::{Engine, NoBell, Submission};
use clearday::store::Store;
use clearday_jobs::{JobId, JobKind};
use tokio::task::JoinSet;

use crate::support::servers::TestDatabase;
use crate::support::world::{POLICY, due, noon};

const CLAIMERS: u32 = 100;
const JOBS: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_claimers_lease_each_job_once_and_miss_none() {
    let database = TestDatabase::postgres().await;
    let store = Store::connect(database.url(), CLAIMERS).await.unwrap();
    store.migrate().await.unwrap();
    let clock = Clock::manual(noon());
    let ids = Ids::seeded(clock.clone(), 7);
    let engine = |worker: String| {
        let bell = std::sync::Arc::new(NoBell);
        Engine::new(
            store.clone(),
            clock.clone(),
            ids.clone(),
            POLICY,
            worker,
            bell,
        )
    };
    let batch: Vec<Submission> = (0..JOBS).map(|n| due(&n.to_string())).collect();
    engine("door".to_owned()).accept(batch).await.unwrap();

    let mut claimers = JoinSet::new();
    for claimer in 0..CLAIMERS {
        let engine = engine(format!("claimer-{claimer}"));
        claimers.spawn(async move {
            let mut mine: Vec<JobId> = Vec::new();
            loop {
                let leased = match engine.lease_due(JobKind::Reconciliation, 17).await {
                    Ok(leased) => leased,
                    // So many share a few connections.
                    Err(error) if error.is_retryable() => continue,
                    Err(error) => panic!("{error}"),
                };
                if leased.is_empty() {
                    return mine;
                }
                for job in leased {
                    assert_eq!(job.lease.unwrap().worker, engine.worker());
                    assert_eq!(job.lease_epoch, 1);
                    mine.push(job.id);
                }
            }
        });
    }
    let leased: Vec<JobId> = claimers.join_all().await.concat();
    assert_eq!(leased.len(), JOBS);
    assert_eq!(leased.iter().collect::<HashSet<_>>().len(), JOBS);
    store.close().await;
}
