//! HTTP: submit, look at and operate jobs; approve; a page for people; health and metrics for machines.
//!
//! Nothing is decided here: requests become calls of the engine, and its answers become JSON or a
//! page. Every request passes the guard in `access.rs` first, and every error leaves as RFC 9457
//! describes it, or as a page where a browser asks.

mod access;
mod approvals;
mod auth;
mod bulk;
mod health;
mod jobs;
mod metrics;
mod openapi;
mod page;
mod paging;
mod problem;
mod queues;
mod records;
mod rejected;
mod session;
mod settlements;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Router, middleware};
use chrono_tz::Tz;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;
use tracing::debug;

pub use access::{Access, ROUTES, Rule};
pub use approvals::{ApprovalView, SignatureView};
pub use auth::{ListenError, check_listen};
pub use bulk::{BulkAnswer, DeadGroupView, DeadLetterList, RefusalView};
pub use health::{Check, ReadinessCheck};
pub use openapi::openapi_json;
pub use queues::{DaemonView, PauseView, QueueList, QueueView};
pub use settlements::{
    AmountsView, InstructionView, OfflinePaymentView, PartView, ProgressView, SettlementDetail,
    SettlementEventView, SettlementView,
};
pub use view::{
    EventView, JobDetail, JobView, LeaseView, NoticeDetail, OperationDetail, PrunedView,
    RejectionView, TimelineView, WaitingView,
};

use auth::People;

use crate::config::Person;
use crate::domain::settlement_run::public::BankDays;
use crate::engine::Engine;

/// A request that takes longer is given up. Above the database's own time-outs, so that these
/// answer first and name the cause; below the time a stopping daemon has to finish its requests.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// What the pages say about this daemon.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Shown on every page, so that nobody takes production for a trial: `demo`, `production`.
    pub environment: String,
    /// What carries submissions and wake-ups: `redis` or `in-process`.
    pub queue: &'static str,
    /// The zone in which the pages tell the time.
    pub zone: Tz,
    /// Until when banks take orders.
    pub banks: BankDays,
}

/// What every handler may use; cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    engine: Engine,
    people: People,
    checks: Arc<[ReadinessCheck]>,
    facts: Arc<Facts>,
    description: Arc<Value>,
    /// Room for bodies of records.
    imports: Arc<Semaphore>,
}

impl Api {
    /// The API over an engine. `checks` are asked by `/readyz` beside the database.
    pub fn new(
        engine: Engine,
        people: Vec<Person>,
        checks: Vec<ReadinessCheck>,
        facts: Facts,
    ) -> Self {
        let description = openapi::describe(openapi::api_router().into_openapi());
        Self {
            engine,
            people: People::new(people),
            checks: checks.into(),
            facts: Arc::new(facts),
            description: Arc::new(description),
            imports: Arc::new(Semaphore::new(records::IMPORTS_MAX)),
        }
    }
}

/// Every route, behind the guard.
pub fn router(api: Api) -> Router {
    let (described, _) = openapi::api_router().split_for_parts();
    described
        .route("/openapi.json", get(openapi::serve))
        .route("/", get(page::overview))
        .route("/jobs", get(page::jobs))
        .route("/jobs/{job}", get(page::job))
        .route("/jobs/{job}/retry", post(page::retry))
        .route("/jobs/{job}/cancel", post(page::cancel))
        .route("/jobs/{job}/snooze", post(page::operating::snooze))
        .route("/queues/{kind}/pause", post(page::operating::pause))
        .route("/queues/{kind}/resume", post(page::operating::resume))
        .route("/dead_letters", get(page::operating::dead_letters))
        .route("/dead_letters/retry", post(page::operating::replay))
        .route("/rejected_submissions", get(page::rejected))
        .route("/breaks", get(page::breaks::list))
        .route("/approvals", get(page::approvals::list))
        .route("/approvals/{id}/approve", post(page::approvals::approve))
        .route("/approvals/{id}/reject", post(page::approvals::reject))
        .route("/settlements", get(page::settlements::list))
        .route("/settlements/{id}", get(page::settlements::show))
        .route("/login", get(session::form).post(session::sign_in))
        .route("/logout", post(session::sign_out))
        .route("/style.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .layer(DefaultBodyLimit::max(jobs::BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(api.clone(), access::guard))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .layer(middleware::from_fn_with_state(api.clone(), page::finish))
        .with_state(api)
}

/// Answers requests until `shutdown`, and then finishes those that are under way. A connection
/// that never comes to the end of its request is cut when every honest one has been answered.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    // Answers are small: waiting for more to send costs every one of them 40 ms.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            debug!(error = %error, "Could not switch off Nagle's algorithm");
        }
    });
    let stopping = shutdown.clone();
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(stopping.cancelled_owned())
        .into_future();
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(REQUEST_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served,
        () = overdue => Ok(()),
    }
}
