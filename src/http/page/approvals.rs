//! `/approvals`: what people are asked to agree on, with everything that is shown to them, and the
//! two buttons for those who may press them.

use askama::Template;
use axum::Form;
use axum::extract::{Extension, Path, State};
use axum::response::{Redirect, Response};
use serde_json::Value;

use super::words::{self, Instant};
use super::{Choice, Shell, render};
use crate::config::Role;
use crate::domain::approval::{Approval, ApprovalAction, ApprovalState, is_same_person};
use crate::http::Api;
use crate::http::access::Parameters;
use crate::http::approvals::{Approve, Reject, filter_of, load_page, refuse, sign};
use crate::http::auth::Caller;
use crate::http::paging::Limit;
use crate::http::problem::Problem;
use crate::store::StoreError;
use crate::store::approvals;

/// What waits for people.
pub(super) const WAITING: &str = "/approvals?state=requested";

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    shell: Shell,
    states: Vec<Choice>,
    approvals: Vec<ApprovalRow>,
    next: Option<String>,
}

struct ApprovalRow {
    approval: Approval,
    /// Every value that is shown, with its name.
    shown: Vec<(String, String)>,
    requested_at: Instant,
    maker: Option<(String, Instant)>,
    checker: Option<(String, Instant)>,
    waits_for: Option<String>,
    may_sign: bool,
    may_reject: bool,
}

/// `GET /approvals`
pub(in crate::http) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Response, Problem> {
    let (filter, limit) = (filter_of(&parameters)?, Limit::of(&parameters)?);
    let page = load_page(&api.engine, filter, limit).await?;
    render(&ApprovalsPage {
        states: state_choices(filter.state),
        next: page.next_link(&link(filter.state)),
        approvals: page
            .rows
            .into_iter()
            .map(|approval| row(&api, &caller, approval))
            .collect(),
        shell: Shell::new(&api, Some(caller), "approvals"),
    })
}

/// `POST /approvals/{id}/approve`
pub(in crate::http) async fn approve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Form(Approve { digest }): Form<Approve>,
) -> Result<Redirect, Problem> {
    sign(&api, &caller, &id, digest.as_deref()).await?;
    Ok(Redirect::to("/approvals"))
}

/// `POST /approvals/{id}/reject`
pub(in crate::http) async fn reject(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Form(Reject { reason }): Form<Reject>,
) -> Result<Redirect, Problem> {
    refuse(&api, &caller, &id, &reason).await?;
    Ok(Redirect::to("/approvals"))
}

/// How many requests wait for people.
pub(super) async fn count_waiting(api: &Api) -> Result<i64, StoreError> {
    let mut tx = api.engine.store().read().await?;
    approvals::count_in_state(&mut tx, ApprovalState::Requested).await
}

fn row(api: &Api, caller: &Caller, approval: Approval) -> ApprovalRow {
    let is_open = !approval.state.is_decided();
    let may_approve = is_open && caller.role >= Role::Approver && !api.people.is_empty();
    let is_maker = approval
        .maker
        .as_ref()
        .is_some_and(|maker| is_same_person(&maker.person, &caller.name));
    let signed = |signature: &Option<crate::domain::approval::Signature>| {
        let signature = signature.as_ref()?;
        let at = Instant::new(signature.at, api.facts.zone);
        Some((signature.person.clone(), at))
    };
    ApprovalRow {
        shown: shown(&approval.shown),
        requested_at: Instant::new(approval.requested_at, api.facts.zone),
        maker: signed(&approval.maker),
        checker: signed(&approval.checker),
        waits_for: approval.waits_for(),
        may_sign: may_approve && !is_maker,
        may_reject: may_approve,
        approval,
    }
}

/// What is shown, a line for each value: people compare lines, not braces.
fn shown(canonical: &str) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    match serde_json::from_str(canonical) {
        Ok(value) => flatten("", &value, &mut lines),
        Err(_) => lines.push((String::new(), canonical.to_owned())),
    }
    lines
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            for (name, field) in fields {
                flatten(&format!("{path}{dot}{name}"), field, lines);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), item, lines);
            }
        }
        Value::String(text) => lines.push((path.to_owned(), text.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            lines.push((path.to_owned(), value.to_string()));
        }
    }
}

fn state_choices(chosen: Option<ApprovalState>) -> Vec<Choice> {
    let choice = |state: Option<ApprovalState>, label| Choice {
        label,
        link: link(state),
        is_chosen: chosen == state,
    };
    let states = ApprovalState::ALL.iter().map(|state| {
        let label = format!("{} {state}", words::approval_state_label(*state));
        choice(Some(*state), label)
    });
    std::iter::once(choice(None, "全部 all".to_owned()))
        .chain(states)
        .collect()
}

fn link(state: Option<ApprovalState>) -> String {
    state.map_or_else(
        || "/approvals".to_owned(),
        |state| format!("/approvals?state={state}"),
    )
}

impl ApprovalRow {
    fn amount(&self) -> Option<String> {
        let amount = self.approval.amount?;
        let (number, currency) = (amount.to_major_string(), amount.currency());
        Some(format!("{number} {currency}"))
    }

    fn action_label(&self) -> &'static str {
        let action: ApprovalAction = self.approval.action;
        words::approval_action_label(action)
    }

    fn state_label(&self) -> &'static str {
        words::approval_state_label(self.approval.state)
    }
}
