//! The settings: `config/default.toml`, under the file of `--config`, under the environment.
//!
//! Nothing is guessed: a key that no setting has, a value out of bounds and two settings that
//! contradict each other are errors that name the key and where it was written. Nothing here reads
//! the process' environment; whoever calls passes it in.

mod checks;
mod error;
mod layers;
mod messages;
mod read;
mod values;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use clearday_jobs::{ChannelName, Currency, JobKind, MethodGroup, Money, MoneyError};
use serde::Deserialize;

pub use error::{ConfigError, Hint, Origin};
pub use messages::{Notifications, Sms, Smtp, Webhooks};
pub use values::{Secret, TokenSha256};

use crate::engine::{self, Policy};
use checks::Checks;
use layers::Node;
use read::Reader;

/// Every key with its default, unit and meaning; it *is* the default.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where jobs and money are kept.
    pub database: Database,
    /// Where submissions come in and the bell rings.
    pub redis: Redis,
    /// The HTTP server.
    pub http: Http,
    /// How patient the engine is.
    pub jobs: Jobs,
    /// How long what is finished is kept.
    pub retention: Retention,
    /// How payment methods are charged.
    pub authorization: Authorization,
    /// What is told, and how.
    pub log: Log,
    /// Where statements arrive.
    pub statements: Statements,
    /// What takes two people.
    #[serde(default)]
    pub approvals: Approvals,
    /// What partners are told.
    pub notifications: Notifications,
    /// How e-mail goes.
    pub smtp: Smtp,
    /// How SMS go.
    pub sms: Sms,
    /// How webhooks go.
    pub webhooks: Webhooks,
    /// Who may use the HTTP interface.
    #[serde(default)]
    pub people: Vec<Person>,
    /// The payment channels.
    #[serde(default)]
    pub channels: Vec<Channel>,
    /// The banks that pay merchants out.
    #[serde(default)]
    pub banks: Vec<Bank>,
    /// What the clock starts.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://PATH` or `postgres://…`; read from `url_file` where that is set instead.
    pub url: Option<Secret>,
    /// A file that holds the URL and nothing else.
    pub url_file: Option<PathBuf>,
    /// Connections that one process holds at most; SQLite has its own number.
    #[serde(deserialize_with = "values::whole")]
    pub connections_max: u32,
}

/// `[redis]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://…`; without it the queue is inside the process.
    pub url: Option<Secret>,
    /// A file that holds the URL and nothing else.
    pub url_file: Option<PathBuf>,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port.
    #[serde(deserialize_with = "values::address")]
    pub listen: SocketAddr,
}

/// `[jobs]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// How long a worker's hold on a job lasts without renewal.
    #[serde(rename = "lease_seconds", deserialize_with = "values::seconds")]
    pub lease: Duration,
    /// How often holds are renewed.
    #[serde(rename = "heartbeat_seconds", deserialize_with = "values::seconds")]
    pub heartbeat: Duration,
    /// How often jobs of dead workers are looked for.
    #[serde(rename = "sweep_seconds", deserialize_with = "values::seconds")]
    pub sweep: Duration,
    /// Failed runs after which a job is buried.
    #[serde(deserialize_with = "values::whole")]
    pub attempts_max: u32,
    /// Lapsed holds after which a job is buried.
    #[serde(deserialize_with = "values::whole")]
    pub rescues_max: u32,
    /// A run that takes longer is given up and counts as failed.
    #[serde(
        rename = "handler_timeout_seconds",
        deserialize_with = "values::seconds"
    )]
    pub handler_timeout: Duration,
    /// Runs at the same time, for each kind of job.
    #[serde(deserialize_with = "values::whole")]
    pub concurrency: u32,
    /// Runs of one kind and one partition at the same time, over all daemons.
    #[serde(default, deserialize_with = "values::some_whole")]
    pub partition_concurrency: Option<u32>,
    /// Where each daemon of this machine keeps a locked file, as a sign of life for the others.
    #[serde(default)]
    pub locks_directory: Option<PathBuf>,
    /// How long a stopping daemon waits for its runs.
    #[serde(rename = "shutdown_seconds", deserialize_with = "values::seconds")]
    pub shutdown: Duration,
}

/// `[retention]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days for which done and cancelled jobs are kept; 0: for ever.
    #[serde(deserialize_with = "values::whole")]
    pub jobs_days: u32,
    /// Days for which their histories are.
    #[serde(deserialize_with = "values::whole")]
    pub job_events_days: u32,
}

/// `[authorization]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The groups of payment methods in the order in which they are charged; each of them once.
    pub sequence: Vec<MethodGroup>,
    /// Whose calendar says on which date a card is charged.
    #[serde(deserialize_with = "values::zone")]
    pub zone: Tz,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// Which targets tell how much.
    pub filter: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A sentence with its fields.
    Text,
    /// One JSON object.
    Json,
}

