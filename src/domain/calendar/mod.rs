//! Which days are business days, and how to count them.
//!
//! A calendar knows the years that somebody announced, and nothing beyond: a date in another year is an answer of its
//! own ([`NoCalendarData`]), never a guess by the weekend.

mod china;

use chrono::{Datelike, NaiveDate, Weekday};

/// A month and a day of it.
type MonthDay = (u32, u32);

/// What differs from plain weeks in one year.
#[derive(Debug)]
struct Announced {
    year: i32,
    /// Where it was announced.
    notices: &'static [&'static str],
    /// Holidays from the first to the last day, weekends between them included; ascending.
    off: &'static [(MonthDay, MonthDay)],
    /// Days of a weekend that are worked; ascending.
    work: &'static [MonthDay],
}

/// The business days of a country.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    code: &'static str,
    version: &'static str,
    years: &'static [Announced],
}

/// The calendar has no data for a year, so nobody can say yet which of its days are business days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the calendar has no data for the year {year}")]
pub struct NoCalendarData {
    /// The year.
    pub year: i32,
}

impl Calendar {
    /// The calendars that ship with this release, by the country's code of ISO 3166.
    pub const ALL: &'static [Self] = &[Self {
        code: "CN",
        version: china::VERSION,
        years: china::YEARS,
    }];

    /// The calendar of a country, by its code of ISO 3166 in capitals.
    pub fn find(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.code == code)
    }

    /// The country's code.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// Names the data: two calendars of one version agree on every day.
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// Whether business is done on a day; `None` in a year without data.
    pub fn is_business_day(&self, date: NaiveDate) -> Option<bool> {
        self.look_up(date).ok()
    }

    /// The `count`-th business day after `date`, which need not be one itself: after a Saturday, as after the Friday
    /// before it, the first is Monday. Zero is the first business day on or after `date`.
    ///
    /// # Errors
    /// [`NoCalendarData`] when a day that must be looked at is in a year without data.
    pub fn add_business_days(
        &self,
        date: NaiveDate,
        count: u16,
    ) -> Result<NaiveDate, NoCalendarData> {
        if count == 0 {
            return self.next_business_day_on_or_after(date);
        }
        let mut reached = date;
        for _ in 0..count {
            reached = self.next_business_day_on_or_after(day_after(reached)?)?;
        }
        Ok(reached)
    }

    /// The day itself where it is a business day, otherwise the next one.
    ///
    /// # Errors
    /// [`NoCalendarData`] when a day that must be looked at is in a year without data.
    pub fn next_business_day_on_or_after(
        &self,
        date: NaiveDate,
    ) -> Result<NaiveDate, NoCalendarData> {
        let mut candidate = date;
        while !self.look_up(candidate)? {
            candidate = day_after(candidate)?;
        }
        Ok(candidate)
    }

    /// Where the days of a year were announced; nothing for a year without data.
    pub fn notices(&self, year: i32) -> &'static [&'static str] {
        self.year(year).map_or(&[], |it| it.notices)
    }

    /// Every day of a year, and whether it is a business day.
    ///
    /// # Errors
    /// [`NoCalendarData`] when there is none for the year.
    pub fn days_of(&self, year: i32) -> Result<Vec<(NaiveDate, bool)>, NoCalendarData> {
        let first = NaiveDate::from_ymd_opt(year, 1, 1).ok_or(NoCalendarData { year })?;
        first
            .iter_days()
            .take_while(|date| date.year() == year)
            .map(|date| Ok((date, self.look_up(date)?)))
            .collect()
    }

    fn look_up(&self, date: NaiveDate) -> Result<bool, NoCalendarData> {
        let year = date.year();
        let found = self.year(year).ok_or(NoCalendarData { year })?;
        Ok(found.is_business_day(date))
    }

    fn year(&self, year: i32) -> Option<&'static Announced> {
        let place = self.years.binary_search_by_key(&year, |it| it.year).ok()?;
        self.years.get(place)
    }
}

impl Announced {
    fn is_business_day(&self, date: NaiveDate) -> bool {
        let day = (date.month(), date.day());
        if is_weekend(date) {
            self.work.binary_search(&day).is_ok()
        } else {
            let begun = self.off.partition_point(|(first, _)| *first <= day);
            let latest = begun.checked_sub(1).and_then(|at| self.off.get(at));
            latest.is_none_or(|(_, last)| *last < day)
        }
    }
}

fn is_weekend(date: NaiveDate) -> bool {
    match date.weekday() {
        Weekday::Sat | Weekday::Sun => true,
        Weekday::Mon | Weekday::Tue | Weekday::Wed | Weekday::Thu | Weekday::Fri => false,
    }
}

