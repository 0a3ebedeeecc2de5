//! Which days a settlement covers, and when it is paid.
//!
//! Periods of one merchant are contiguous and half-open: each begins where the one before it ended. Days that fall due
//! together share a period, such as a Friday and its weekend; and what is due already is taken together, because it
//! can be paid together.

use chrono::NaiveDate;

use crate::domain::calendar::Calendar;
use crate::domain::merchant::{Cycle, due_on};

/// The days of one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    pub from: NaiveDate,
    /// The first day that is not part of it any more.
    pub until: NaiveDate,
    /// The day on which it is paid; none in a year that the calendar does not know yet.
    pub due_on: Option<NaiveDate>,
}

/// What periods are made of.
#[derive(Clone, Copy, Debug)]
pub struct Schedule<'a> {
    /// How often the merchant is paid, and how soon.
    pub cycle: &'a Cycle,
    /// Whose business days count.
    pub calendar: &'a Calendar,
    /// The day it is where the merchant is.
    pub today: NaiveDate,
}

/// The next period of a merchant whose first unsettled business is of the day `first`, up to the end of `through`;
/// none while no period is over. `from` is where the period before ended, if there was one.
pub fn next_period(
    schedule: Schedule<'_>,
    from: Option<NaiveDate>,
    first: NaiveDate,
    through: NaiveDate,
) -> Option<Period> {
    let from = from.unwrap_or(first);
    let start = from.max(first);
    let newest = schedule.cycle.latest_period_last(through)?;
    if newest < start {
        return None;
    }
    let last = overdue_last(schedule, start, newest)
        .or_else(|| last_due_together(schedule, start, newest))?;
    Some(Period {
        from,
        until: last.succ_opt()?,
        due_on: due(schedule, last),
    })
}

/// The last day, up to `newest`, whose business is due by now.
fn overdue_last(schedule: Schedule<'_>, start: NaiveDate, newest: NaiveDate) -> Option<NaiveDate> {
    let mut end = newest;
    while end >= start {
        if due(schedule, end).is_some_and(|due| due <= schedule.today) {
            return Some(end);
        }
        end = schedule.cycle.latest_period_last(end.pred_opt()?)?;
    }
    None
}

/// The last day, up to `newest`, that falls due together with `start`.
fn last_due_together(
    schedule: Schedule<'_>,
    start: NaiveDate,
    newest: NaiveDate,
) -> Option<NaiveDate> {
    let mut last = schedule.cycle.period_last(start);
    if last > newest {
        return None;
    }
    let together = due(schedule, last);
    loop {
        let next = schedule.cycle.period_last(last.succ_opt()?);
        if next > newest || due(schedule, next) != together {
            return Some(last);
        }
        last = next;
    }
}

