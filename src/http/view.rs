//! Jobs, histories and refusals as the API shows them: the outside names of every field.
//!
//! Secrets never pass: payloads, evidence and refused bytes go through `domain/redact.rs`.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};
use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::domain::approval::{ApprovalAction, ApprovalState};
use crate::domain::job::{Job, JobState, Priority};
use crate::domain::mask::mask_target;
use crate::domain::notice::Notice;
use crate::domain::redact::{redact, redact_text};
use crate::domain::settlement_run::SettlementState;
use crate::domain::settlement_run::public::PublicState;
use crate::engine::{Engine, Waiting};
use crate::store::events::TimelineEntry;
use crate::store::operations::OperationView;
use crate::store::rejections::{Rejection, RejectionPreview};
use crate::store::{StoreError, authorizations, events, jobs, notices, operations, retention};

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub job_id: JobId,
    /// What it does.
    #[schema(value_type = KindName)]
    pub kind: JobKind,
    /// Where it is in its life.
    #[schema(value_type = StateName)]
    #[serde(serialize_with = "as_name")]
    pub state: JobState,
    /// How urgent it is among the jobs of its kind: `urgent`, `normal` or `bulk`.
    pub priority: &'static str,
    /// Whose work it is, for fairness.
    pub partition: Option<String>,
    /// The submitter's key.
    pub idempotency_key: String,
    /// Who submitted it.
    pub source: String,
    /// Not run before this instant.
    #[schema(value_type = String, format = DateTime)]
    pub run_at: DateTime<Utc>,
    /// Runs that count so far, the running one included.
    pub attempt: u32,
    /// Buried when this many runs failed.
    pub attempts_max: u32,
    /// How often its lease lapsed in a worker's hands.
    pub rescues: u32,
    /// The worker that holds it.
    pub lease: Option<LeaseView>,
    /// Why it is where it is.
    pub note: String,
    /// What the last failed run said.
    pub last_error: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    /// When its state last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

/// A worker's hold on a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Lease)]
pub struct LeaseView {
    /// The worker; its name is new at every start of a daemon.
    pub worker: String,
    /// Lapses at this instant unless renewed.
    #[schema(value_type = String, format = DateTime)]
    pub until: DateTime<Utc>,
}

/// A job with everything that is known about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobDetail {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// What is asked, with tokens hidden.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// Why it does not move; null when it is done or cancelled.
    pub waiting: Option<WaitingView>,
    /// What upstream waits for: of a `deferred_authorization` that came to its end, the order number, `successful` (`Y`
    /// or `N`), `errors`, `remaining_to_authorize` and `authorizations`; null before, and for other kinds.
    #[schema(value_type = Option<Object>)]
    pub answer: Option<Value>,
    /// Every change of state, the oldest first.
    pub timeline: Vec<EventView>,
    /// The calls to the outside made on its behalf.
    pub operations: Vec<OperationDetail>,
    /// The messages it sees to.
    pub notices: Vec<NoticeDetail>,
}

/// What happened to a job, also to one that was pruned while its history stays.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Timeline)]
pub struct TimelineView {
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    pub job_id: JobId,
    /// What it was; null while it is there.
    pub pruned: Option<PrunedView>,
    /// Every change of state, the oldest first.
    pub timeline: Vec<EventView>,
}

/// What is left of a job that was pruned.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PrunedJob)]
pub struct PrunedView {
    /// What it did.
    #[schema(value_type = KindName)]
    pub kind: JobKind,
    /// The submitter's key.
    pub idempotency_key: String,
    /// How it ended.
    #[schema(value_type = StateName)]
    #[serde(serialize_with = "as_name")]
    pub state: JobState,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: DateTime<Utc>,
    /// When it was pruned.
    #[schema(value_type = String, format = DateTime)]
    pub pruned_at: DateTime<Utc>,
}

