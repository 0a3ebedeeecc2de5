//! `/healthz`: the process is alive. `/readyz`: what it needs is there, or by name what is not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, join_all};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;

/// Probes wait a second or two; a server that needs longer to answer a ping is not there.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks whether something is there; the error says in a few words why it is not.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Something the daemon needs, and how to ask for it.
#[derive(Clone)]
pub struct ReadinessCheck {
    name: &'static str,
    check: Check,
}

impl ReadinessCheck {
    /// A named check: `redis`.
    pub fn new(name: &'static str, check: Check) -> Self {
        Self { name, check }
    }
}

impl fmt::Debug for ReadinessCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadinessCheck")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Whether the daemon can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Whether everything it needs is there.
    ready: bool,
    /// What it needs.
    checks: Vec<CheckResult>,
}

/// One thing the daemon needs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckResult {
    /// What: `database`, `redis`.
    name: &'static str,
    /// Whether it is there.
    ok: bool,
    /// Which one, or why not.
    detail: String,
}

/// Says that the process is alive; asks nobody.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    operation_id = "healthz",
    responses((status = 200, description = "Alive.", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether what the daemon needs is there.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    operation_id = "readyz",
    responses(
        (status = 200, description = "Ready.", body = Readiness),
        (status = 503, description = "Not ready; `checks` says what is missing.", body = Readiness),
    )
)]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let others = api.checks.iter().map(|check| async {
        let outcome = bounded((check.check)()).await;
        result_of(check.name, "answers", outcome)
    });
    let (database, others) = futures::join!(check_database(&api), join_all(others));
    let checks: Vec<CheckResult> = std::iter::once(database).chain(others).collect();
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, checks })).into_response()
}

async fn check_database(api: &Api) -> CheckResult {
    let store = api.engine.store();
    let outcome = bounded(async {
        let checked = store.check_schema().await;
        checked.map_err(|error| error.to_string())
    });
    result_of("database", store.dialect(), outcome.await)
}

async fn bounded(check: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
    }
}

fn result_of(name: &'static str, fine: &str, outcome: Result<(), String>) -> CheckResult {
    CheckResult {
        name,
        ok: outcome.is_ok(),
        detail: outcome.err().unwrap_or_else(|| fine.to_owned()),
    }
}
