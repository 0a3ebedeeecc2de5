//! The jobs carried out: load, decide, act, record. One straight line each.
//!
//! A worker decides nothing itself (`domain/` does) and commits nothing itself (its [`Run`] does,
//! under the lease). It proves its end by returning [`Finished`].

mod authorizing;
mod booking;
mod calls;
mod deferred_authorization;
mod money;
mod order_expiry;
mod reconciliation;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clearday_jobs::{ChannelName, Payload};
use tokio::sync::Semaphore;

use crate::connectors::{Banks, Channels};
use crate::domain::deferred_authorization::ChargingRules;
use crate::engine::{Finished, Handler, Run, WorkError};

/// What workers need of the outside.
#[derive(Clone, Debug)]
pub struct Workbench {
    /// The payment channels.
    pub channels: Arc<Channels>,
    /// The banks.
    pub banks: Arc<Banks>,
    /// By channel, what a bank's statement says where the channel deposits what it owes.
    pub deposit_texts: Arc<BTreeMap<ChannelName, String>>,
    /// How the seller charges payment methods.
    pub charging: Arc<ChargingRules>,
    /// Where statement files are put for reconciliation.
    pub statements: PathBuf,
    /// Room for work that holds much memory or keeps a core busy.
    pub heavy: Arc<Semaphore>,
}

/// The handler of every kind that this release carries out.
pub fn handler(bench: Workbench) -> Handler {
    Handler::new(move |run| {
        let bench = bench.clone();
        Box::pin(async move { carry_out(&bench, run).await })
    })
}

async fn carry_out(bench: &Workbench, run: Run) -> Result<Finished, WorkError> {
    let job = run.job();
    let payload = Payload::parse(job.kind, &job.payload)
        .map_err(|error| WorkError::Invalid(error.to_string()))?;
    match payload {
        Payload::OrderExpiry(asked) => order_expiry::run(bench, &run, &asked).await,
        Payload::Reconciliation(asked) => reconciliation::run(bench, &run, &asked).await,
        Payload::DeferredAuthorization(asked) => {
            deferred_authorization::run(bench, &run, &asked).await
        }
        Payload::SettlementRun(_) | Payload::PartnerNotification(_) => Err(WorkError::Invalid(
            format!("this release has no worker for {}", job.kind),
        )),
    }
}
