//! Starts jobs by the clock: what is configured under `[[schedules]]`, followed until the daemon
//! stops.
//!
//! When a tick is due is decided in `domain/schedule.rs`, and by whom, once for all replicas, in
//! `engine/tick.rs`. Here is only who waits for it. Every replica does, and nothing is lost when
//! one of them sleeps.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use clearday_jobs::{JobKind, Payload, PayloadError};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config;
use crate::domain::retry::backoff;
use crate::domain::schedule::{CatchUp, Schedule, ScheduleError};
use crate::engine::{Engine, TickPlan};

/// Stands in a payload for the date that a tick is about.
const DATE: &str = "{date}";

/// The clock is read at least this often, so that a tick is not late when the machine slept or its
/// clock was set forward.
const LOOK_EVERY: TimeDelta = TimeDelta::seconds(1);

/// Where every tick is to fire after downtime, so many do unless the settings say otherwise.
const FIRED_MAX: usize = 100;

/// A database that was away is tried again this soon at the latest: ticks wait for it.
const RETRY_WAIT_MAX: TimeDelta = TimeDelta::seconds(15);

/// One configured schedule, ready to be followed.
#[derive(Clone, Debug)]
pub struct Plan {
    name: String,
    kind: JobKind,
    schedule: Schedule,
    payload: String,
    days_back: Days,
    catch_up: CatchUp,
}

/// Why a schedule cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Its times cannot be read.
    #[error("schedule {name}: its times cannot be read")]
    Times {
        /// The schedule.
        name: String,
        /// The field and what is wrong with it.
        #[source]
        source: ScheduleError,
    },
    /// A tick would start a job that is refused.
    #[error("schedule {name}: its payload would be refused")]
    Payload {
        /// The schedule.
        name: String,
        /// The field and what is wrong with it.
        #[source]
        source: PayloadError,
    },
    /// Nothing but the date is put into a payload.
    #[error("schedule {name}: its payload holds {placeholder}; only {DATE} is known")]
    Placeholder {
        /// The schedule.
        name: String,
        /// As it was written.
        placeholder: String,
    },
}

/// The plans of all configured schedules.
///
/// # Errors
/// The first schedule that cannot be followed: better at the start than at its first tick.
pub fn plans(configured: &[config::Schedule]) -> Result<Vec<Plan>, PlanError> {
    configured.iter().map(Plan::new).collect()
}

impl Plan {
    /// The plan of one schedule, its payload tried on a date.
    pub fn new(configured: &config::Schedule) -> Result<Self, PlanError> {
        let name = configured.name.clone();
        let schedule = Schedule::parse(&configured.cron, configured.zone.name());
        let plan = Self {
            schedule: schedule.map_err(|source| PlanError::Times {
                name: name.clone(),
                source,
            })?,
            kind: configured.kind,
            payload: configured.payload.clone(),
            days_back: Days::new(u64::from(configured.days_back)),
            catch_up: catch_up(configured),
            name,
        };
        let name = || plan.name.clone();
        if let Some(placeholder) = unknown_placeholder(&plan.payload) {
            return Err(PlanError::Placeholder {
                name: name(),
                placeholder,
            });
        }
        Payload::parse(plan.kind, &plan.payload_about(NaiveDate::default())).map_err(|source| {
            PlanError::Payload {
                name: name(),
                source,
            }
        })?;
        Ok(plan)
    }

    fn payload_about(&self, date: NaiveDate) -> String {
        self.payload.replace(DATE, &date.to_string())
    }
}

impl TickPlan for Plan {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> JobKind {
        self.kind
    }

    fn due_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        self.schedule.due_between(from, until, limit)
    }

    fn due_before(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        self.schedule.due_before(from, until, limit)
    }

    fn catch_up(&self) -> CatchUp {
        self.catch_up
    }

    fn payload(&self, due_at: DateTime<Utc>) -> String {
        let date = self.schedule.local_date(due_at);
        self.payload_about(date.checked_sub_days(self.days_back).unwrap_or(date))
    }
}

fn catch_up(configured: &config::Schedule) -> CatchUp {
    match configured.catch_up {
        config::CatchUp::Coalesce => CatchUp::Coalesce,
        config::CatchUp::All => CatchUp::All {
            most: configured
                .catch_up_max
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(FIRED_MAX),
        },
        config::CatchUp::Skip => CatchUp::Skip,
    }
}

/// A word in braces that is not [`DATE`]; in JSON itself no word stands in braces.
fn unknown_placeholder(payload: &str) -> Option<String> {
    let mut rest = payload;
    while let Some((_, opened)) = rest.split_once('{') {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = opened.chars().take_while(|c| is_word(*c)).count();
        let word: String = opened.chars().take(length).collect();
        let is_closed = opened.chars().nth(length) == Some('}');
        let placeholder = format!("{{{word}}}");
        if is_closed && length > 0 && placeholder != DATE {
            return Some(placeholder);
        }
        rest = opened;
    }
    None
}