/// Why a job does not move.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Waiting)]
pub struct WaitingView {
    /// In a sentence.
    pub reason: String,
    /// When it is looked at again, where that is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<DateTime<Utc>>,
    /// For how many seconds that is.
    pub in_seconds: Option<u64>,
}

/// One change of a job's state.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// The job's version after it: counts the changes.
    pub version: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: DateTime<Utc>,
    /// What happened: `accepted`, `leased`, `finished`, …
    pub event: String,
    /// The state after it.
    #[schema(value_type = StateName)]
    pub state: String,
    /// The attempt it belongs to.
    pub attempt: i64,
    /// The worker that had the job.
    pub worker: Option<String>,
    /// Why.
    pub reason: String,
}

/// A call that changes the outside world, written down before it was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationDetail {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub operation_id: Uuid,
    /// What it asked for: `close`.
    pub kind: String,
    /// Of whom.
    pub channel: String,
    /// About what.
    pub reference: String,
    /// Grows when a new key is used, which takes proof that the old one is dead.
    pub generation: i64,
    /// Sent along, so that the channel recognises a repetition.
    pub idempotency_key: String,
    /// What is known: `intended`, `succeeded`, `declined` or `unknown`.
    pub state: String,
    /// In a sentence.
    pub detail: String,
    /// What proves it.
    #[schema(value_type = Option<Object>)]
    pub evidence: Option<Value>,
    /// When it was written down.
    #[schema(value_type = String, format = DateTime)]
    pub intended_at: DateTime<Utc>,
    /// When something was last learned.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

/// A message to a partner or to upstream, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Notice)]
pub struct NoticeDetail {
    /// Its id; also the id of the message, whatever carries it.
    #[schema(value_type = String, format = "uuid")]
    pub notice_id: Uuid,
    /// Who is told: a partner's id, or `upstream`.
    pub recipient: String,
    /// What it says: `pay_request`, `reminder`, `withdrawn` or `callback`.
    pub purpose: &'static str,
    /// How it goes: `sms`, `email` or `webhook`.
    pub channel: &'static str,
    /// Where it goes, with enough of it hidden.
    pub target: String,
    /// Where it is: `planned`, `sending`, `unknown`, `sent`, `delivered`, `suppressed` or `exhausted`.
    pub state: &'static str,
    /// Tries so far.
    pub attempts: u32,
    /// When it is sent, or asked about, next.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub look_at: Option<DateTime<Utc>>,
    /// Nothing is sent at or after this instant.
    #[schema(value_type = String, format = DateTime)]
    pub deadline: DateTime<Utc>,
    /// What was answered last, or why it was not sent.
    pub last_answer: String,
}

/// A submission that was refused at the door, and kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RejectedSubmission)]
pub struct RejectionView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub rejected_submission_id: Uuid,
    /// Where it came from: `redis clearday:{order_expiry}`, `http`, `command_line`.
    pub source: String,
    /// The source's own number of it: a stream entry's id, or ours where there is none.
    pub entry_id: String,
    /// The kind it named, as it was written.
    pub kind: Option<String>,
    /// The key it carried.
    pub idempotency_key: Option<String>,
    /// Why it was refused.
    pub reason: String,
    /// The job that already holds its key.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub job_id: Option<JobId>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub rejected_at: DateTime<Utc>,
    /// The job that does what it asked for, once somebody mended it.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub mended_job_id: Option<JobId>,
    /// What was sent, with card numbers and tokens hidden; in a list only its beginning. Bytes
    /// that are no UTF-8 show as U+FFFD.
    pub raw: String,
    /// How many bytes were sent.
    pub raw_bytes: u64,
}

