//! The pages: how the queues stand, what a job went through, what was refused.
//!
//! Rendered here, readable without JavaScript and on a phone. Headings are Chinese and English side
//! by side; the English words are those of the API. Everything shown is escaped by the templates.

use std::time::Duration;

use askama::Template;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clearday_jobs::JobKind;

use super::Api;
use super::access::Parameters;
use super::auth::Caller;
use super::paging::Limit;
use super::problem::Problem;
use super::view::{JobDetail, RejectionView};
use super::{jobs as job_api, rejected as rejection_api};
use crate::config::Role;
use crate::domain::job::{Job, JobEvent, JobState};
use crate::engine::QueueFigures;
use crate::store::StoreError;
use crate::store::jobs::{COUNT_MAX, JobFilter};

pub(super) mod approvals;
pub(super) mod breaks;
pub(super) mod operating;
pub(super) mod settlements;
mod words;

use words::{Instant, duration_words, kind_label, state_label};

/// Rows of each list on the overview: what fits two screens.
const OVERVIEW_JOBS: Limit = Limit::of_rows(20);
const OVERVIEW_REJECTIONS: Limit = Limit::of_rows(5);

/// The overview is looked at, not worked in: it keeps itself fresh unless asked not to.
const REFRESH_SECONDS: u32 = 15;

/// A job that has been due for longer than this is overdue: workers poll every few seconds.
const OVERDUE_SECONDS: u64 = 60;

/// Nothing is loaded from elsewhere, no script runs, and no other page may frame these.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("../../../templates/style.css");
const ICON: &str = include_str!("../../../templates/icon.svg");

/// What surrounds every page.
struct Shell {
    version: &'static str,
    environment: String,
    dialect: &'static str,
    queue: &'static str,
    zone: Tz,
    now: Instant,
    /// Who looks; nobody is signed in where nobody is configured.
    person: Option<Caller>,
    has_people: bool,
    active: &'static str,
    refresh: Option<u32>,
}

impl Shell {
    fn new(api: &Api, person: Option<Caller>, active: &'static str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            environment: api.facts.environment.clone(),
            dialect: api.engine.store().dialect(),
            queue: api.facts.queue,
            zone: api.facts.zone,
            now: Instant::new(api.engine.clock().now(), api.facts.zone),
            person,
            has_people: !api.people.is_empty(),
            active,
            refresh: None,
        }
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    shell: Shell,
    queues: Vec<QueueRow>,
    daemons: Vec<DaemonRow>,
    may_operate: bool,
    concerns: Vec<Concern>,
    jobs: Vec<JobRow>,
    rejections: Vec<RejectionRow>,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    shell: Shell,
    kinds: Vec<Choice>,
    states: Vec<Choice>,
    jobs: Vec<JobRow>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    shell: Shell,
    detail: JobDetail,
    payload: String,
    may_retry: bool,
    may_cancel: bool,
    may_snooze: bool,
}

#[derive(Template)]
#[template(path = "rejected_submissions.html")]
struct RejectedPage {
    shell: Shell,
    rejections: Vec<RejectionRow>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    shell: Shell,
    message: &'a str,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    shell: Shell,
    status: u16,
    title: &'a str,
    detail: &'a str,
}

struct QueueRow {
    kind: JobKind,
    counts: Vec<Count>,
    latency: String,
    is_overdue: bool,
    pause: Option<PauseRow>,
}

struct PauseRow {
    since: Instant,
    by: String,
    reason: String,
}

/// A daemon that is at work.
struct DaemonRow {
    name: String,
    version: String,
    started_at: Instant,
    seen_at: Instant,
}

struct Count {
    state: JobState,
    number: i64,
    text: String,
}

/// Something that wants a person.
struct Concern {
    text: String,
    link: String,
}

struct JobRow {
    job: Job,
    updated_at: Instant,
    /// Why it waits, or how it ended.
    story: String,
    until: Option<Instant>,
}

struct RejectionRow {
    view: RejectionView,
    rejected_at: Instant,
}

/// One choice of a filter.
struct Choice {
    label: String,
    link: String,
    is_chosen: bool,
}

