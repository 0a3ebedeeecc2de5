//! `/v1/approvals`: what people are asked to agree on; sign it or refuse it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{ApprovalId, JobId, MerchantId, Money};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::access::Parameters;
use super::auth::Caller;
use super::paging::{Limit, Page};
use super::problem::{Problem, ProblemKind};
use super::view::{ApprovalActionName, ApprovalStateName};
use crate::domain::approval::{Approval, Signature};
use crate::engine::{ApprovalError, Engine, Signer};
use crate::store::StoreError;
use crate::store::approvals::{self, ApprovalFilter};

/// A request for the agreement of people.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Approval)]
pub struct ApprovalView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub approval_id: ApprovalId,
    /// What is to be approved.
    #[schema(value_type = ApprovalActionName)]
    pub action: &'static str,
    /// About what.
    pub subject: String,
    /// Everything there is to see before deciding.
    #[schema(value_type = Object)]
    pub shown: Value,
    /// SHA-256 of the canonical JSON of `shown`: what a signature is bound to.
    pub digest: String,
    /// Whose money it is.
    #[schema(value_type = Option<String>)]
    pub merchant_id: Option<MerchantId>,
    /// The account that is paid.
    pub payee: Option<String>,
    /// How much, in major units.
    pub amount: Option<String>,
    /// The amount's ISO 4217 code.
    pub currency: Option<&'static str>,
    /// The day on which money is to move.
    #[schema(value_type = Option<String>, format = "date")]
    pub value_on: Option<NaiveDate>,
    /// Whose agreement is needed: `two_people`, or `below_limit` where nobody was asked.
    pub rule: &'static str,
    /// Where it is in its life.
    #[schema(value_type = ApprovalStateName)]
    pub state: &'static str,
    /// Who signed first.
    pub maker: Option<SignatureView>,
    /// Who signed second.
    pub checker: Option<SignatureView>,
    /// Who refused.
    pub rejected_by: Option<String>,
    /// Why it was refused, superseded, or approved by nobody.
    pub reason: Option<String>,
    /// Who must act; null when it is decided.
    pub waits_for: Option<String>,
    /// The job that waits for the decision.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub job_id: Option<JobId>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: DateTime<Utc>,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

/// Somebody's name under something.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Signature)]
pub struct SignatureView {
    /// Who, as `[[people]]` names them.
    pub person: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: DateTime<Utc>,
}

impl From<Signature> for SignatureView {
    fn from(signature: Signature) -> Self {
        Self {
            person: signature.person,
            at: signature.at,
        }
    }
}

impl From<Approval> for ApprovalView {
    fn from(approval: Approval) -> Self {
        let amount = approval.amount;
        Self {
            approval_id: approval.id,
            action: approval.action.as_str(),
            waits_for: approval.waits_for(),
            subject: approval.subject,
            // Nothing is hidden: people sign what they see, and the digest is of all of it.
            shown: serde_json::from_str(&approval.shown)
                .unwrap_or_else(|_| Value::from(approval.shown)),
            digest: approval.digest,
            merchant_id: approval.merchant_id,
            payee: approval.payee,
            amount: amount.map(Money::to_major_string),
            currency: amount.map(|amount| amount.currency().code()),
            value_on: approval.value_on,
            rule: approval.rule.as_str(),
            state: approval.state.as_str(),
            maker: approval.maker.map(Into::into),
            checker: approval.checker.map(Into::into),
            rejected_by: approval.rejected_by,
            reason: approval.reason,
            job_id: approval.job_id,
            requested_at: approval.requested_at,
            updated_at: approval.updated_at,
        }
    }
}

/// A page of approvals.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApprovalList)]
pub(super) struct ApprovalList {
    /// The newest first.
    approvals: Vec<ApprovalView>,
    /// What to give as `before` for the page after this one; null on the last page.
    #[schema(value_type = Option<String>, format = "uuid")]
    next: Option<ApprovalId>,
}

/// What a person who approves may say.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    /// The `digest` of what the person saw: the signature is refused where it differs.
    #[serde(default)]
    pub(super) digest: Option<String>,
}

/// What a person who rejects must say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    /// Why: 1 to 500 characters.
    pub(super) reason: String,
}

