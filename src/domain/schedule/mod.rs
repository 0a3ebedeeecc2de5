//! When a schedule is due: a cron expression of five fields on the clock of a named zone.
//!
//! A tick is due at the first instant at which the clock on the wall of its zone shows its time
//! or a later one. So a time that a spring change leaves out is due at the first instant after
//! the gap, and a time that an autumn change shows twice is due at the first of the two. What
//! should run at a steady pace all the year round, such as every hour, names the zone `UTC`.
//!
//! The fields are those of crontab(5): minute, hour, day of month, month, day of week, with `*`,
//! lists, ranges, steps and three-letter names; Sunday is 0 or 7. Where both the day of month and
//! the day of week are restricted, a day that meets either will do.

mod catch_up;
mod fields;
#[cfg(test)]
mod tests;

use std::iter;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

pub use catch_up::{CatchUp, LATE_AFTER, TickFate};
use fields::Field;

/// Longer than anybody writes; a list of every minute has 169 characters.
const EXPRESSION_LENGTH_MAX: usize = 255;

/// How many days are looked at for the next tick: a 29 February that is a Sunday is away for forty
/// years where a century has no leap year.
const DAYS_LOOKED_AT_MAX: usize = 366 * 41;

/// Longer than any zone's clock was ever set back at once: a day, where one crossed the date line.
const FOLD_MAX: TimeDelta = TimeDelta::hours(25);

/// When something is due, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    expression: String,
    zone: Tz,
    /// Every time of day, ascending.
    times: Vec<NaiveTime>,
    days: Days,
}

/// Which days have ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Days {
    of_month: Vec<u32>,
    months: Vec<u32>,
    /// Sunday is 1.
    of_week: Vec<u32>,
    /// Both kinds of day are restricted, and then either will do.
    either: bool,
}

/// Why a schedule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// More than anybody means.
    #[error("a cron expression has at most {EXPRESSION_LENGTH_MAX} characters, not {0}")]
    TooLong(usize),
    /// Too few fields or too many; seconds are not one of them.
    #[error(
        "a cron expression has 5 fields (minute, hour, day of month, month, day of week), not {0}"
    )]
    FieldCount(usize),
    /// A field that cannot be read.
    #[error("{field}: `{text}` is not {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What was written.
        text: String,
        /// What it could be.
        expected: &'static str,
    },
    /// Such a day never comes.
    #[error("day of month: none of the months has a day `{0}`")]
    Never(String),
    /// No such zone.
    #[error("zone: `{0}` is no IANA time zone, such as Asia/Shanghai or UTC")]
    Zone(String),
}

impl Schedule {
    /// Reads a cron expression of five fields and the name of an IANA time zone.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let length = expression.chars().count();
        if length > EXPRESSION_LENGTH_MAX {
            return Err(ScheduleError::TooLong(length));
        }
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let [minute, hour, day_of_month, month, day_of_week] = fields.as_slice() else {
            return Err(ScheduleError::FieldCount(fields.len()));
        };
        let minutes = Field::Minute.read(minute)?;
        let hours = Field::Hour.read(hour)?;
        let days = Days {
            of_month: Field::DayOfMonth.read(day_of_month)?,
            months: Field::Month.read(month)?,
            of_week: Field::DayOfWeek.read(day_of_week)?,
            either: !day_of_month.starts_with('*') && !day_of_week.starts_with('*'),
        };
        if !days.ever_come() {
            return Err(ScheduleError::Never((*day_of_month).to_owned()));
        }
        let zone = Tz::from_str(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let time = |hour| {
            let at = move |minute: &u32| NaiveTime::from_hms_opt(hour, *minute, 0);
            minutes.iter().filter_map(at)
        };
        Ok(Self {
            expression: fields.join(" "),
            zone,
            times: hours.into_iter().flat_map(time).collect(),
            days,
        })
    }