fn due(schedule: Schedule<'_>, period_last: NaiveDate) -> Option<NaiveDate> {
    due_on(schedule.cycle, schedule.calendar, period_last).ok()
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        reason = "a test that overflows fails, and should"
    )]

    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn next(cycle: &str, today: &str, from: Option<&str>, first: &str, through: &str) -> String {
        let calendar = Calendar::find("CN").unwrap();
        let cycle: Cycle = cycle.parse().unwrap();
        let schedule = Schedule {
            cycle: &cycle,
            calendar: &calendar,
            today: date(today),
        };
        match next_period(schedule, from.map(date), date(first), date(through)) {
            None => "none".to_owned(),
            Some(Period {
                from,
                until,
                due_on,
            }) => {
                let due = due_on.map_or("unknown".to_owned(), |day| day.to_string());
                format!("{from} until {until} due {due}")
            }
        }
    }

    #[test]
    fn a_friday_and_its_weekend_are_paid_together_on_monday() {
        let all = "2026-03-06 until 2026-03-09 due 2026-03-09";
        assert_eq!(
            next("T+1", "2026-03-08", None, "2026-03-06", "2026-03-08"),
            all
        );
        let saturday = "2026-03-06 until 2026-03-07 due 2026-03-09";
        assert_eq!(
            next("T+1", "2026-03-07", None, "2026-03-06", "2026-03-06"),
            saturday
        );
    }

    #[test]
    fn a_make_up_workday_is_a_business_day() {
        // Saturday 28 February 2026 is worked (调休).
        assert_eq!(
            next("T+1", "2026-02-28", None, "2026-02-27", "2026-02-27"),
            "2026-02-27 until 2026-02-28 due 2026-02-28"
        );
    }

    #[test]
    fn days_that_fall_due_apart_are_settled_apart() {
        assert_eq!(
            next("T+3", "2026-03-04", None, "2026-03-02", "2026-03-03"),
            "2026-03-02 until 2026-03-03 due 2026-03-05"
        );
    }

    #[test]
    fn what_is_due_already_is_taken_together_up_to_what_is_not() {
        assert_eq!(
            next("T+1", "2026-03-06", None, "2026-02-02", "2026-03-06"),
            "2026-02-02 until 2026-03-06 due 2026-03-06"
        );
    }

    #[test]
    fn periods_are_contiguous_over_days_without_business() {
        assert_eq!(
            next(
                "T+1",
                "2026-03-12",
                Some("2026-03-04"),
                "2026-03-10",
                "2026-03-11"
            ),
            "2026-03-04 until 2026-03-12 due 2026-03-12"
        );
        // What came late for a day that was settled goes into the next period.
        assert_eq!(
            next(
                "T+1",
                "2026-03-12",
                Some("2026-03-11"),
                "2026-03-02",
                "2026-03-11"
            ),
            "2026-03-11 until 2026-03-12 due 2026-03-12"
        );
        assert_eq!(
            next(
                "T+1",
                "2026-03-12",
                Some("2026-03-12"),
                "2026-03-02",
                "2026-03-11"
            ),
            "none"
        );
    }

    #[test]
    fn a_week_or_month_that_is_not_over_is_not_settled() {
        assert_eq!(
            next(
                "weekly:sunday+1",
                "2026-03-07",
                None,
                "2026-03-02",
                "2026-03-06"
            ),
            "none"
        );
        assert_eq!(
            next(
                "weekly:sunday+1",
                "2026-03-09",
                None,
                "2026-03-02",
                "2026-03-10"
            ),
            "2026-03-02 until 2026-03-09 due 2026-03-09"
        );
        assert_eq!(
            next(
                "monthly:31+3",
                "2026-03-02",
                None,
                "2026-02-01",
                "2026-03-01"
            ),
            "2026-02-01 until 2026-03-01 due 2026-03-04"
        );
    }

    #[test]
    fn a_year_without_data_is_collected_without_a_date() {
        assert_eq!(
            next("T+1", "2026-12-31", None, "2026-12-31", "2026-12-31"),
            "2026-12-31 until 2027-01-01 due unknown"
        );
        assert_eq!(
            next(
                "T+1",
                "2027-01-05",
                Some("2026-12-31"),
                "2027-01-02",
                "2027-01-04"
            ),
            "2026-12-31 until 2027-01-05 due unknown"
        );
    }

    proptest! {
        #[test]
        fn periods_follow_each_other_and_reach_the_end(
            start in 0..300_i64, days in 0..40_i64, ago in 0..10_i64,
            cycle in prop::sample::select(vec!["T+0", "T+1", "T+5", "weekly:sunday+1", "monthly:31+3", "monthly:15+0"]),
        ) {
            let cycle: Cycle = cycle.parse().unwrap();
            let calendar = Calendar::find("CN").unwrap();
            let first = date("2026-01-01") + TimeDelta::days(start);
            let through = first + TimeDelta::days(days);
            let schedule = Schedule { cycle: &cycle, calendar: &calendar, today: through - TimeDelta::days(ago) };
            let mut from = None;
            let mut due = None;
            while let Some(period) = next_period(schedule, from, first.max(from.unwrap_or(first)), through) {
                prop_assert!(period.from < period.until);
                prop_assert_eq!(period.from, from.unwrap_or(first));
                prop_assert!(due <= period.due_on || period.due_on.is_none());
                prop_assert!(period.until <= through + TimeDelta::days(1));
                due = period.due_on;
                from = Some(period.until);
            }
            let newest = cycle.latest_period_last(through).unwrap();
            if newest >= first {
                prop_assert_eq!(from, Some(newest + TimeDelta::days(1)));
            } else {
                prop_assert_eq!(from, None);
            }
        }
    }
}