impl JobDetail {
    /// Everything about one job; `None` when there is no such job.
    pub async fn load(engine: &Engine, id: JobId) -> Result<Option<Self>, StoreError> {
        let mut tx = engine.store().read().await?;
        let Some(job) = jobs::find(&mut tx, id).await? else {
            return Ok(None);
        };
        let waiting = engine.explain(&mut tx, &job).await?;
        let answer = authorizations::answer_of(&mut tx, id).await?;
        let timeline = events::timeline(&mut tx, id).await?;
        let operations = operations::of_job(&mut tx, id).await?;
        let notices = notices::of_job(&mut tx, id).await?;
        Ok(Some(Self {
            payload: shown_json(&job.payload),
            job: job.into(),
            waiting: waiting.map(Into::into),
            answer: answer.as_deref().map(shown_json),
            timeline: timeline.into_iter().map(Into::into).collect(),
            operations: operations.into_iter().map(Into::into).collect(),
            notices: notices
                .into_iter()
                .map(|(notice, _)| notice.into())
                .collect(),
        }))
    }
}

impl TimelineView {
    /// The history of a job; `None` when nothing is known of it.
    pub async fn load(engine: &Engine, id: JobId) -> Result<Option<Self>, StoreError> {
        let mut tx = engine.store().read().await?;
        let timeline = events::timeline(&mut tx, id).await?;
        let pruned = retention::find_pruned(&mut tx, id).await?;
        Ok((!timeline.is_empty()).then(|| Self {
            job_id: id,
            pruned: pruned.map(|job| PrunedView {
                kind: job.kind,
                idempotency_key: job.idempotency_key,
                state: job.state,
                ended_at: job.ended_at,
                pruned_at: job.pruned_at,
            }),
            timeline: timeline.into_iter().map(Into::into).collect(),
        }))
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
fn as_name<S: Serializer>(state: &JobState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

/// Stored JSON as it may be shown.
fn shown_json(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| Value::from(redact_text(text)), redact)
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            job_id: job.id,
            kind: job.kind,
            state: job.state,
            priority: match job.priority {
                Priority::Urgent => "urgent",
                Priority::Normal => "normal",
                Priority::Bulk => "bulk",
            },
            partition: job.partition,
            idempotency_key: job.idempotency_key,
            source: job.source,
            run_at: job.run_at,
            attempt: job.attempt,
            attempts_max: job.attempts_max,
            rescues: job.rescues,
            lease: job.lease.map(|lease| LeaseView {
                worker: lease.worker,
                until: lease.until,
            }),
            note: job.note,
            last_error: job.last_error,
            created_at: job.created_at,
            updated_at: job.updated_at,
        }
    }
}

impl From<Waiting> for WaitingView {
    fn from(waiting: Waiting) -> Self {
        Self {
            reason: waiting.reason,
            until: waiting.until,
            in_seconds: waiting.in_seconds,
        }
    }
}

impl From<TimelineEntry> for EventView {
    fn from(entry: TimelineEntry) -> Self {
        Self {
            version: entry.version,
            occurred_at: entry.occurred_at,
            event: entry.event,
            state: entry.state,
            attempt: entry.attempt,
            worker: entry.worker,
            reason: entry.reason,
        }
    }
}

impl From<OperationView> for OperationDetail {
    fn from(operation: OperationView) -> Self {
        Self {
            operation_id: operation.id.0,
            kind: operation.kind,
            channel: operation.channel,
            reference: operation.reference,
            generation: operation.generation,
            idempotency_key: operation.idempotency_key,
            state: operation.state,
            detail: operation.detail,
            evidence: operation.evidence.as_deref().map(shown_json),
            intended_at: operation.intended_at,
            updated_at: operation.updated_at,
        }
    }
}

impl From<Notice> for NoticeDetail {
    fn from(notice: Notice) -> Self {
        Self {
            notice_id: notice.id.0,
            target: mask_target(notice.channel, &notice.target),
            recipient: notice.recipient,
            purpose: notice.purpose.as_str(),
            channel: notice.channel.as_str(),
            state: notice.state.as_str(),
            attempts: notice.attempts,
            look_at: notice.look_at,
            deadline: notice.deadline,
            last_answer: notice.last_answer,
        }
    }
}

