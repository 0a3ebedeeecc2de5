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