fn day_after(date: NaiveDate) -> Result<NaiveDate, NoCalendarData> {
    date.succ_opt()
        .ok_or_else(|| NoCalendarData { year: date.year() })
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        reason = "a test that overflows fails, and should"
    )]

    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn china() -> Calendar {
        Calendar::find("CN").unwrap()
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// Days far enough from the end of the data to count from.
    fn any_day() -> impl Strategy<Value = NaiveDate> {
        let days = (date("2026-06-30") - date("2007-01-01")).num_days();
        (0..=days).prop_map(|days| date("2007-01-01") + chrono::TimeDelta::days(days))
    }

    proptest! {
        #[test]
        fn what_is_reached_is_a_business_day_and_no_earlier(from in any_day(), count in 0..90_u16) {
            let reached = china().add_business_days(from, count).unwrap();
            prop_assert_eq!(china().is_business_day(reached), Some(true));
            prop_assert!(reached >= from);
            // Exactly so many business days lie after it, up to where it leads.
            let passed = from.iter_days().skip(1).take_while(|day| *day <= reached);
            let passed = passed.filter(|day| china().is_business_day(*day) == Some(true)).count();
            prop_assert!(count == 0 || passed == usize::from(count));
        }

        #[test]
        fn adding_twice_is_adding_the_sum(from in any_day(), one in 1..40_u16, other in 1..40_u16) {
            let step = china().add_business_days(from, one).unwrap();
            let twice = china().add_business_days(step, other).unwrap();
            prop_assert_eq!(twice, china().add_business_days(from, one + other).unwrap());
            prop_assert_eq!(step, china().add_business_days(step, 0).unwrap());
        }

        #[test]
        fn later_days_and_longer_waits_lead_no_earlier(
            one in any_day(), other in any_day(), count in 0..40_u16,
        ) {
            let (earlier, later) = (one.min(other), one.max(other));
            let reach = |day, count| china().add_business_days(day, count).unwrap();
            prop_assert!(reach(earlier, count) <= reach(later, count));
            prop_assert!(reach(earlier, count) <= reach(earlier, count + 1));
            prop_assert!(reach(earlier, count + 1) < reach(earlier, count + 2));
        }

        #[test]
        fn next_business_day_is_the_first_one(from in any_day()) {
            let next = china().next_business_day_on_or_after(from).unwrap();
            let between = from.iter_days().take_while(|day| *day < next);
            for day in between {
                prop_assert_eq!(china().is_business_day(day), Some(false));
            }
            prop_assert_eq!(china().is_business_day(next), Some(true));
        }
    }

    #[test]
    fn days_around_the_spring_festival_are_counted() {
        // Sunday 15 to Monday 23 February 2026 are off; both Saturdays around are worked.
        let add = |from, count| china().add_business_days(date(from), count).unwrap();
        assert_eq!(add("2026-02-13", 1), date("2026-02-14"));
        assert_eq!(add("2026-02-14", 1), date("2026-02-24"));
        assert_eq!(add("2026-02-20", 1), date("2026-02-24"));
        assert_eq!(add("2026-02-20", 0), date("2026-02-24"));
        assert_eq!(add("2026-02-27", 1), date("2026-02-28"));
        assert_eq!(add("2026-02-28", 1), date("2026-03-02"));
    }

    #[test]
    fn a_plain_weekend_is_passed_over() {
        let add = |from, count| china().add_business_days(date(from), count).unwrap();
        for day in ["2026-03-06", "2026-03-07", "2026-03-08"] {
            assert_eq!(add(day, 1), date("2026-03-09"), "{day}");
        }
        assert_eq!(add("2026-03-06", 0), date("2026-03-06"));
        assert_eq!(add("2026-03-07", 0), date("2026-03-09"));
    }

    #[test]
    fn years_without_data_are_no_guess() {
        assert_eq!(china().is_business_day(date("2026-12-31")), Some(true));
        assert_eq!(china().is_business_day(date("2027-01-04")), None);
        assert_eq!(china().is_business_day(date("2006-12-31")), None);
        let beyond = china().add_business_days(date("2026-12-31"), 1);
        assert_eq!(beyond, Err(NoCalendarData { year: 2027 }));
        let beyond = china().next_business_day_on_or_after(NaiveDate::MAX);
        assert!(beyond.is_err());
        assert_eq!(
            beyond.unwrap_err().to_string(),
            format!(
                "the calendar has no data for the year {}",
                NaiveDate::MAX.year()
            )
        );
        assert!(Calendar::find("cn").is_none());
    }

    #[test]
    fn tables_are_in_order_and_name_their_sources() {
        for calendar in Calendar::ALL {
            assert!(
                calendar
                    .years
                    .is_sorted_by(|one, next| one.year < next.year)
            );
            for it in calendar.years {
                let year = it.year;
                assert!(!it.notices.is_empty(), "{year}");
                assert!(it.off.iter().all(|(first, last)| first <= last), "{year}");
                assert!(it.off.is_sorted_by(|one, next| one.1 < next.0), "{year}");
                assert!(it.work.is_sorted_by(|one, next| one < next), "{year}");
                for (month, day) in it.work {
                    let worked = NaiveDate::from_ymd_opt(year, *month, *day).unwrap();
                    assert!(is_weekend(worked), "{worked} is worked anyhow");
                }
            }
        }
    }

    #[test]
    fn other_days_are_another_version() {
        let mut digest = Sha256::new();
        for year in 2007..=2026 {
            for (day, is_business_day) in china().days_of(year).unwrap() {
                digest.update(format!("{day},{is_business_day}\n"));
            }
        }
        let digest = digest.finalize();
        let digest = u64::from_be_bytes(*digest.first_chunk().unwrap());
        let pinned = (china().version(), digest);
        assert_eq!(pinned, ("CN-2026.1", 0x64ff_d825_ea2e_8b76));
    }
}
