//! What the type of a single setting cannot say: bounds, and settings that must agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use clearday_jobs::{MethodGroup, Money};

use super::layers::Node;
use super::{
    Approvals, Bank, CatchUp, Channel, ConfigError, Jobs, Log, Retention, Schedule, Secret,
    Settings, Smtp,
};
use crate::domain::partner_notification::PayLinkTemplate;
use crate::telemetry;

/// A lease must survive two renewals that fail.
const RENEWALS_PER_LEASE: u32 = 3;
/// An emptied Redis may delay a job by 10 s, not longer: the sweep finds what nobody was woken for.
const SWEEP_SECONDS_MAX: u64 = 10;
/// A century: longer is for ever, which is 0.
const DAYS_MAX: u32 = 36_500;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// Refuses what does not fit; the layers tell where it was written.
pub(super) struct Checks<'a>(pub(super) &'a Node);

impl Checks<'_> {
    fn refuse(&self, key: impl Into<String>, reason: impl Into<String>) -> ConfigError {
        let key = key.into();
        ConfigError::Value {
            origin: self.0.find(&key).origin.clone(),
            key,
            reason: reason.into(),
        }
    }

    /// Fills a secret, such as `url`, from the file that `url_file` names.
    pub(super) fn read_secret(
        &self,
        (section, name): (&str, &str),
        file: Option<&Path>,
        secret: &mut Option<Secret>,
    ) -> Result<(), ConfigError> {
        let Some(path) = file else { return Ok(()) };
        let key = format!("{section}.{name}_file");
        if secret.is_some() {
            let reason = format!("`{section}.{name}` is set beside it; keep one of the two");
            return Err(self.refuse(key, reason));
        }
        let text = fs::read_to_string(path).map_err(|source| ConfigError::SecretFile {
            origin: self.0.find(&key).origin.clone(),
            key: key.clone(),
            path: path.to_owned(),
            source,
        })?;
        if text.trim().is_empty() {
            return Err(self.refuse(key, format!("{} is empty", path.display())));
        }
        *secret = Some(Secret::new(text.trim()));
        Ok(())
    }

    pub(super) fn all(&self, settings: &Settings) -> Result<(), ConfigError> {
        self.urls(settings)?;
        self.jobs(&settings.jobs)?;
        self.retention(&settings.retention)?;
        self.sequence(&settings.authorization.sequence)?;
        self.log(&settings.log)?;
        self.approvals(&settings.approvals)?;
        self.people(settings)?;
        self.messages(settings)?;
        self.channels(&settings.channels)?;
        self.banks(&settings.banks, &settings.channels)?;
        self.schedules(&settings.schedules)
    }

    fn schedules(&self, schedules: &[Schedule]) -> Result<(), ConfigError> {
        for (index, schedule) in schedules.iter().enumerate() {
            let Some(most) = schedule.catch_up_max else {
                continue;
            };
            let key = format!("schedules[{index}].catch_up_max");
            match schedule.catch_up {
                CatchUp::All => self.between(&key, most, 1, 1_000)?,
                CatchUp::Coalesce | CatchUp::Skip => {
                    return Err(self.refuse(key, "belongs to `catch_up = \"all\"`"));
                }
            }
        }
        self.unique("schedules", "name", schedules.iter().map(|it| &it.name))
    }

    fn urls(&self, settings: &Settings) -> Result<(), ConfigError> {
        let starts = |url: &Option<Secret>, schemes: &[&str]| {
            url.as_ref().is_none_or(|url| {
                schemes
                    .iter()
                    .any(|scheme| url.reveal().starts_with(scheme))
            })
        };
        if !starts(
            &settings.database.url,
            &["sqlite:", "postgres://", "postgresql://"],
        ) {
            return Err(self.refuse("database.url", "must start with sqlite:// or postgres://"));
        }
        if !starts(
            &settings.redis.url,
            &["redis://", "rediss://", "redis+unix://", "unix://"],
        ) {
            return Err(self.refuse("redis.url", "must start with redis:// or rediss://"));
        }
        self.between(
            "database.connections_max",
            settings.database.connections_max,
            1,
            1_000,
        )
    }

    fn jobs(&self, jobs: &Jobs) -> Result<(), ConfigError> {
        self.within("jobs.lease_seconds", jobs.lease, HOUR)?;
        self.within("jobs.heartbeat_seconds", jobs.heartbeat, HOUR)?;
        self.within("jobs.sweep_seconds", jobs.sweep, SWEEP_SECONDS_MAX)?;
        self.within("jobs.handler_timeout_seconds", jobs.handler_timeout, DAY)?;
        self.within("jobs.shutdown_seconds", jobs.shutdown, HOUR)?;
        self.between("jobs.attempts_max", jobs.attempts_max, 1, 1_000)?;
        self.between("jobs.rescues_max", jobs.rescues_max, 1, 1_000)?;
        self.between("jobs.concurrency", jobs.concurrency, 1, 1_000)?;
        if let Some(most) = jobs.partition_concurrency {
            self.between("jobs.partition_concurrency", most, 1, 1_000)?;
        }
        if jobs.heartbeat.saturating_mul(RENEWALS_PER_LEASE) > jobs.lease {
            let reason = format!(
                "must be at most a third of `jobs.lease_seconds` ({}), so that a lease survives two failed renewals",
                jobs.lease.as_secs()
            );
            return Err(self.refuse("jobs.heartbeat_seconds", reason));
        }
        Ok(())
    }

    fn retention(&self, retention: &Retention) -> Result<(), ConfigError> {
        let Retention {
            jobs_days,
            job_events_days,
        } = *retention;
        self.between("retention.jobs_days", jobs_days, 0, DAYS_MAX)?;
        self.between("retention.job_events_days", job_events_days, 1, DAYS_MAX)?;
        if job_events_days < jobs_days {
            let reason = format!("must not be below `retention.jobs_days` ({jobs_days})");
            return Err(self.refuse("retention.job_events_days", reason));
        }
        Ok(())
    }

    fn sequence(&self, sequence: &[MethodGroup]) -> Result<(), ConfigError> {
        let is_complete = MethodGroup::ALL
            .iter()
            .all(|group| sequence.contains(group));
        if is_complete && sequence.len() == MethodGroup::ALL.len() {
            return Ok(());
        }
        let groups = MethodGroup::ALL.map(MethodGroup::as_str).join(", ");
        let reason = format!("must name each of {groups} once, in the order of charging");
        Err(self.refuse("authorization.sequence", reason))
    }

    fn log(&self, log: &Log) -> Result<(), ConfigError> {
        telemetry::parse_filter(&log.filter)
            .map(drop)
            .map_err(|error| self.refuse("log.filter", error.to_string()))
    }

    fn approvals(&self, approvals: &Approvals) -> Result<(), ConfigError> {
        let list = "approvals.two_people_from";
        let limits = &approvals.two_people_from;
        for (index, limit) in limits.iter().enumerate() {
            let reason = match Money::parse_major(&limit.amount, limit.currency) {
                Ok(amount) if !amount.is_negative() => continue,
                Ok(_) => "must not be negative".to_owned(),
                Err(error) => error.to_string(),
            };
            return Err(self.refuse(format!("{list}[{index}].amount"), reason));
        }
        self.unique(list, "currency", limits.iter().map(|it| it.currency))
    }

    fn people(&self, settings: &Settings) -> Result<(), ConfigError> {
        let people = &settings.people;
        if people.is_empty() && !settings.http.listen.ip().is_loopback() {
            let reason = "is open to other machines, but there are no [[people]]: name somebody, \
                          or listen on 127.0.0.1";
            return Err(self.refuse("http.listen", reason));
        }
        for (index, person) in people.iter().enumerate() {
            let name = &person.name;
            if name.trim() != name || name.chars().any(char::is_control) {
                let reason = "must have no blanks around it and no control character";
                return Err(self.refuse(format!("people[{index}].name"), reason));
            }
        }
        // Two people must be two people: `Wang` and `wang` could approve each other's payouts.
        let names = people.iter().map(|it| it.name.to_lowercase());
        self.unique("people", "name", names)?;
        self.unique(
            "people",
            "token_sha256",
            people.iter().map(|it| it.token_sha256.0),
        )
    }

    fn messages(&self, settings: &Settings) -> Result<(), ConfigError> {
        if let Some(template) = &settings.notifications.pay_link_template
            && let Err(error) = PayLinkTemplate::parse(template)
        {
            let key = "notifications.pay_link_template";
            return Err(self.refuse(key, error.to_string()));
        }
        self.smtp(&settings.smtp)?;
        let sms = &settings.sms;
        let timeouts = [sms.connect_timeout, sms.request_timeout];
        // Any URL will do where there is none to check.
        let url = sms.url.as_deref().unwrap_or("https://");
        self.outside("sms", url, timeouts)?;
        let webhooks = &settings.webhooks;
        let timeouts = [webhooks.connect_timeout, webhooks.request_timeout];
        self.outside("webhooks", "https://", timeouts)
    }

    fn smtp(&self, smtp: &Smtp) -> Result<(), ConfigError> {
        self.between("smtp.port", smtp.port, 1, 65_535)?;
        let timeouts = [smtp.connect_timeout, smtp.request_timeout];
        self.outside("smtp", "https://", timeouts)?;
        if smtp.host.is_some() && smtp.from.is_none() {
            let reason =
                "is set, but nobody sends: set `smtp.from`, like \"clearday <pay@example.com>\"";
            return Err(self.refuse("smtp.host", reason));
        }
        if smtp.username.is_some() != smtp.password.is_some() {
            let reason = "signing in takes both `smtp.username` and `smtp.password_file`";
            let key = if smtp.username.is_some() {
                "smtp.username"
            } else {
                "smtp.password"
            };
            return Err(self.refuse(key, reason));
        }
        Ok(())
    }

    fn pace(&self, list: &str, per_second: Option<u32>) -> Result<(), ConfigError> {
        per_second.map_or(Ok(()), |requests| {
            self.between(&format!("{list}.requests_per_second"), requests, 1, 10_000)
        })
    }

    fn channels(&self, channels: &[Channel]) -> Result<(), ConfigError> {
        for (index, channel) in channels.iter().enumerate() {
            let list = format!("channels[{index}]");
            let timeouts = [channel.connect_timeout, channel.request_timeout];
            self.outside(&list, &channel.url, timeouts)?;
            self.pace(&list, channel.requests_per_second)?;
        }
        self.unique("channels", "name", channels.iter().map(|it| &it.name))
    }

    fn banks(&self, banks: &[Bank], channels: &[Channel]) -> Result<(), ConfigError> {
        for (index, bank) in banks.iter().enumerate() {
            let list = format!("banks[{index}]");
            let timeouts = [bank.connect_timeout, bank.request_timeout];
            self.outside(&list, &bank.url, timeouts)?;
            self.pace(&list, bank.requests_per_second)?;
            if let Err(error) = bank.payout_ceiling() {
                return Err(self.refuse(format!("{list}.payout_max"), error.to_string()));
            }
            // Statements and records are told apart by this name alone.
            let same_name = channels.iter().position(|it| it.name == bank.name);
            if let Some(channel) = same_name {
                let reason = format!("is also the name of channels[{channel}]");
                return Err(self.refuse(format!("{list}.name"), reason));
            }
        }
        self.unique("banks", "name", banks.iter().map(|it| &it.name))
    }

    /// Checks how somebody outside is reached.
    fn outside(
        &self,
        list: &str,
        url: &str,
        [connect, request]: [Duration; 2],
    ) -> Result<(), ConfigError> {
        if !["http://", "https://"].iter().any(|it| url.starts_with(it)) {
            let reason = "must start with https:// or http://";
            return Err(self.refuse(format!("{list}.url"), reason));
        }
        self.within(&format!("{list}.connect_timeout_seconds"), connect, HOUR)?;
        self.within(&format!("{list}.request_timeout_seconds"), request, HOUR)
    }

    /// Refuses the second of two equal values of one key in a list.
    fn unique<T: Ord>(
        &self,
        list: &str,
        key: &str,
        values: impl Iterator<Item = T>,
    ) -> Result<(), ConfigError> {
        let mut first_of = BTreeMap::new();
        for (index, value) in values.enumerate() {
            if let Some(first) = first_of.insert(value, index) {
                let reason = format!("is also the {key} of {list}[{first}]");
                return Err(self.refuse(format!("{list}[{index}].{key}"), reason));
            }
        }
        Ok(())
    }

    fn within(&self, key: &str, duration: Duration, seconds_max: u64) -> Result<(), ConfigError> {
        let seconds = duration.as_secs();
        if (1..=seconds_max).contains(&seconds) {
            return Ok(());
        }
        Err(self.refuse(
            key,
            format!("must be 1 to {seconds_max} seconds, not {seconds}"),
        ))
    }

    fn between(&self, key: &str, number: u32, min: u32, max: u32) -> Result<(), ConfigError> {
        if (min..=max).contains(&number) {
            return Ok(());
        }
        Err(self.refuse(key, format!("must be {min} to {max}, not {number}")))
    }
}
