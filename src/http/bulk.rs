//! `/v1/jobs/retry|cancel|snooze`: one wish about all jobs that match, shown before it is done; and the dead letters.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{JobId, JobKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::approvals::read_body;
use super::auth::Caller;
use super::jobs::job_id;
use super::problem::{Problem, ProblemKind};
use super::view::{JobView, KindName, StateName};
use crate::domain::job::JobState;
use crate::engine::{DeadGroup, DeadLetters, Done, Engine, Matching, Wish};
use crate::store::bulk::Selection;

/// More than this is not done while somebody waits for the answer to a request; the command line has all the time.
const HTTP_JOBS_MAX: u64 = 20_000;

/// Which jobs are meant; what is left out does not matter, but for the state.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobFilter)]
pub(super) struct Filter {
    /// Only this kind.
    #[schema(value_type = Option<KindName>)]
    kind: Option<String>,
    /// This state; where it is left out, `dead` for a retry and `ready` for the others.
    #[schema(value_type = Option<StateName>)]
    state: Option<String>,
    /// Only the work of this one.
    partition: Option<String>,
    /// Only with this text in the note or in the last error.
    contains: Option<String>,
    /// Only with this cause, as the dead letters tell it.
    reason: Option<String>,
    /// Only those accepted at this instant or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    accepted_from: Option<DateTime<Utc>>,
    /// Only those accepted before this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    accepted_before: Option<DateTime<Utc>>,
    /// Only those that may run before this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_before: Option<DateTime<Utc>>,
}

/// A wish about all jobs that match: first with `dry_run`, then with the number that was shown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkWish {
    /// Which jobs are meant.
    #[serde(default)]
    filter: Filter,
    /// Only count them.
    #[serde(default)]
    dry_run: bool,
    /// How many the dry run counted; nothing is done when it is another number by now.
    expected: Option<u64>,
    /// Of a snooze: not run before this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<DateTime<Utc>>,
    /// Of a snooze, in place of `until`: not run for this long from now on.
    seconds: Option<u32>,
}

/// Until when one job is put off: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Snooze)]
pub(super) struct SnoozeWish {
    /// Not run before this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<DateTime<Utc>>,
    /// Not run for this long from now on.
    seconds: Option<u32>,
}

/// How many jobs matched, and what became of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BulkAnswer {
    /// Whether they were only counted.
    pub dry_run: bool,
    /// How many matched.
    pub matched: u64,
    /// The first of them; only where they were counted.
    #[schema(value_type = Vec<String>)]
    pub examples: Vec<JobId>,
    /// For how many it was done.
    pub changed: u64,
    /// How many went on by themselves meanwhile.
    pub moved_on: u64,
    /// For how many it was refused.
    pub refused: u64,
    /// Why, for the first of them.
    pub refusals: Vec<RefusalView>,
}

/// A job for which a wish was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BulkRefusal)]
pub struct RefusalView {
    /// The job.
    #[schema(value_type = String, format = "uuid")]
    pub job_id: JobId,
    /// Why.
    pub reason: String,
}

/// The dead letters by what killed them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeadLetterList {
    /// The largest group first.
    pub groups: Vec<DeadGroupView>,
    /// Whether there are more than were looked at: 100,000 of each kind.
    pub has_more: bool,
}

/// Dead letters with one cause.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterGroup)]
pub struct DeadGroupView {
    /// Of this kind.
    #[schema(value_type = KindName)]
    pub kind: JobKind,
    /// The cause; what differs from job to job is `#`. Give it as `reason` of a filter to mean exactly these.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first of them was buried.
    #[schema(value_type = String, format = DateTime)]
    pub oldest: DateTime<Utc>,
    /// When the last one was.
    #[schema(value_type = String, format = DateTime)]
    pub newest: DateTime<Utc>,
    /// One of them.
    #[schema(value_type = String, format = "uuid")]
    pub example_job_id: JobId,
}

impl BulkAnswer {
    /// The answer where jobs were only counted.
    pub fn counted(matching: Matching) -> Self {
        Self {
            dry_run: true,
            matched: matching.count,
            examples: matching.examples,
            changed: 0,
            moved_on: 0,
            refused: 0,
            refusals: Vec::new(),
        }
    }

    /// The answer where it was done for as many as were shown.
    pub fn done(matched: u64, done: Done) -> Self {
        let refusals = done.refusals.into_iter();
        Self {
            dry_run: false,
            matched,
            examples: Vec::new(),
            changed: done.changed,
            moved_on: done.moved_on,
            refused: done.refused,
            refusals: refusals
                .map(|(job_id, reason)| RefusalView { job_id, reason })
                .collect(),
        }
    }
}

impl From<DeadLetters> for DeadLetterList {
    fn from(letters: DeadLetters) -> Self {
        Self {
            groups: letters.groups.into_iter().map(Into::into).collect(),
            has_more: letters.has_more,
        }
    }
}

impl From<DeadGroup> for DeadGroupView {
    fn from(group: DeadGroup) -> Self {
        Self {
            kind: group.kind,
            reason: group.reason,
            count: group.count,
            oldest: group.oldest,
            newest: group.newest,
            example_job_id: group.example,
        }
    }
}

impl Filter {
    fn selection(self, usual: JobState) -> Result<Selection, Problem> {
        let state = self.state.map(|name| read("filter.state", &name));
        Ok(Selection {
            state: state.transpose()?.unwrap_or(usual),
            kind: self
                .kind
                .map(|name| read("filter.kind", &name))
                .transpose()?,
            partition: self.partition,
            contains: self.contains,
            reason: self.reason,
            accepted_from: self.accepted_from,
            accepted_before: self.accepted_before,
            due_before: self.due_before,
        })
    }
}

