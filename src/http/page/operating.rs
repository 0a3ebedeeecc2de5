//! The pages on which queues are paused and resumed, jobs are put off, and dead letters are replayed by their causes.

use askama::Template;
use axum::Form;
use axum::extract::{Extension, Path, State};
use axum::response::{Redirect, Response};
use chrono::TimeDelta;
use serde::Deserialize;

use super::words::{self, Instant};
use super::{Api, Caller, Problem, Role, Shell, render};
use crate::domain::job::JobState;
use crate::engine::{DeadGroup, Wish};
use crate::http::jobs::job_id;
use crate::http::queues::{PauseWish, kind_of};
use crate::store::bulk::Selection;

/// Where the dead letters are shown.
pub(super) const DEAD_LETTERS: &str = "/dead_letters";

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage {
    shell: Shell,
    groups: Vec<GroupRow>,
    has_more: bool,
    may_operate: bool,
}

struct GroupRow {
    group: DeadGroup,
    oldest: Instant,
    newest: Instant,
}

/// A group of dead letters as its button sends it back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Replay {
    kind: String,
    reason: String,
    expected: u64,
}

/// For how long a job is put off.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PutOff {
    seconds: u32,
}

/// `GET /dead_letters`
pub(in crate::http) async fn dead_letters(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let letters = api.engine.dead_letters().await?;
    let zone = api.facts.zone;
    let row = |group: DeadGroup| GroupRow {
        oldest: Instant::new(group.oldest, zone),
        newest: Instant::new(group.newest, zone),
        group,
    };
    render(&DeadLettersPage {
        groups: letters.groups.into_iter().map(row).collect(),
        has_more: letters.has_more,
        may_operate: caller.role >= Role::Operator,
        shell: Shell::new(&api, Some(caller), "dead_letters"),
    })
}

/// `POST /dead_letters/retry`
pub(in crate::http) async fn replay(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Form(replay): Form<Replay>,
) -> Result<Redirect, Problem> {
    let selection = Selection {
        kind: Some(kind_of(&replay.kind)?),
        reason: Some(replay.reason),
        ..Selection::in_state(JobState::Dead)
    };
    let (shown, who) = (replay.expected, &caller.name);
    api.engine
        .operate_all(Wish::Retry, &selection, shown, who)
        .await?;
    Ok(Redirect::to(DEAD_LETTERS))
}

/// `POST /queues/{kind}/pause`
pub(in crate::http) async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(kind): Path<String>,
    Form(wish): Form<PauseWish>,
) -> Result<Redirect, Problem> {
    let kind = kind_of(&kind)?;
    api.engine.pause(kind, &wish.reason, &caller.name).await?;
    Ok(Redirect::to("/"))
}

/// `POST /queues/{kind}/resume`
pub(in crate::http) async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(kind): Path<String>,
) -> Result<Redirect, Problem> {
    api.engine.resume(kind_of(&kind)?, &caller.name).await?;
    Ok(Redirect::to("/"))
}

/// `POST /jobs/{job}/snooze`
pub(in crate::http) async fn snooze(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    Form(PutOff { seconds }): Form<PutOff>,
) -> Result<Redirect, Problem> {
    let id = job_id(&job)?;
    let until = api.engine.clock().now() + TimeDelta::seconds(seconds.into());
    api.engine.snooze(id, until, &caller.name).await?;
    Ok(Redirect::to(&format!("/jobs/{id}")))
}