/// A plan and when it is looked at next.
struct Followed {
    plan: Plan,
    look_at: DateTime<Utc>,
    failures: u32,
}

/// Follows the plans until `stop`. An error is logged and tried again; it ends nothing.
pub async fn run(engine: Engine, plans: Vec<Plan>, stop: CancellationToken) {
    // Stopping half-way is safe: a tick is one transaction.
    let followed = Box::pin(follow(&engine, plans));
    stop.run_until_cancelled(followed).await;
}

async fn follow(engine: &Engine, plans: Vec<Plan>) {
    let start = engine.clock().now();
    // The first look writes a new schedule down and finds what was due while nobody ran.
    let mut followed: Vec<Followed> = plans
        .into_iter()
        .map(|plan| Followed {
            plan,
            look_at: start,
            failures: 0,
        })
        .collect();
    loop {
        for one in &mut followed {
            if one.look_at <= engine.clock().now() {
                one.look(engine).await;
            }
        }
        let latest = engine.clock().now() + LOOK_EVERY;
        let next = followed.iter().map(|one| one.look_at).min();
        let wake_at = next.unwrap_or(DateTime::<Utc>::MAX_UTC).min(latest);
        engine.clock().sleep_until(wake_at).await;
    }
}

impl Followed {
    async fn look(&mut self, engine: &Engine) {
        let now = engine.clock().now();
        match engine.tick(&self.plan).await {
            Ok(_) => {
                self.failures = 0;
                let next = self.plan.schedule.next_after(now);
                self.look_at = next.unwrap_or(DateTime::<Utc>::MAX_UTC);
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let wait = backoff(self.failures, engine.ids().permille()).min(RETRY_WAIT_MAX);
                self.look_at = now + wait;
                warn!(schedule = self.plan.name, failures = self.failures, error = %error, "Could not decide the ticks of {}; trying again", self.plan.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(cron: &str, payload: &str) -> config::Schedule {
        config::Schedule {
            name: "daily".to_owned(),
            cron: cron.to_owned(),
            zone: chrono_tz::Asia::Shanghai,
            kind: JobKind::Reconciliation,
            payload: payload.to_owned(),
            days_back: 1,
            catch_up: config::CatchUp::Coalesce,
            catch_up_max: None,
        }
    }

    const PAYLOAD: &str =
        r#"{"version":1,"channel":"wechat_pay","statements":["wechat_pay/bill.ALL.{date}.csv"]}"#;

    fn refusal(cron: &str, payload: &str) -> String {
        let error = Plan::new(&configured(cron, payload)).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        [Some(error.to_string()), cause]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": ")
    }

    #[test]
    fn a_payload_is_about_the_date_on_the_wall_less_the_days_back() {
        let plan = Plan::new(&configured("30 1 * * *", PAYLOAD)).unwrap();
        // Half past one in Shanghai, still the day before in UTC.
        let due = plan.due_between(
            "2026-03-01T00:00:00Z".parse().unwrap(),
            "2026-03-01T23:00:00Z".parse().unwrap(),
            10,
        );
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].to_rfc3339(), "2026-03-01T17:30:00+00:00");
        assert_eq!(
            plan.payload(due[0]),
            PAYLOAD.replace("{date}", "2026-03-01")
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused_before_the_first_tick() {
        assert_eq!(
            refusal("30 25 * * *", PAYLOAD),
            "schedule daily: its times cannot be read: hour: `25` is not numbers from 0 to 23, like `5`, `9,17`, `9-17` or `*/2`"
        );
        let day = PAYLOAD.replace("{date}", "{day}");
        assert_eq!(
            refusal("30 1 * * *", &day),
            "schedule daily: its payload holds {day}; only {date} is known"
        );
        let without_channel = r#"{"version":1,"statements":["{date}.csv"]}"#;
        assert_eq!(
            refusal("30 1 * * *", without_channel),
            "schedule daily: its payload would be refused: payload: missing field `channel`"
        );
    }

    #[test]
    fn a_settlement_goes_through_the_day_before_its_tick() {
        let settlement = config::Schedule {
            kind: JobKind::SettlementRun,
            ..configured("0 1 * * *", r#"{"version":1,"through":"{date}"}"#)
        };
        let plan = Plan::new(&settlement).unwrap();
        // One in the morning in Shanghai, of the first day of March.
        let due_at = "2026-02-28T17:00:00Z".parse().unwrap();
        let through = r#"{"version":1,"through":"2026-02-28"}"#;
        assert_eq!(plan.payload(due_at), through);
    }

    #[test]
    fn braces_of_json_are_no_placeholders() {
        assert_eq!(unknown_placeholder(r#"{"a":{},"b":"{date}"}"#), None);
        assert_eq!(
            unknown_placeholder(r#"{"a":{"b":"{{hour}}"}}"#).as_deref(),
            Some("{hour}")
        );
    }
}
