//! `/settlements`: what merchants are owed, how far each payment is, and why; one settlement with its timeline.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::words::{self, Instant};
use super::{Choice, Shell, render};
use crate::domain::percent::percent_encoded;
use crate::domain::settlement_run::SettlementState;
use crate::http::Api;
use crate::http::access::Parameters;
use crate::http::auth::Caller;
use crate::http::paging::Limit;
use crate::http::problem::Problem;
use crate::http::settlements::{
    SettlementDetail, SettlementView, filter_of, load_page, no_such, settlement_id,
};
use crate::store::settlements::SettlementFilter;

#[derive(Template)]
#[template(path = "settlements.html")]
struct SettlementsPage {
    shell: Shell,
    states: Vec<Choice>,
    settlements: Vec<SettlementView>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "settlement.html")]
struct SettlementPage {
    shell: Shell,
    detail: SettlementDetail,
}

/// `GET /settlements`
pub(in crate::http) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Response, Problem> {
    let (filter, limit) = (filter_of(&parameters)?, Limit::of(&parameters)?);
    let page = load_page(&api.engine, &api.facts.banks, &filter, limit).await?;
    render(&SettlementsPage {
        shell: Shell::new(&api, Some(caller), "settlements"),
        states: state_choices(&filter),
        next: page.next_link(&link(&filter, filter.state)),
        settlements: page.rows,
    })
}

/// `GET /settlements/{id}`
pub(in crate::http) async fn show(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let detail = SettlementDetail::load(&api.engine, &api.facts.banks, settlement_id(&id)?).await?;
    let detail = detail.ok_or_else(|| no_such(&id))?;
    render(&SettlementPage {
        shell: Shell::new(&api, Some(caller), "settlements"),
        detail,
    })
}

fn state_choices(filter: &SettlementFilter) -> Vec<Choice> {
    let choice = |state: Option<SettlementState>, label| Choice {
        label,
        link: link(filter, state),
        is_chosen: filter.state == state,
    };
    let states = SettlementState::ALL.iter().map(|state| {
        let label = format!("{} {state}", words::settlement_state_label(*state));
        choice(Some(*state), label)
    });
    std::iter::once(choice(None, "全部 all".to_owned()))
        .chain(states)
        .collect()
}

fn link(filter: &SettlementFilter, state: Option<SettlementState>) -> String {
    let mut link = "/settlements".to_owned();
    let mut separator = '?';
    if let Some(state) = state {
        link.push(separator);
        link.push_str("state=");
        link.push_str(state.as_str());
        separator = '&';
    }
    if let Some(merchant_id) = &filter.merchant_id {
        link.push(separator);
        link.push_str("merchant_id=");
        link.push_str(&percent_encoded(merchant_id.as_str()));
    }
    link
}

impl SettlementPage {
    fn at(&self, instant: &DateTime<Utc>) -> Instant {
        Instant::new(*instant, self.shell.zone)
    }
}