/// `[statements]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statements {
    /// The folder that channel statements arrive in.
    pub directory: PathBuf,
}

/// `[approvals]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// From which amount on a payout takes two people, for each currency that has a limit.
    #[serde(default)]
    pub two_people_from: Vec<TwoPeopleFrom>,
}

/// `[[approvals.two_people_from]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoPeopleFrom {
    /// The currency of the limit.
    pub currency: Currency,
    /// The least amount that takes two people, in major units; what a payee gets on one day counts
    /// together.
    #[serde(deserialize_with = "values::text")]
    pub amount: String,
}

impl Approvals {
    /// The least amount in this currency that takes two people; `None`: every amount does.
    pub fn limit(&self, currency: Currency) -> Option<Money> {
        let limit = self
            .two_people_from
            .iter()
            .find(|limit| limit.currency == currency)?;
        // Read once already by the checks; what could not be read would be no limit.
        Money::parse_major(&limit.amount, currency).ok()
    }
}

/// `[[people]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Who it is; shown in every history.
    #[serde(deserialize_with = "values::text")]
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Digest of their bearer token.
    pub token_sha256: TokenSha256,
    /// From this instant on the token is refused; without it, never.
    #[serde(default, deserialize_with = "values::instant")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// What a person may do; each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Enqueue, retry and cancel.
    Operator,
    /// Approve what moves money.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// The name in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[[channels]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// The name that orders and records use.
    pub name: ChannelName,
    /// What speaks to it.
    pub connector: Connector,
    /// Where it is.
    #[serde(deserialize_with = "values::text")]
    pub url: String,
    /// How long connecting may take.
    #[serde(
        rename = "connect_timeout_seconds",
        default = "connect_timeout",
        deserialize_with = "values::seconds"
    )]
    pub connect_timeout: Duration,
    /// How long a call may take, connecting included.
    #[serde(
        rename = "request_timeout_seconds",
        default = "request_timeout",
        deserialize_with = "values::seconds"
    )]
    pub request_timeout: Duration,
    /// After this long without effect, a request that left has none any more; the channel's own
    /// promise. "Not found" is believed only then.
    #[serde(
        rename = "processing_window_seconds",
        default = "processing_window",
        deserialize_with = "values::seconds"
    )]
    pub processing_window: Duration,
    /// Requests per second, over all daemons; without it, as many as there are.
    #[serde(default, deserialize_with = "values::some_whole")]
    pub requests_per_second: Option<u32>,
    /// What a bank's statement says where this channel deposits what it owes.
    #[serde(default, deserialize_with = "values::some_text")]
    pub deposit_text: Option<String>,
}

/// `[[banks]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// The name that merchants' accounts use; no channel has it too.
    pub name: ChannelName,
    /// What speaks to it.
    pub connector: Connector,
    /// Where it is.
    #[serde(deserialize_with = "values::text")]
    pub url: String,
    /// The account that pays, as statements name it.
    #[serde(deserialize_with = "values::text")]
    pub account_no: String,
    /// The currency of the account.
    pub currency: Currency,
    /// The most it pays with one order, in major units; without it, anything. See
    /// [`Bank::payout_ceiling`].
    #[serde(default, deserialize_with = "values::some_text")]
    pub payout_max: Option<String>,
    /// Orders at this time of day or later are paid on the bank's next day.
    #[serde(default = "cutoff", deserialize_with = "values::time_of_day")]
    pub cutoff: NaiveTime,
    /// Whose wall clock.
    #[serde(default = "bank_zone", deserialize_with = "values::zone")]
    pub zone: Tz,
    /// How long connecting may take.
    #[serde(
        rename = "connect_timeout_seconds",
        default = "connect_timeout",
        deserialize_with = "values::seconds"
    )]
    pub connect_timeout: Duration,
    /// How long a call may take, connecting included.
    #[serde(
        rename = "request_timeout_seconds",
        default = "request_timeout",
        deserialize_with = "values::seconds"
    )]
    pub request_timeout: Duration,
    /// Requests per second, over all daemons; without it, as many as there are.
    #[serde(default, deserialize_with = "values::some_whole")]
    pub requests_per_second: Option<u32>,
    /// After this long without effect, an order that left has none any more; the bank's own promise.
    #[serde(
        rename = "processing_window_seconds",
        default = "processing_window",
        deserialize_with = "values::seconds"
    )]
    pub processing_window: Duration,
}

impl Bank {
    /// The most it pays with one order.
    ///
    /// # Errors
    /// When `payout_max` is no amount above zero; settings that were loaded have none such.
    pub fn payout_ceiling(&self) -> Result<Option<Money>, MoneyError> {
        let parse = |text: &str| Money::parse_major(text, self.currency);
        let ceiling = self.payout_max.as_deref().map(parse).transpose()?;
        match (ceiling, &self.payout_max) {
            (Some(most), Some(text)) if most.is_zero() || most.is_negative() => {
                Err(MoneyError::NotAnAmount(text.clone()))
            }
            (ceiling, _) => Ok(ceiling),
        }
    }
}