/// `GET /`
pub(super) async fn overview(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Response, Problem> {
    let wants_refresh = parameters.read::<String>("refresh")?.as_deref() != Some("off");
    let zone = api.facts.zone;
    let queues = api.engine.queues().await?;
    let queues: Vec<QueueRow> = queues.iter().map(|it| queue_row(it, zone)).collect();
    let daemons = daemon_rows(&api).await?;
    let newest = JobFilter::default();
    let jobs = job_api::load_page(&api.engine, &newest, OVERVIEW_JOBS).await?;
    let rejections = rejection_api::load_page(&api.engine, None, OVERVIEW_REJECTIONS).await?;
    let waiting = approvals::count_waiting(&api).await?;
    let broken = breaks::count_open(&api).await?;
    let may_operate = caller.role >= Role::Operator;
    let mut shell = Shell::new(&api, Some(caller), "overview");
    shell.refresh = wants_refresh.then_some(REFRESH_SECONDS);
    let mut concerns = concerns_of(&queues, waiting, broken);
    if daemons.is_empty() && queues.iter().any(|queue| !queue.latency.is_empty()) {
        concerns.push(Concern {
            text: "jobs are due, and no daemon is at work".to_owned(),
            link: jobs_link(None, Some(JobState::Ready)),
        });
    }
    render(&OverviewPage {
        concerns,
        queues,
        daemons,
        may_operate,
        jobs: job_rows(&api, jobs.rows).await?,
        rejections: rejection_rows(&api, rejections.rows),
        shell,
    })
}

/// `GET /jobs`
pub(super) async fn jobs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Response, Problem> {
    let filter = job_api::filter_of(&parameters)?;
    let limit = Limit::of(&parameters)?;
    let page = job_api::load_page(&api.engine, &filter, limit).await?;
    render(&JobsPage {
        shell: Shell::new(&api, Some(caller), "jobs"),
        kinds: kind_choices(&filter),
        states: state_choices(&filter),
        next: page.next_link(&jobs_link(filter.kind, filter.state)),
        jobs: job_rows(&api, page.rows).await?,
    })
}

/// `GET /jobs/{job}`
pub(super) async fn job(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Result<Response, Problem> {
    let id = job_api::job_id(&job)?;
    let detail = JobDetail::load(&api.engine, id).await?;
    let detail = detail.ok_or_else(|| job_api::no_such_job(&job))?;
    let may_operate = caller.role >= Role::Operator;
    let state = detail.job.state;
    render(&JobPage {
        payload: format!("{:#}", detail.payload),
        may_retry: may_operate && state.after(JobEvent::Requeue).is_some(),
        may_cancel: may_operate && state.after(JobEvent::Cancel).is_some(),
        may_snooze: may_operate && state.after(JobEvent::Postpone).is_some(),
        shell: Shell::new(&api, Some(caller), "jobs"),
        detail,
    })
}

/// `POST /jobs/{job}/retry`
pub(super) async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Result<Redirect, Problem> {
    let id = job_api::job_id(&job)?;
    api.engine.retry(id, &caller.name).await?;
    Ok(Redirect::to(&format!("/jobs/{id}")))
}

/// `POST /jobs/{job}/cancel`
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Result<Redirect, Problem> {
    let id = job_api::job_id(&job)?;
    api.engine.cancel(id, &caller.name).await?;
    Ok(Redirect::to(&format!("/jobs/{id}")))
}

/// `GET /rejected_submissions`
pub(super) async fn rejected(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Response, Problem> {
    let limit = Limit::of(&parameters)?;
    let before = parameters.read("before")?;
    let page = rejection_api::load_page(&api.engine, before, limit).await?;
    render(&RejectedPage {
        shell: Shell::new(&api, Some(caller), "rejected_submissions"),
        next: page.next_link("/rejected_submissions"),
        rejections: rejection_rows(&api, page.rows),
    })
}

/// The form that asks for a token; `message` says why the last one was refused.
pub(super) fn login(api: &Api, message: &str) -> Result<Response, Problem> {
    let shell = Shell::new(api, None, "login");
    render(&LoginPage { shell, message })
}

/// `GET /style.css`
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

/// `GET /icon.svg`
pub(super) async fn icon() -> Response {
    file("image/svg+xml", ICON)
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let cache = (CACHE_CONTROL, "max-age=300");
    ([(CONTENT_TYPE, content_type), cache], text).into_response()
}

/// The last layer: every error is a problem, shown as a page where a browser asks, and no answer
/// leaves without the headers that keep browsers careful.
pub(super) async fn finish(State(api): State<Api>, request: Request, next: Next) -> Response {
    let wants_page = wants_page(&request);
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let made_elsewhere = problem.is_none() && is_framework_error(&response);
    let problem = problem.or_else(|| made_elsewhere.then(|| Problem::of_status(response.status())));
    if let Some(problem) = problem {
        if wants_page {
            response = problem_page(&api, &problem);
        } else if made_elsewhere {
            let allow = response.headers_mut().remove(ALLOW);
            response = problem.into_response();
            response
                .headers_mut()
                .extend(allow.map(|allow| (ALLOW, allow)));
        }
    }
    set_careful_headers(response.headers_mut());
    response
}

fn wants_page(request: &Request) -> bool {
    let accepts_html = request
        .headers()
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    accepts_html && !request.uri().path().starts_with("/v1/")
}

/// Whether an error was answered by the framework, in plain words or in none.
fn is_framework_error(response: &Response) -> bool {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    (status.is_client_error() || status.is_server_error())
        && content_type.is_none_or(|given| given.as_bytes().starts_with(b"text/plain"))
}

fn problem_page(api: &Api, problem: &Problem) -> Response {
    if problem.status() == StatusCode::UNAUTHORIZED {
        return Redirect::to("/login").into_response();
    }
    let page = ProblemPage {
        shell: Shell::new(api, None, "problem"),
        status: problem.status().as_u16(),
        title: problem.title(),
        detail: problem.detail(),
    };
    let mut response = render(&page).unwrap_or_else(IntoResponse::into_response);
    *response.status_mut() = problem.status();
    response
}

fn set_careful_headers(headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    set(REFERRER_POLICY, "same-origin");
    set(CACHE_CONTROL, "no-store");
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
}

fn render(page: &impl Template) -> Result<Response, Problem> {
    let html = page
        .render()
        .map_err(|error| Problem::internal("render a page", &error))?;
    Ok(Html(html).into_response())
}

fn queue_row(queue: &QueueFigures, zone: Tz) -> QueueRow {
    let counts = JobState::ALL.iter().map(|&state| {
        let number = queue.count(state);
        let more = if number >= COUNT_MAX { "+" } else { "" };
        Count {
            state,
            number,
            text: format!("{number}{more}"),
        }
    });
    QueueRow {
        kind: queue.kind,
        counts: counts.collect(),
        latency: queue.latency.map(duration_words).unwrap_or_default(),
        is_overdue: queue
            .latency
            .is_some_and(|latency| latency.as_secs() > OVERDUE_SECONDS),
        pause: queue.pause.as_ref().map(|pause| PauseRow {
            since: Instant::new(pause.paused_at, zone),
            by: pause.paused_by.clone(),
            reason: pause.reason.clone(),
        }),
    }
}

async fn daemon_rows(api: &Api) -> Result<Vec<DaemonRow>, StoreError> {
    let mut tx = api.engine.store().read().await?;
    let daemons = api.engine.daemons(&mut tx).await?;
    let zone = api.facts.zone;
    let rows = daemons.into_iter().map(|daemon| DaemonRow {
        name: daemon.name,
        version: daemon.release_version,
        started_at: Instant::new(daemon.started_at, zone),
        seen_at: Instant::new(daemon.seen_at, zone),
    });
    Ok(rows.collect())
}

/// What wants a person: requests to approve, breaks, buried jobs, and queues that do not keep up.
fn concerns_of(queues: &[QueueRow], approvals_waiting: i64, breaks_open: i64) -> Vec<Concern> {
    let mut concerns = Vec::new();
    if approvals_waiting > 0 {
        concerns.push(Concern {
            text: format!("{approvals_waiting} to approve"),
            link: approvals::WAITING.to_owned(),
        });
    }
    if breaks_open > 0 {
        let noun = if breaks_open == 1 { "break" } else { "breaks" };
        concerns.push(Concern {
            text: format!("{breaks_open} open {noun}"),
            link: breaks::OPEN.to_owned(),
        });
    }
    for queue in queues {
        let kind = queue.kind;
        let dead = queue
            .counts
            .iter()
            .find(|count| count.state == JobState::Dead);
        if let Some(dead) = dead.filter(|dead| dead.number > 0) {
            concerns.push(Concern {
                text: format!("{} dead {}", dead.text, kind),
                link: operating::DEAD_LETTERS.to_owned(),
            });
        }
        if let Some(pause) = &queue.pause {
            concerns.push(Concern {
                text: format!("{kind} is paused by {}: {}", pause.by, pause.reason),
                link: jobs_link(Some(kind), Some(JobState::Ready)),
            });
        }
        if queue.is_overdue {
            concerns.push(Concern {
                text: format!("{kind} due for {}", queue.latency),
                link: jobs_link(Some(kind), Some(JobState::Ready)),
            });
        }
    }
    concerns
}

async fn job_rows(api: &Api, jobs: Vec<Job>) -> Result<Vec<JobRow>, StoreError> {
    let mut tx = api.engine.store().read().await?;
    let explainer = api.engine.explainer(&mut tx).await?;
    let mut rows = Vec::with_capacity(jobs.len());
    for job in jobs {
        let waiting = explainer.explain(&mut tx, &job).await?;
        rows.push(JobRow {
            updated_at: Instant::new(job.updated_at, api.facts.zone),
            until: waiting
                .as_ref()
                .and_then(|waiting| waiting.until)
                .map(|until| Instant::new(until, api.facts.zone)),
            story: waiting.map_or_else(|| job.note.clone(), |waiting| waiting.reason),
            job,
        });
    }
    Ok(rows)
}

fn rejection_rows(api: &Api, rejections: Vec<impl Into<RejectionView>>) -> Vec<RejectionRow> {
    let row = |view: RejectionView| RejectionRow {
        rejected_at: Instant::new(view.rejected_at, api.facts.zone),
        view,
    };
    rejections.into_iter().map(Into::into).map(row).collect()
}

fn kind_choices(filter: &JobFilter) -> Vec<Choice> {
    let choice = |kind: Option<JobKind>, label| Choice {
        label,
        link: jobs_link(kind, filter.state),
        is_chosen: filter.kind == kind,
    };
    let kinds = JobKind::ALL.map(|kind| {
        let label = format!("{} {kind}", kind_label(kind));
        choice(Some(kind), label)
    });
    std::iter::once(choice(None, "全部 all".to_owned()))
        .chain(kinds)
        .collect()
}

fn state_choices(filter: &JobFilter) -> Vec<Choice> {
    let choice = |state: Option<JobState>, label| Choice {
        label,
        link: jobs_link(filter.kind, state),
        is_chosen: filter.state == state,
    };
    let states = JobState::ALL.iter().map(|&state| {
        let label = format!("{} {state}", state_label(state));
        choice(Some(state), label)
    });
    std::iter::once(choice(None, "全部 all".to_owned()))
        .chain(states)
        .collect()
}

fn jobs_link(kind: Option<JobKind>, state: Option<JobState>) -> String {
    let kind = kind.map(|kind| format!("kind={kind}"));
    let state = state.map(|state| format!("state={state}"));
    let query: Vec<String> = kind.into_iter().chain(state).collect();
    if query.is_empty() {
        "/jobs".to_owned()
    } else {
        format!("/jobs?{}", query.join("&"))
    }
}

impl JobPage {
    fn at(&self, instant: &DateTime<Utc>) -> Instant {
        Instant::new(*instant, self.shell.zone)
    }

    fn left(seconds: u64) -> String {
        duration_words(Duration::from_secs(seconds))
    }

    fn pretty(value: &serde_json::Value) -> String {
        format!("{value:#}")
    }
}