    /// The instants due after `from` and not after `until`, oldest first, at most `limit` of the
    /// newest.
    ///
    /// Walks back from `until` and stops at `limit`, so a schedule of every minute after a year of
    /// downtime costs no more than after an hour.
    pub fn due_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        let mut due: Vec<DateTime<Utc>> = Vec::new();
        let newest = self
            .times_back_from(self.latest_shown(until), self.shown(from).date())
            .filter_map(|time| self.first_instant_showing(time))
            .skip_while(|instant| *instant > until)
            .take_while(|instant| *instant > from);
        for instant in newest {
            if due.last() == Some(&instant) {
                // Several times within one gap are due together, once.
                continue;
            }
            if due.len() >= limit {
                break;
            }
            due.push(instant);
        }
        due.reverse();
        due
    }

    /// The instants due after `from` and before `until`, oldest first, at most `limit` of the oldest.
    pub fn due_before(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        let mut due: Vec<DateTime<Utc>> = Vec::new();
        let oldest = self
            .times_after(self.shown(from))
            .filter_map(|time| self.first_instant_showing(time))
            .skip_while(|instant| *instant <= from)
            .take_while(|instant| *instant < until);
        for instant in oldest {
            if due.last() == Some(&instant) {
                continue;
            }
            if due.len() >= limit {
                break;
            }
            due.push(instant);
        }
        due
    }

    /// The first instant due after `instant`; none where the calendar ends.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.times_after(self.shown(instant))
            .filter_map(|time| self.first_instant_showing(time))
            .find(|due| *due > instant)
    }

    /// The date in the schedule's zone.
    pub fn local_date(&self, instant: DateTime<Utc>) -> NaiveDate {
        self.shown(instant).date()
    }

    /// The expression, its fields one blank apart.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The zone's name.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// What the clock on the wall shows at `instant`.
    fn shown(&self, instant: DateTime<Utc>) -> NaiveDateTime {
        instant.with_timezone(&self.zone).naive_local()
    }

    /// The latest time that the clock on the wall showed by `instant`: what it showed before it
    /// was set back, if that was a short while ago, for such times were due already.
    fn latest_shown(&self, instant: DateTime<Utc>) -> NaiveDateTime {
        let shown = self.shown(instant);
        let before = instant
            .checked_sub_signed(FOLD_MAX)
            .map(|earlier| self.shown(earlier))
            .and_then(|earlier| earlier.checked_add_signed(FOLD_MAX));
        before.map_or(shown, |before| before.max(shown))
    }

    fn first_instant_showing(&self, time: NaiveDateTime) -> Option<DateTime<Utc>> {
        first_instant_showing(self.zone, time)
    }

    /// Every matching time on the wall after `time`, ascending, as far as days are looked at.
    fn times_after(&self, time: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        iter::successors(Some(time.date()), NaiveDate::succ_opt)
            .take(DAYS_LOOKED_AT_MAX)
            .filter(|date| self.days.contain(*date))
            .flat_map(|date| self.times.iter().map(move |at| date.and_time(*at)))
            .skip_while(move |candidate| *candidate <= time)
    }

    /// Every matching time on the wall not after `time`, descending, down to the day `first`:
    /// what the clock showed on earlier days was due earlier.
    fn times_back_from(
        &self,
        time: NaiveDateTime,
        first: NaiveDate,
    ) -> impl Iterator<Item = NaiveDateTime> {
        iter::successors(Some(time.date()), NaiveDate::pred_opt)
            .take_while(move |date| *date >= first)
            .filter(|date| self.days.contain(*date))
            .flat_map(|date| self.times.iter().rev().map(move |at| date.and_time(*at)))
            .skip_while(move |candidate| *candidate > time)
    }
}

/// The first instant at which the clock on the wall of a zone shows this time or a later one.
pub(super) fn first_instant_showing(zone: Tz, time: NaiveDateTime) -> Option<DateTime<Utc>> {
    let on_the_wall = zone.from_local_datetime(&time).earliest();
    let after_the_gap = || GapInfo::new(&time, &zone)?.end;
    Some(on_the_wall.or_else(after_the_gap)?.to_utc())
}

impl Days {
    fn contain(&self, date: NaiveDate) -> bool {
        let is_of_month = self.of_month.contains(&date.day());
        let is_of_week = self.of_week.contains(&date.weekday().number_from_sunday());
        let is_day = if self.either {
            is_of_month || is_of_week
        } else {
            is_of_month && is_of_week
        };
        is_day && self.months.contains(&date.month())
    }

    /// Whether any of the months has any of the days.
    fn ever_come(&self) -> bool {
        // A leap year has every day that ever comes.
        let exists = |month: &u32, day: &u32| NaiveDate::from_ymd_opt(2024, *month, *day).is_some();
        let mut months = self.months.iter();
        self.either || months.any(|month| self.of_month.iter().any(|day| exists(month, day)))
    }
}