/// Lists approvals, the newest first.
#[utoipa::path(
    get,
    path = "/v1/approvals",
    tag = "approvals",
    operation_id = "list_approvals",
    params(
        ("state" = Option<ApprovalStateName>, Query, description = "Only this state."),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 where it is not given.", minimum = 1, maximum = 200),
        ("before" = Option<String>, Query, description = "The `next` of the page before.", format = "uuid"),
    ),
    responses(
        (status = 200, description = "A page of approvals.", body = ApprovalList),
        (status = 400, description = "An unknown or bad query parameter."),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Json<ApprovalList>, Problem> {
    let (filter, limit) = (filter_of(&parameters)?, Limit::of(&parameters)?);
    let page = load_page(&api.engine, filter, limit).await?;
    Ok(Json(ApprovalList {
        approvals: page.rows.into_iter().map(Into::into).collect(),
        next: page.next,
    }))
}

/// One page of approvals.
pub(super) async fn load_page(
    engine: &Engine,
    filter: ApprovalFilter,
    limit: Limit,
) -> Result<Page<Approval, ApprovalId>, StoreError> {
    let mut tx = engine.store().read().await?;
    let found = approvals::list(&mut tx, filter, limit.to_load()).await?;
    Ok(Page::cut(found, limit, |approval| approval.id))
}

pub(super) fn filter_of(parameters: &Parameters) -> Result<ApprovalFilter, Problem> {
    Ok(ApprovalFilter {
        state: parameters.read("state")?,
        before: parameters.read("before")?.map(ApprovalId),
    })
}

/// Shows one approval: what is to be seen, who signed, who must act.
#[utoipa::path(
    get,
    path = "/v1/approvals/{id}",
    tag = "approvals",
    operation_id = "show_approval",
    params(("id" = String, Path, description = "The approval's id.", format = "uuid")),
    responses(
        (status = 200, description = "The approval.", body = ApprovalView),
        (status = 404, description = "No such approval."),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Problem> {
    let approval_id = approval_id(&id)?;
    let mut tx = api.engine.store().read().await?;
    let found = approvals::find(&mut tx, approval_id).await?;
    let found = found.ok_or(ApprovalError::NotFound(approval_id))?;
    Ok(Json(found.into()))
}

/// Signs an approval.
///
/// The first person who signs becomes its maker; a second, another person, approves it. Two tokens
/// of one person are one person. What is approved is what `shown` says, to the letter: a change
/// afterwards is another approval, which supersedes this one.
#[utoipa::path(
    post,
    path = "/v1/approvals/{id}/approve",
    tag = "approvals",
    operation_id = "approve",
    params(("id" = String, Path, description = "The approval's id.", format = "uuid")),
    request_body(content = Option<Approve>, description = "May be left out."),
    responses(
        (status = 200, description = "The approval: `requested` while another person is needed, `approved` after that.", body = ApprovalView),
        (status = 404, description = "No such approval."),
        (status = 409, description = "Signed by the same person, decided already, or the digest differs."),
        (status = 413, description = "The body is too large."),
        (status = 422, description = "The body is refused; `field` names where."),
    )
)]
pub(super) async fn approve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, Problem> {
    let Approve { digest } = if body.trim_ascii().is_empty() {
        Approve::default()
    } else {
        read_body(&body)?
    };
    let approved = sign(&api, &caller, &id, digest.as_deref()).await?;
    Ok(Json(approved.into()))
}

/// Refuses an approval; one person is enough.
#[utoipa::path(
    post,
    path = "/v1/approvals/{id}/reject",
    tag = "approvals",
    operation_id = "reject",
    params(("id" = String, Path, description = "The approval's id.", format = "uuid")),
    request_body(content = Reject),
    responses(
        (status = 200, description = "The approval, `rejected`.", body = ApprovalView),
        (status = 404, description = "No such approval."),
        (status = 409, description = "It is decided already."),
        (status = 413, description = "The body is too large."),
        (status = 422, description = "The body is refused; `field` names where."),
    )
)]
pub(super) async fn reject(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, Problem> {
    let Reject { reason } = read_body(&body)?;
    let rejected = refuse(&api, &caller, &id, &reason).await?;
    Ok(Json(rejected.into()))
}

/// Signs in the caller's name.
pub(super) async fn sign(
    api: &Api,
    caller: &Caller,
    id: &str,
    digest: Option<&str>,
) -> Result<Approval, Problem> {
    let id = approval_id(id)?;
    let signer = signer(api, caller)?;
    Ok(api.engine.sign(id, signer, digest).await?)
}

/// Refuses in the caller's name.
pub(super) async fn refuse(
    api: &Api,
    caller: &Caller,
    id: &str,
    reason: &str,
) -> Result<Approval, Problem> {
    let id = approval_id(id)?;
    let signer = signer(api, caller)?;
    Ok(api.engine.reject(id, signer, reason).await?)
}

/// Whoever is on this machine is nobody in particular, and nobody is not one of two.
fn signer<'c>(api: &Api, caller: &'c Caller) -> Result<Signer<'c>, Problem> {
    if api.people.is_empty() {
        return Err(Problem::new(
            ProblemKind::NoPeople,
            "two different people must approve, and nobody is configured: name them in the settings \
             under [[people]], with the role approver",
        ));
    }
    Ok(Signer {
        name: &caller.name,
        role: caller.role,
    })
}

/// What is no id cannot be found either.
fn approval_id(text: &str) -> Result<ApprovalId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("there is no approval {text}");
        Problem::new(ProblemKind::NotFound, detail)
    })
}

/// A body of JSON, whatever its `Content-Type` says.
fn read_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let refused = |field: &str, detail: &dyn std::fmt::Display| {
        Problem::new(ProblemKind::BadPayload, format!("{field}: {detail}")).about(field)
    };
    // A list would be read as the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(refused("body", &"is not a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let is_place = path != "." && path != "?";
        let field = if is_place { path.as_str() } else { "body" };
        refused(field, error.inner())
    })?;
    json.end().map_err(|error| refused("body", &error))?;
    Ok(read)
}
