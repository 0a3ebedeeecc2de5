//! The jobs carried out: load, decide, act, record. One straight line each.
//!
//! A worker decides nothing itself (`domain/` does) and commits nothing itself (its [`Run`] does,
//! under the lease). It proves its end by returning [`Finished`].

mod authorizing;
mod booking;
mod calls;
mod deferred_authorization;
pub mod messages;
mod money;
mod order_expiry;
mod partner_notification;
mod reconciliation;
mod settlement_run;
mod suspense;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clearday_jobs::{ChannelName, Payload};
use tokio::sync::Semaphore;

use crate::config::Approvals;
use crate::connectors::messages::Messages;
use crate::connectors::{Banks, Channels};
use crate::domain::deferred_authorization::ChargingRules;
use crate::domain::partner_notification::PayLinkTemplate;
use crate::engine::{Finished, Handler, Run, WorkError};

pub use settlement_run::{
    PlanError, Scope, end_to_end_id as payout_reference, preview as preview_settlements,
};

/// What workers need of the outside.
#[derive(Clone, Debug)]
pub struct Workbench {
    /// The payment channels.
    pub channels: Arc<Channels>,
    /// The ways to send messages.
    pub messages: Arc<Messages>,
    /// Where partners pay; without it nobody is asked to.
    pub pay_link: Option<PayLinkTemplate>,
    /// The banks.
    pub banks: Arc<Banks>,
    /// By channel, what a bank's statement says where the channel deposits what it owes.
    pub deposit_texts: Arc<BTreeMap<ChannelName, String>>,
    /// How the seller charges payment methods.
    pub charging: Arc<ChargingRules>,
    /// From which amounts on people must agree.
    pub approvals: Arc<Approvals>,
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
        Payload::SettlementRun(asked) => settlement_run::run(bench, &run, &asked).await,
        Payload::PartnerNotification(asked) => partner_notification::run(bench, &run, &asked).await,
    }
}