/// Five in the afternoon: when Chinese banks take the last order of a working day.
const fn cutoff() -> NaiveTime {
    NaiveTime::MIN
        .overflowing_add_signed(TimeDelta::hours(17))
        .0
}

const fn bank_zone() -> Tz {
    Tz::Asia__Shanghai
}

const fn processing_window() -> Duration {
    Duration::from_mins(5)
}

const fn connect_timeout() -> Duration {
    Duration::from_secs(3)
}

const fn request_timeout() -> Duration {
    Duration::from_secs(10)
}

/// What speaks to a channel or a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connector {
    /// The channel, or the bank, inside the binary.
    Sandbox,
}

/// `[[schedules]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What it is called; the front of its jobs' keys.
    #[serde(deserialize_with = "values::text")]
    pub name: String,
    /// When, on the wall clock of `zone`.
    #[serde(deserialize_with = "values::text")]
    pub cron: String,
    /// Whose wall clock.
    #[serde(deserialize_with = "values::zone")]
    pub zone: Tz,
    /// The kind of job that a tick starts.
    pub kind: JobKind,
    /// The payload of that job.
    #[serde(deserialize_with = "values::text")]
    pub payload: String,
    /// How many days before the tick's own the job is about.
    #[serde(default, deserialize_with = "values::whole")]
    pub days_back: u32,
    /// What becomes of ticks that were due while nobody ran.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// With [`CatchUp::All`]: how many fire at most; 100 where it is not said.
    #[serde(default, deserialize_with = "values::some_whole")]
    pub catch_up_max: Option<u32>,
}

/// What becomes of ticks that were due while nobody ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The latest fires for all of them.
    #[default]
    Coalesce,
    /// Each fires, up to a number.
    All,
    /// What is late is skipped.
    Skip,
}

impl Settings {
    /// The defaults, under `file`, under the settings among `environment`.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Node::from_toml(DEFAULT_TOML, &|_| Origin::Default)?;
        if let Some(path) = file {
            layers.overlay(read_file(path)?);
        }
        layers.overlay(Node::from_environment(environment, &documented_keys())?);

        let mut settings = Self::deserialize(Reader(&layers)).map_err(read::Fault::into_error)?;
        let checks = Checks(&layers);
        let (database, redis) = (&mut settings.database, &mut settings.redis);
        let (smtp, sms) = (&mut settings.smtp, &mut settings.sms);
        for (section, key, file, secret) in [
            ("database", "url", &database.url_file, &mut database.url),
            ("redis", "url", &redis.url_file, &mut redis.url),
            ("smtp", "password", &smtp.password_file, &mut smtp.password),
            ("sms", "token", &sms.token_file, &mut sms.token),
        ] {
            checks.read_secret((section, key), file.as_deref(), secret)?;
        }
        checks.all(&settings)?;
        Ok(settings)
    }

    /// The database's URL.
    ///
    /// # Errors
    /// [`ConfigError::NoDatabase`] when none is named.
    pub fn database_url(&self) -> Result<&Secret, ConfigError> {
        self.database.url.as_ref().ok_or(ConfigError::NoDatabase)
    }

    /// How long finished jobs are kept; `None`: for ever.
    pub fn retention(&self) -> Option<engine::Retention> {
        let kept = &self.retention;
        (kept.jobs_days > 0).then(|| engine::Retention {
            jobs: TimeDelta::days(kept.jobs_days.into()),
            job_events: TimeDelta::days(kept.job_events_days.into()),
        })
    }

    /// How patient the engine is.
    pub fn policy(&self) -> Policy {
        Policy {
            // Bounded by a day, so the conversion cannot miss.
            lease: TimeDelta::from_std(self.jobs.lease).unwrap_or(TimeDelta::MAX),
            attempts_max: self.jobs.attempts_max,
            rescues_max: self.jobs.rescues_max,
            handler_timeout: self.jobs.handler_timeout,
            partition_concurrency: self
                .jobs
                .partition_concurrency
                .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        }
    }
}

fn read_file(path: &Path) -> Result<Node, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    Node::from_toml(&text, &layers::in_file(&path.display().to_string()))
}

/// Every key outside lists, as section and key, from the commented defaults: those that have no
/// default stand there as comments, `# url = …`.
fn documented_keys() -> Vec<(&'static str, &'static str)> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in DEFAULT_TOML.lines() {
        let setting = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = setting
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            // A list's name is left in brackets, and no variable has such a section.
            section = name;
        } else if let Some((key, _)) = setting.split_once(" = ")
            && is_key(key)
            && is_key(section)
        {
            keys.push((section, key));
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    text.chars()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}
