//! `/breaks`: where our records, a channel's statement and a bank's disagree, and the money that is at risk.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::Response;
use clearday_jobs::{Currency, Money};

use super::words::{self, Instant};
use super::{Choice, Shell, render};
use crate::http::Api;
use crate::http::access::Parameters;
use crate::http::auth::Caller;
use crate::http::problem::{Problem, ProblemKind};
use crate::store::StoreError;
use crate::store::reconciliations::{self, BreakView};

/// What waits for people.
pub(super) const OPEN: &str = "/breaks";

/// The newest of a state: more than a person looks through.
const ROWS: usize = 200;

/// Where a break is, as it is stored, and in Chinese.
const STATES: [(&str, &str); 2] = [("open", "未处理"), ("vanished", "已消失")];

#[derive(Template)]
#[template(path = "breaks.html")]
struct BreaksPage {
    shell: Shell,
    states: Vec<Choice>,
    breaks: Vec<BreakRow>,
}

struct BreakRow {
    found: BreakView,
    at_risk: String,
    first_seen_at: Instant,
}

/// `GET /breaks`
pub(in crate::http) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Response, Problem> {
    let asked: Option<String> = parameters.read("state")?;
    let asked = asked.as_deref().unwrap_or("open");
    let Some((state, _)) = STATES.iter().find(|(name, _)| *name == asked) else {
        let detail = format!("state: {asked:?} is neither open nor vanished");
        return Err(Problem::new(ProblemKind::BadParameter, detail).about("state"));
    };
    let mut tx = api.engine.store().read().await?;
    let found = reconciliations::list_breaks(&mut tx, state, ROWS).await?;
    drop(tx);
    let rows: Result<Vec<BreakRow>, Problem> =
        found.into_iter().map(|found| row(&api, found)).collect();
    render(&BreaksPage {
        shell: Shell::new(&api, Some(caller), "breaks"),
        states: STATES
            .iter()
            .map(|(name, chinese)| Choice {
                label: format!("{chinese} {name}"),
                link: format!("/breaks?state={name}"),
                is_chosen: name == state,
            })
            .collect(),
        breaks: rows?,
    })
}

/// How many breaks are open.
pub(super) async fn count_open(api: &Api) -> Result<i64, StoreError> {
    let mut tx = api.engine.store().read().await?;
    reconciliations::count_breaks(&mut tx, "open").await
}

fn row(api: &Api, found: BreakView) -> Result<BreakRow, Problem> {
    let currency = Currency::parse(&found.currency)
        .map_err(|error| Problem::internal("read a break", &error))?;
    let at_risk = Money::from_minor(found.at_risk_minor, currency).to_major_string();
    Ok(BreakRow {
        at_risk: format!("{at_risk} {currency}"),
        first_seen_at: Instant::new(found.first_seen_at, api.facts.zone),
        found,
    })
}

impl BreakRow {
    fn label(&self) -> &'static str {
        words::break_label(&self.found.break_name)
    }

    /// The channel has more than we do, or less: 长款 or 短款.
    fn side(&self) -> &'static str {
        match self.found.at_risk_minor.signum() {
            1 => "长款 long",
            -1 => "短款 short",
            _ => "",
        }
    }
}