impl From<RejectionPreview> for RejectionView {
    fn from(preview: RejectionPreview) -> Self {
        let RejectionPreview {
            rejection,
            raw_bytes,
        } = preview;
        Self {
            raw_bytes,
            ..rejection.into()
        }
    }
}

impl From<Rejection> for RejectionView {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejected_submission_id: rejection.id,
            source: rejection.source,
            entry_id: rejection.entry_id,
            kind: rejection.kind,
            idempotency_key: rejection.idempotency_key,
            reason: rejection.reason,
            job_id: rejection.job_id,
            rejected_at: rejection.rejected_at,
            mended_job_id: rejection.mended_job_id,
            raw: redact_text(&String::from_utf8_lossy(&rejection.raw)),
            raw_bytes: u64::try_from(rejection.raw.len()).unwrap_or(u64::MAX),
        }
    }
}

/// The names of [`JobKind::ALL`] in the API's description.
#[derive(Debug)]
pub(super) struct KindName;

/// The names of [`JobState::ALL`] in the API's description.
#[derive(Debug)]
pub(super) struct StateName;

/// The names of [`ApprovalState::ALL`] in the API's description.
#[derive(Debug)]
pub(super) struct ApprovalStateName;

/// The names of [`ApprovalAction::ALL`] in the API's description.
#[derive(Debug)]
pub(super) struct ApprovalActionName;

/// The names of [`SettlementState::ALL`] in the API's description.
#[derive(Debug)]
pub(super) struct SettlementStateName;

/// The names of [`PublicState::ALL`] in the API's description.
#[derive(Debug)]
pub(super) struct PublicStateName;

impl PartialSchema for SettlementStateName {
    fn schema() -> RefOr<Schema> {
        let names: Vec<&str> = SettlementState::ALL.iter().map(|it| it.as_str()).collect();
        one_of_names("Where a settlement is.", &names)
    }
}

impl PartialSchema for PublicStateName {
    fn schema() -> RefOr<Schema> {
        let names: Vec<&str> = PublicState::ALL.iter().map(|it| it.as_str()).collect();
        one_of_names("How far a payment is, as the merchant sees it.", &names)
    }
}

impl ToSchema for SettlementStateName {
    fn name() -> std::borrow::Cow<'static, str> {
        "SettlementState".into()
    }
}

impl ToSchema for PublicStateName {
    fn name() -> std::borrow::Cow<'static, str> {
        "PublicSettlementState".into()
    }
}

impl PartialSchema for ApprovalStateName {
    fn schema() -> RefOr<Schema> {
        let names: Vec<&str> = ApprovalState::ALL.iter().map(|it| it.as_str()).collect();
        one_of_names("Where an approval is in its life.", &names)
    }
}

impl PartialSchema for ApprovalActionName {
    fn schema() -> RefOr<Schema> {
        let names: Vec<&str> = ApprovalAction::ALL.iter().map(|it| it.as_str()).collect();
        one_of_names("What is to be approved.", &names)
    }
}

impl ToSchema for ApprovalStateName {
    fn name() -> std::borrow::Cow<'static, str> {
        "ApprovalState".into()
    }
}

impl ToSchema for ApprovalActionName {
    fn name() -> std::borrow::Cow<'static, str> {
        "ApprovalAction".into()
    }
}

impl PartialSchema for KindName {
    fn schema() -> RefOr<Schema> {
        one_of_names("A kind of job.", &JobKind::ALL.map(JobKind::as_str))
    }
}

impl PartialSchema for StateName {
    fn schema() -> RefOr<Schema> {
        let names: Vec<&str> = JobState::ALL.iter().map(|it| it.as_str()).collect();
        one_of_names("Where a job is in its life.", &names)
    }
}

impl ToSchema for KindName {
    fn name() -> std::borrow::Cow<'static, str> {
        "Kind".into()
    }
}

impl ToSchema for StateName {
    fn name() -> std::borrow::Cow<'static, str> {
        "State".into()
    }
}

fn one_of_names(description: &str, names: &[&str]) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(names.iter().copied()))
        .into()
}
