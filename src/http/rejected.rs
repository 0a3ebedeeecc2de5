//! `/v1/rejected_submissions`: what was refused at the door, with its bytes and the reason; and sent anew, mended.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use clearday_jobs::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use super::access::Parameters;
use super::approvals::read_body;
use super::auth::Caller;
use super::paging::{Limit, Page};
use super::problem::{Problem, ProblemKind};
use super::view::RejectionView;
use crate::engine::{Engine, Mended, Source};
use crate::store::StoreError;
use crate::store::rejections::{self, RejectionPreview};

/// A page of refused submissions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RejectedSubmissionList)]
pub(super) struct RejectionList {
    /// The newest first; `raw` is cut after 2,000 bytes.
    rejected_submissions: Vec<RejectionView>,
    /// What to give as `before` for the page after this one; null on the last page.
    #[schema(value_type = Option<String>, format = "uuid")]
    next: Option<Uuid>,
}

/// Lists refused submissions, the newest first.
#[utoipa::path(
    get,
    path = "/v1/rejected_submissions",
    tag = "rejected_submissions",
    operation_id = "list_rejected_submissions",
    params(
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 where it is not given.", minimum = 1, maximum = 200),
        ("before" = Option<String>, Query, description = "The `next` of the page before.", format = "uuid"),
    ),
    responses(
        (status = 200, description = "A page of refused submissions.", body = RejectionList),
        (status = 400, description = "An unknown or bad query parameter."),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Json<RejectionList>, Problem> {
    let (before, limit) = (parameters.read("before")?, Limit::of(&parameters)?);
    let page = load_page(&api.engine, before, limit).await?;
    Ok(Json(RejectionList {
        rejected_submissions: page.rows.into_iter().map(Into::into).collect(),
        next: page.next,
    }))
}

/// One page of refused submissions.
pub(super) async fn load_page(
    engine: &Engine,
    before: Option<Uuid>,
    limit: Limit,
) -> Result<Page<RejectionPreview, Uuid>, StoreError> {
    let mut tx = engine.store().read().await?;
    let found = rejections::list_previews(&mut tx, before, limit.to_load()).await?;
    Ok(Page::cut(found, limit, |preview| preview.rejection.id))
}

/// Shows one refused submission with everything that was sent.
#[utoipa::path(
    get,
    path = "/v1/rejected_submissions/{id}",
    tag = "rejected_submissions",
    operation_id = "show_rejected_submission",
    params(("id" = String, Path, description = "The refused submission's id.", format = "uuid")),
    responses(
        (status = 200, description = "The refused submission.", body = RejectionView),
        (status = 404, description = "No such refused submission."),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<RejectionView>, Problem> {
    let none = || {
        let detail = format!("there is no rejected submission {id}");
        Problem::new(ProblemKind::NotFound, detail)
    };
    let uuid: Uuid = id.parse().map_err(|_| none())?;
    let mut tx = api.engine.store().read().await.map_err(Problem::from)?;
    let found = rejections::find(&mut tx, uuid).await?;
    found.map(|found| Json(found.into())).ok_or_else(none)
}

/// What is sent in the place of a refused submission.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mend {
    /// Another kind; left out: the one it named.
    #[serde(default)]
    kind: Option<String>,
    /// Another key; left out: the one it carried.
    #[serde(default)]
    idempotency_key: Option<String>,
    /// The payload as it should have been.
    #[schema(value_type = Object)]
    payload: Value,
}

/// The job that does what a refused submission asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MendedSubmission)]
pub(super) struct MendedView {
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
}

/// Submits anew, mended, what had been refused. A refused submission is mended once.
#[utoipa::path(
    post,
    path = "/v1/rejected_submissions/{id}/mend",
    tag = "rejected_submissions",
    operation_id = "mend_rejected_submission",
    params(("id" = String, Path, description = "The refused submission's id.", format = "uuid")),
    request_body(content = Mend, description = "The payload as it should have been."),
    responses(
        (status = 200, description = "The job, durable.", body = MendedView),
        (status = 404, description = "No such refused submission."),
        (status = 409, description = "It was mended before, or the key belongs to another payload."),
        (status = 422, description = "It is still refused; `field` names where."),
    )
)]
pub(super) async fn mend(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<MendedView>, Problem> {
    let uuid: Uuid = id.parse().map_err(|_| {
        let detail = format!("there is no rejected submission {id}");
        Problem::new(ProblemKind::NotFound, detail)
    })?;
    let Mend {
        kind,
        idempotency_key,
        payload,
    } = read_body(&body)?;
    let mended = Mended {
        kind,
        idempotency_key,
        payload: payload.to_string().into_bytes(),
        source: Source::Http,
    };
    let job_id = api.engine.mend(uuid, mended, &caller.name).await?;
    Ok(Json(MendedView { job_id }))
}
