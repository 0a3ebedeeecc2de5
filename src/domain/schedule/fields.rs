//! The five fields of a cron expression, read by the `cron` crate one at a time, so that a refusal
//! names the field.
//!
//! The crate differs from crontab(5) in ways that are made good here: it counts the days of the
//! week from Sunday being 1, and it finds the end of a field by itself.

use std::str::FromStr;

use cron::TimeUnitSpec;

use super::ScheduleError;

/// One of the five fields.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

impl Field {
    /// The numbers a field stands for, ascending.
    pub(super) fn read(self, text: &str) -> Result<Vec<u32>, ScheduleError> {
        let refused = || ScheduleError::Field {
            field: self.name(),
            text: text.to_owned(),
            expected: self.expected(),
        };
        // The crate takes it for `*`; with it, "restricted" would be hard to tell.
        if text.contains('?') {
            return Err(refused());
        }
        // The year keeps the crate from reading a field as two, `5*`, or two as one, `5, *`.
        let expression = match self {
            Self::Minute => format!("0 {text} * * * * 2000"),
            Self::Hour => format!("0 0 {text} * * * 2000"),
            Self::DayOfMonth => format!("0 0 0 {text} * * 2000"),
            Self::Month => format!("0 0 0 * {text} * 2000"),
            Self::DayOfWeek => {
                let days = days_from_sunday(text).ok_or_else(refused)?;
                format!("0 0 0 * * {days} 2000")
            }
        };
        let read = cron::Schedule::from_str(&expression).map_err(|_| refused())?;
        Ok(match self {
            Self::Minute => read.minutes().iter().collect(),
            Self::Hour => read.hours().iter().collect(),
            Self::DayOfMonth => read.days_of_month().iter().collect(),
            Self::Month => read.months().iter().collect(),
            Self::DayOfWeek => read.days_of_week().iter().collect(),
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Minute => "numbers from 0 to 59, like `5`, `0,30`, `10-20` or `*/15`",
            Self::Hour => "numbers from 0 to 23, like `5`, `9,17`, `9-17` or `*/2`",
            Self::DayOfMonth => "numbers from 1 to 31, like `1`, `1,15`, `1-7` or `*/2`",
            Self::Month => "numbers from 1 to 12 or names, like `1`, `3,6,9,12`, `1-6` or `JAN`",
            Self::DayOfWeek => {
                "numbers from 0 (Sunday) to 6 or names, like `1`, `1-5` or `MON-FRI`; Sunday ends no range"
            }
        }
    }
}

/// Days of the week as crontab(5) numbers them, Sunday being 0 or 7, in the numbers of the crate,
/// Sunday being 1.
fn days_from_sunday(text: &str) -> Option<String> {
    let items = text.split(',').map(|item| {
        let (days, step) = match item.split_once('/') {
            Some((days, step)) => (days, Some(step)),
            None => (item, None),
        };
        let bounds: Vec<String> = match days.split_once('-') {
            Some((first, last)) => vec![day_number(first, 6)?, day_number(last, 6)?],
            None => vec![day_number(days, 7)?],
        };
        let step = step.map_or_else(String::new, |step| format!("/{step}"));
        Some(bounds.join("-") + &step)
    });
    let items: Option<Vec<String>> = items.collect();
    Some(items?.join(","))
}

/// One day's number in the crate's counting; a name stays itself.
fn day_number(text: &str, last: u32) -> Option<String> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.to_owned());
    }
    let day: u32 = text.parse().ok()?;
    (day <= last).then(|| day.rem_euclid(7).saturating_add(1).to_string())
}
