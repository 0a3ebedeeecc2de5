//! `/v1/jobs`: submit, list, look at, retry, cancel.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::{CONTENT_ENCODING, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use clearday_jobs::{JobId, PAYLOAD_BYTES_MAX};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::access::Parameters;
use super::auth::Caller;
use super::paging::{Limit, Page};
use super::problem::{Problem, ProblemKind};
use super::view::{JobDetail, JobView, KindName, StateName, TimelineView};
use crate::domain::job::{Job, JobState};
use crate::engine::{Acceptance, Engine, Source, Submission};
use crate::store::StoreError;
use crate::store::jobs::{self, JobFilter};

/// The largest body that is read. Above [`PAYLOAD_BYTES_MAX`] a payload is refused and kept, so
/// that somebody can look at it; what is larger than this is not even read.
pub(super) const BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX * 4;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A job that is durable.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Accepted)]
pub(super) struct Accepted {
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
    /// Where it is in its life.
    #[schema(value_type = StateName)]
    state: &'static str,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobList)]
pub(super) struct JobList {
    /// The newest first.
    pub(super) jobs: Vec<JobView>,
    /// What to give as `before` for the page after this one; null on the last page.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(super) next: Option<JobId>,
}

/// Submits a job.
///
/// When this answers 202 or 200 the job is durable. The same key with the same payload is the same
/// job; with another payload it is refused. Send it again with the same key whenever an answer is
/// lost. The body is JSON whatever its `Content-Type` says. The key is taken as it stands in the
/// header, so it is the same key that Redis or the command line would carry.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job}",
    tag = "jobs",
    operation_id = "submit_job",
    params(
        ("job" = KindName, Path, description = "The kind of job."),
        ("Idempotency-Key" = String, Header, description = "Names this piece of work: 1 to 255 characters."),
    ),
    request_body(content = Object, description = "The payload of the kind. At most 262,144 bytes."),
    responses(
        (status = 202, description = "Accepted, and durable.", body = Accepted, headers(("Location" = String, description = "Where the job can be looked at."))),
        (status = 200, description = "Known before with the same payload.", body = Accepted),
        (status = 400, description = "No idempotency key, or a bad one."),
        (status = 404, description = "Unknown kind."),
        (status = 409, description = "The key belongs to a job with another payload."),
        (status = 413, description = "The payload is too large."),
        (status = 415, description = "A content encoding other than `identity`."),
        (status = 422, description = "The payload is refused; `field` names where."),
        (status = 503, description = "Nothing was acknowledged; try again."),
    )
)]
pub(super) async fn submit(
    State(api): State<Api>,
    Path(kind): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    refuse_encoded(&headers)?;
    let (idempotency_key, fault) = idempotency_key(&headers);
    let submission = Submission {
        kind,
        idempotency_key,
        payload: body.map_err(|rejection| refuse_body(&rejection))?.into(),
        source: Source::Http,
        fault,
    };
    let answers = api.engine.accept(vec![submission]).await?;
    match answers.into_iter().next() {
        Some(Acceptance::New(id)) => Ok(accepted(StatusCode::ACCEPTED, id, JobState::Ready)),
        Some(Acceptance::Known(id, state)) => Ok(accepted(StatusCode::OK, id, state)),
        Some(Acceptance::Refused(refusal)) => Err(refusal.into()),
        None => Err(Problem::internal("accept a job", &"no answer")),
    }
}

fn accepted(status: StatusCode, job_id: JobId, state: JobState) -> Response {
    let location = [(LOCATION, format!("/v1/jobs/{job_id}"))];
    let state = state.as_str();
    (status, location, Json(Accepted { job_id, state })).into_response()
}

/// The key as it was sent, and what is wrong with it that the engine could not see any more.
fn idempotency_key(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else {
        return (None, None);
    };
    let text = String::from_utf8_lossy(key.as_bytes()).into_owned();
    let fault = if keys.next().is_some() {
        Some("the idempotency key is given twice")
    } else if std::str::from_utf8(key.as_bytes()).is_err() {
        Some("the idempotency key is not UTF-8")
    } else {
        None
    };
    (Some(text), fault.map(ToOwned::to_owned))
}

pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(Problem::new(
            ProblemKind::UnsupportedEncoding,
            "the body must not be compressed",
        )
        .about("Content-Encoding")),
        Some(_) | None => Ok(()),
    }
}

