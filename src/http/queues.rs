//! `/v1/queues`: how the queue of each kind stands; pause it, resume it.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use chrono::{DateTime, Utc};
use clearday_jobs::JobKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::approvals::read_body;
use super::auth::Caller;
use super::problem::{Problem, ProblemKind};
use super::view::KindName;
use crate::engine::QueueFigures;
use crate::store::daemons::DaemonSeen;
use crate::store::queues::Pause;

/// How the queue of one kind stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueView {
    /// The kind; a kind is its own queue.
    #[schema(value_type = KindName)]
    pub kind: JobKind,
    /// That nobody takes its jobs, and why; null while daemons do.
    pub paused: Option<PauseView>,
    /// How many jobs are in each state, counted up to 100,000.
    pub jobs: BTreeMap<&'static str, i64>,
    /// Since when the longest waiting due job has been due; null when none is.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_since: Option<DateTime<Utc>>,
    /// For how long that is.
    pub latency_seconds: Option<u64>,
}

/// Who paused a queue, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Pause)]
pub struct PauseView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: DateTime<Utc>,
    /// Who wished it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

/// A daemon that is at work.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Daemon)]
pub struct DaemonView {
    /// The name it leases under, new at every start.
    pub worker: String,
    /// Its release.
    pub version: String,
    /// When it was first heard of.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: DateTime<Utc>,
}

/// Every queue, and who works on them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct QueueList {
    /// One for each kind.
    pub queues: Vec<QueueView>,
    /// The daemons that were heard of within the last minute.
    pub daemons: Vec<DaemonView>,
}

/// What somebody who pauses a queue must say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseWish {
    /// Why: 1 to 500 characters.
    pub(super) reason: String,
}

impl From<QueueFigures> for QueueView {
    fn from(figures: QueueFigures) -> Self {
        let jobs = figures.counts.iter();
        Self {
            kind: figures.kind,
            jobs: jobs
                .map(|(state, count)| (state.as_str(), *count))
                .collect(),
            due_since: figures.due_since,
            latency_seconds: figures.latency.map(|latency| latency.as_secs()),
            paused: figures.pause.map(Into::into),
        }
    }
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self {
            since: pause.paused_at,
            by: pause.paused_by,
            reason: pause.reason,
        }
    }
}

impl From<DaemonSeen> for DaemonView {
    fn from(daemon: DaemonSeen) -> Self {
        Self {
            worker: daemon.name,
            version: daemon.release_version,
            started_at: daemon.started_at,
            seen_at: daemon.seen_at,
        }
    }
}

/// Lists the queues, with the age of the oldest due job beside their size, and the daemons at work.
#[utoipa::path(
    get,
    path = "/v1/queues",
    tag = "queues",
    operation_id = "list_queues",
    responses((status = 200, description = "Every queue.", body = QueueList))
)]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<QueueList>, Problem> {
    let queues = api.engine.queues().await?;
    let mut tx = api.engine.store().read().await?;
    let daemons = api.engine.daemons(&mut tx).await?;
    Ok(Json(QueueList {
        queues: queues.into_iter().map(Into::into).collect(),
        daemons: daemons.into_iter().map(Into::into).collect(),
    }))
}

/// Stops the leasing of a kind on every daemon. What runs goes on to its end, and submissions are still accepted. A
/// queue that is paused already stays as it is.
#[utoipa::path(
    post,
    path = "/v1/queues/{kind}/pause",
    tag = "queues",
    operation_id = "pause_queue",
    params(("kind" = KindName, Path, description = "The kind of job.")),
    request_body(content = PauseWish, description = "Why."),
    responses(
        (status = 200, description = "The queue, paused.", body = QueueView),
        (status = 404, description = "Unknown kind."),
        (status = 422, description = "No reason, or a bad one."),
    )
)]
pub(super) async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(kind): Path<String>,
    body: Bytes,
) -> Result<Json<QueueView>, Problem> {
    let kind = kind_of(&kind)?;
    let wish: PauseWish = read_body(&body)?;
    let queue = api.engine.pause(kind, &wish.reason, &caller.name).await?;
    Ok(Json(queue.into()))
}

/// Lets daemons lease a kind again, at once. A queue that is not paused stays as it is.
#[utoipa::path(
    post,
    path = "/v1/queues/{kind}/resume",
    tag = "queues",
    operation_id = "resume_queue",
    params(("kind" = KindName, Path, description = "The kind of job.")),
    responses(
        (status = 200, description = "The queue.", body = QueueView),
        (status = 404, description = "Unknown kind."),
    )
)]
pub(super) async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(kind): Path<String>,
) -> Result<Json<QueueView>, Problem> {
    let queue = api.engine.resume(kind_of(&kind)?, &caller.name).await?;
    Ok(Json(queue.into()))
}

/// The kind whose queue an address names.
pub(super) fn kind_of(text: &str) -> Result<JobKind, Problem> {
    let unknown = |error: clearday_jobs::UnknownKind| {
        Problem::new(ProblemKind::UnknownKind, error.to_string()).about("kind")
    };
    text.parse().map_err(unknown)
}