fn read<T>(field: &str, name: &str) -> Result<T, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    name.parse().map_err(|error| bad(field, &error))
}

fn bad(field: &str, detail: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::BadPayload, format!("{field}: {detail}")).about(field)
}

/// The instant that one of two ways to say it names.
fn until_of(
    engine: &Engine,
    until: Option<DateTime<Utc>>,
    seconds: Option<u32>,
) -> Result<DateTime<Utc>, Problem> {
    match (until, seconds) {
        (Some(until), None) => Ok(until),
        (None, Some(seconds)) => Ok(engine.clock().now() + TimeDelta::seconds(seconds.into())),
        (Some(_), Some(_)) | (None, None) => Err(bad("until", &"say `until` or `seconds`")),
    }
}

/// Makes all jobs due now that match: dead ones where nothing else is said, so it is also the replay of dead letters.
#[utoipa::path(
    post,
    path = "/v1/jobs/retry",
    tag = "jobs",
    operation_id = "retry_jobs",
    request_body(content = BulkWish, description = "Which jobs, and how many they are."),
    responses(
        (status = 200, description = "How many matched, and what became of them.", body = BulkAnswer),
        (status = 409, description = "Another number matches than was shown."),
        (status = 422, description = "The wish is refused; `field` names where."),
    )
)]
pub(super) async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<BulkAnswer>, Problem> {
    let wish: BulkWish = read_body(&body)?;
    refuse_until(&wish)?;
    fulfil(&api, &caller, Wish::Retry, wish).await
}

/// Withdraws all jobs that match: waiting ones where nothing else is said.
#[utoipa::path(
    post,
    path = "/v1/jobs/cancel",
    tag = "jobs",
    operation_id = "cancel_jobs",
    request_body(content = BulkWish, description = "Which jobs, and how many they are."),
    responses(
        (status = 200, description = "How many matched, and what became of them.", body = BulkAnswer),
        (status = 409, description = "Another number matches than was shown."),
        (status = 422, description = "The wish is refused; `field` names where."),
    )
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<BulkAnswer>, Problem> {
    let wish: BulkWish = read_body(&body)?;
    refuse_until(&wish)?;
    fulfil(&api, &caller, Wish::Cancel, wish).await
}

/// Puts all waiting jobs off that match.
#[utoipa::path(
    post,
    path = "/v1/jobs/snooze",
    tag = "jobs",
    operation_id = "snooze_jobs",
    request_body(content = BulkWish, description = "Which jobs, how many they are, and until when."),
    responses(
        (status = 200, description = "How many matched, and what became of them.", body = BulkAnswer),
        (status = 409, description = "Another number matches than was shown."),
        (status = 422, description = "The wish is refused; `field` names where."),
    )
)]
pub(super) async fn snooze(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<BulkAnswer>, Problem> {
    let wish: BulkWish = read_body(&body)?;
    let until = until_of(&api.engine, wish.until, wish.seconds)?;
    fulfil(&api, &caller, Wish::Snooze(until), wish).await
}

/// Puts one waiting job off until a later instant.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job}/snooze",
    tag = "jobs",
    operation_id = "snooze_job",
    params(("job" = String, Path, description = "The job's id.", format = "uuid")),
    request_body(content = SnoozeWish, description = "Until when."),
    responses(
        (status = 200, description = "The job.", body = JobView),
        (status = 404, description = "No such job."),
        (status = 409, description = "It does not wait."),
        (status = 422, description = "No instant, or none in the year to come."),
    )
)]
pub(super) async fn snooze_one(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    body: Bytes,
) -> Result<Json<JobView>, Problem> {
    let id = job_id(&job)?;
    let wish: SnoozeWish = read_body(&body)?;
    let until = until_of(&api.engine, wish.until, wish.seconds)?;
    let job = api.engine.snooze(id, until, &caller.name).await?;
    Ok(Json(job.into()))
}

/// Shows the dead letters by what killed them.
#[utoipa::path(
    get,
    path = "/v1/dead_letters",
    tag = "jobs",
    operation_id = "list_dead_letters",
    responses((status = 200, description = "The groups.", body = DeadLetterList))
)]
pub(super) async fn dead_letters(State(api): State<Api>) -> Result<Json<DeadLetterList>, Problem> {
    Ok(Json(api.engine.dead_letters().await?.into()))
}

fn refuse_until(wish: &BulkWish) -> Result<(), Problem> {
    match (wish.until, wish.seconds) {
        (None, None) => Ok(()),
        (Some(_), _) => Err(bad("until", &"only of a snooze")),
        (None, Some(_)) => Err(bad("seconds", &"only of a snooze")),
    }
}

async fn fulfil(
    api: &Api,
    caller: &Caller,
    wish: Wish,
    said: BulkWish,
) -> Result<Json<BulkAnswer>, Problem> {
    let selection = said.filter.selection(wish.usual_state())?;
    if said.dry_run {
        let matching = api.engine.matching(wish, &selection).await?;
        return Ok(Json(BulkAnswer::counted(matching)));
    }
    let expected = said.expected.ok_or_else(|| {
        let detail = "say how many you were shown: ask with `dry_run` first";
        bad("expected", &detail)
    })?;
    if expected > HTTP_JOBS_MAX {
        let detail = format!(
            "at most {HTTP_JOBS_MAX} jobs in one request: narrow the filter, or use the command line"
        );
        return Err(bad("expected", &detail));
    }
    let who = &caller.name;
    let done = api
        .engine
        .operate_all(wish, &selection, expected, who)
        .await?;
    Ok(Json(BulkAnswer::done(expected, done)))
}