fn refuse_body(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("the payload may have {PAYLOAD_BYTES_MAX} bytes; it was not read");
        return Problem::new(ProblemKind::PayloadTooLarge, detail);
    }
    Problem::new(ProblemKind::MalformedRequest, rejection.body_text())
}

/// Lists jobs, the newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    operation_id = "list_jobs",
    params(
        ("kind" = Option<KindName>, Query, description = "Only this kind."),
        ("state" = Option<StateName>, Query, description = "Only this state."),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 where it is not given.", minimum = 1, maximum = 200),
        ("before" = Option<String>, Query, description = "The `next` of the page before.", format = "uuid"),
    ),
    responses(
        (status = 200, description = "A page of jobs.", body = JobList),
        (status = 400, description = "An unknown or bad query parameter."),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Json<JobList>, Problem> {
    let (filter, limit) = (filter_of(&parameters)?, Limit::of(&parameters)?);
    let page = load_page(&api.engine, &filter, limit).await?;
    Ok(Json(JobList {
        jobs: page.rows.into_iter().map(Into::into).collect(),
        next: page.next,
    }))
}

/// One page of jobs.
pub(super) async fn load_page(
    engine: &Engine,
    filter: &JobFilter,
    limit: Limit,
) -> Result<Page<Job, JobId>, StoreError> {
    let mut tx = engine.store().read().await?;
    let found = jobs::list(&mut tx, filter, limit.to_load()).await?;
    Ok(Page::cut(found, limit, |job| job.id))
}

pub(super) fn filter_of(parameters: &Parameters) -> Result<JobFilter, Problem> {
    Ok(JobFilter {
        kind: parameters.read("kind")?,
        state: parameters.read("state")?,
        before: parameters.read("before")?.map(JobId),
    })
}

/// Shows one job: what is asked, what happened, and why it waits.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job}",
    tag = "jobs",
    operation_id = "show_job",
    params(("job" = String, Path, description = "The job's id.", format = "uuid")),
    responses(
        (status = 200, description = "The job.", body = JobDetail),
        (status = 404, description = "No such job."),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Path(job): Path<String>,
) -> Result<Json<JobDetail>, Problem> {
    let id = job_id(&job)?;
    let detail = JobDetail::load(&api.engine, id).await?;
    detail.map(Json).ok_or_else(|| no_such_job(&job))
}

/// Shows what happened to a job, also to one that was pruned while its history stays.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job}/timeline",
    tag = "jobs",
    operation_id = "show_timeline",
    params(("job" = String, Path, description = "The job's id.", format = "uuid")),
    responses(
        (status = 200, description = "Its history.", body = TimelineView),
        (status = 404, description = "Nothing is known of such a job."),
    )
)]
pub(super) async fn timeline(
    State(api): State<Api>,
    Path(job): Path<String>,
) -> Result<Json<TimelineView>, Problem> {
    let found = TimelineView::load(&api.engine, job_id(&job)?).await?;
    found.map(Json).ok_or_else(|| no_such_job(&job))
}

/// Makes a waiting, dead or cancelled job due now, with all its attempts again.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job}/retry",
    tag = "jobs",
    operation_id = "retry_job",
    params(("job" = String, Path, description = "The job's id.", format = "uuid")),
    responses(
        (status = 200, description = "The job, due.", body = JobView),
        (status = 404, description = "No such job."),
        (status = 409, description = "It is running or done."),
    )
)]
pub(super) async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Result<Json<JobView>, Problem> {
    let job = api.engine.retry(job_id(&job)?, &caller.name).await?;
    Ok(Json(job.into()))
}

/// Withdraws a job: at once when it waits or is dead, when its worker lets go if it runs.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job}/cancel",
    tag = "jobs",
    operation_id = "cancel_job",
    params(("job" = String, Path, description = "The job's id.", format = "uuid")),
    responses(
        (status = 200, description = "The job: `cancelled`, or `cancelling` while it runs.", body = JobView),
        (status = 404, description = "No such job."),
        (status = 409, description = "It is done or cancelled, or a call of it has no proved outcome yet."),
    )
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Result<Json<JobView>, Problem> {
    let job = api.engine.cancel(job_id(&job)?, &caller.name).await?;
    Ok(Json(job.into()))
}

/// What is no id cannot be found either.
pub(super) fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map(JobId).map_err(|_| no_such_job(text))
}

pub(super) fn no_such_job(text: &str) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no job {text}"))
}
