//! A merchant who is owed money, and the policy by which they get it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Utc, Weekday};
use chrono_tz::Tz;
use clearday_jobs::{ChannelName, Currency, MerchantId, Money};
use rust_decimal::Decimal;

use super::calendar::{Calendar, NoCalendarData};
use super::fee::FeeContract;
use super::schedule::first_instant_showing;
use super::words::words;

/// The longest wait after the end of a period, in business days: a quarter of a year.
pub const LAG_MAX: u16 = 65;

/// A merchant as they stand in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant {
    /// The upstream system's id.
    pub merchant_id: MerchantId,
    /// What people call them.
    pub name: String,
    /// What they are paid in; never changes.
    pub currency: Currency,
    /// How often they are paid, and how soon.
    pub cycle: Cycle,
    /// When their day ends; midnight is the one at the end of the day.
    pub cutoff: NaiveTime,
    /// Where the cut-off is read from the clock.
    pub zone: Tz,
    /// The country whose business days count.
    pub calendar: String,
    /// Less than this is not paid but carried over.
    pub minimum: Money,
    /// What is enough for a payment to be settled.
    pub settle_basis: SettleBasis,
    /// Who pays them.
    pub funds_flow: FundsFlow,
    /// What becomes of coupons.
    pub coupons: CouponRule,
    /// What part of the net is held back; between 0 and 1.
    pub reserve_rate: Decimal,
    /// Nothing is paid to them for now.
    pub is_held: bool,
    /// The account they are paid on.
    pub payee: Payee,
    /// Another account that waits for two people to approve it.
    pub pending_payee: Option<Payee>,
    /// What they pay us, the earliest first; no two hold on one day.
    pub contracts: Vec<FeeContract>,
    /// Counts the changes; zero for one that is not written down yet.
    pub version: i64,
}

/// An account at a bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payee {
    /// The bank that carries payments out, as the configuration names it.
    pub bank: ChannelName,
    /// The account.
    pub account_no: String,
    /// Whose account it is.
    pub account_name: String,
}

words! {
    /// What is enough for a payment to be settled.
    SettleBasis {
        /// We say that the money came.
        Captured = "captured",
        /// The channel says so too.
        Reconciled = "reconciled",
        /// The channel has handed the money over.
        Funded = "funded",
    }
    "captured, reconciled, funded"
}

words! {
    /// Who pays a merchant.
    FundsFlow {
        /// We do, out of what we collected.
        Collected = "collected",
        /// The channel does; we only reconcile.
        Direct = "direct",
    }
    "collected, direct"
}

words! {
    /// What becomes of the part of a payment that a coupon covered.
    CouponRule {
        /// It is paid out, unless the merchant bears it.
        ByFunder = "by_funder",
        /// It takes no part in settlement, whoever bears it.
        Excluded = "excluded",
    }
    "by_funder, excluded"
}

/// How often a merchant is paid, and how many business days after the end of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cycle {
    /// Each day by itself: `T+1`.
    BusinessDays(u16),
    /// Each week: `weekly:sunday+1`.
    Weekly {
        /// The last day of a period.
        weekday: Weekday,
        /// Business days after it.
        lag: u16,
    },
    /// Each month: `monthly:31+3`.
    Monthly {
        /// The last day of a period, 1 to 31; in a shorter month its last day.
        day: u32,
        /// Business days after it.
        lag: u16,
    },
}

/// A text that is no cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no cycle, such as T+1, weekly:sunday+1 or monthly:31+3 (the last day of a period, and up to {LAG_MAX} business \
     days)"
)]
pub struct NotACycle;

/// The weekdays as cycles name them.
const WEEKDAYS: [(Weekday, &str); 7] = [
    (Weekday::Mon, "monday"),
    (Weekday::Tue, "tuesday"),
    (Weekday::Wed, "wednesday"),
    (Weekday::Thu, "thursday"),
    (Weekday::Fri, "friday"),
    (Weekday::Sat, "saturday"),
    (Weekday::Sun, "sunday"),
];

impl Cycle {
    /// The last day of the period that a day belongs to.
    pub fn period_last(&self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::BusinessDays(_) => day,
            Self::Weekly { weekday, .. } => {
                let ahead = weekday.days_since(day.weekday());
                day.checked_add_days(Days::new(ahead.into())).unwrap_or(day)
            }
            Self::Monthly { day: last, .. } => {
                let this_month = day_of_month(day, *last);
                if day <= this_month {
                    return this_month;
                }
                day.checked_add_months(Months::new(1))
                    .map_or(day, |next| day_of_month(next, *last))
            }
        }
    }

    /// The last day of the latest period that is over at the end of `through`; none where the calendar begins.
    pub fn latest_period_last(&self, through: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::BusinessDays(_) => Some(through),
            Self::Weekly { weekday, .. } => {
                let ago = through.weekday().days_since(*weekday);
                through.checked_sub_days(Days::new(ago.into()))
            }
            Self::Monthly { day: last, .. } => {
                let this_month = day_of_month(through, *last);
                if this_month <= through {
                    return Some(this_month);
                }
                let earlier = through.checked_sub_months(Months::new(1))?;
                Some(day_of_month(earlier, *last))
            }
        }
    }

    /// How many business days after the end of a period it is paid.
    pub const fn lag(&self) -> u16 {
        match self {
            Self::BusinessDays(lag) | Self::Weekly { lag, .. } | Self::Monthly { lag, .. } => *lag,
        }
    }
}

/// This day of the month of `date`, or the month's last.
fn day_of_month(date: NaiveDate, day: u32) -> NaiveDate {
    let in_month = (1..=day).rev().find_map(|day| date.with_day(day));
    in_month.unwrap_or(date)
}

impl fmt::Display for Cycle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BusinessDays(lag) => write!(formatter, "T+{lag}"),
            Self::Weekly { weekday, lag } => {
                let name = WEEKDAYS.iter().find(|(day, _)| day == weekday);
                let name = name.map_or("", |(_, name)| *name);
                write!(formatter, "weekly:{name}+{lag}")
            }
            Self::Monthly { day, lag } => write!(formatter, "monthly:{day}+{lag}"),
        }
    }
}

impl FromStr for Cycle {
    type Err = NotACycle;

    fn from_str(text: &str) -> Result<Self, NotACycle> {
        let (period, lag) = text.split_once('+').ok_or(NotACycle)?;
        let lag = number(lag).filter(|lag| *lag <= LAG_MAX).ok_or(NotACycle)?;
        if period == "T" {
            return Ok(Self::BusinessDays(lag));
        }
        match period.split_once(':') {
            Some(("weekly", name)) => {
                let weekday = WEEKDAYS.iter().find(|(_, it)| *it == name);
                let (weekday, _) = *weekday.ok_or(NotACycle)?;
                Ok(Self::Weekly { weekday, lag })
            }
            Some(("monthly", day)) => {
                let day = number(day).filter(|day| (1..=31).contains(day));
                let day = day.ok_or(NotACycle)?.into();
                Ok(Self::Monthly { day, lag })
            }
            Some(_) | None => Err(NotACycle),
        }
    }
}

/// A number in its only form: no sign, no leading zero.
fn number(text: &str) -> Option<u16> {
    let number: u16 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The day on which a period that ends with `period_last` is paid: so many business days after it.
///
/// # Errors
/// [`NoCalendarData`] when that day is in a year that is not announced yet.
pub fn due_on(
    cycle: &Cycle,
    calendar: &Calendar,
    period_last: NaiveDate,
) -> Result<NaiveDate, NoCalendarData> {
    calendar.add_business_days(period_last, cycle.lag())
}

/// The day to which the merchant's business at `instant` belongs: at exactly the cut-off, and after it, the next one.
pub fn accounting_day(merchant: &Merchant, instant: DateTime<Utc>) -> NaiveDate {
    let shown = instant.with_timezone(&merchant.zone).date_naive();
    // The clock may be set back over midnight, and then the day before is over although it is shown again.
    let before = shown.pred_opt().unwrap_or(shown);
    let is_open = |day: &NaiveDate| ends_at(merchant, *day).is_none_or(|end| instant < end);
    let mut days = before.iter_days().take(4);
    days.find(is_open).unwrap_or(shown)
}

/// The instant at which a day of the merchant is over: the first at which their clock shows the cut-off or a later time.
/// Midnight is the one at the end of the day. None where the calendar ends.
pub fn ends_at(merchant: &Merchant, day: NaiveDate) -> Option<DateTime<Utc>> {
    let date = if merchant.cutoff == NaiveTime::MIN {
        day.succ_opt()?
    } else {
        day
    };
    first_instant_showing(merchant.zone, date.and_time(merchant.cutoff))
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

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn merchant(zone: &str, cutoff: &str) -> Merchant {
        let currency = Currency::parse("CNY").unwrap();
        Merchant {
            merchant_id: "M1".parse().unwrap(),
            name: "One".to_owned(),
            currency,
            cycle: Cycle::BusinessDays(1),
            cutoff: NaiveTime::parse_from_str(cutoff, "%H:%M").unwrap(),
            zone: zone.parse().unwrap(),
            calendar: "CN".to_owned(),
            minimum: Money::from_minor(0, currency),
            settle_basis: SettleBasis::Reconciled,
            funds_flow: FundsFlow::Collected,
            coupons: CouponRule::ByFunder,
            reserve_rate: Decimal::ZERO,
            is_held: false,
            payee: Payee {
                bank: "sandbox_bank".parse().unwrap(),
                account_no: "6200000000000000001".to_owned(),
                account_name: "One".to_owned(),
            },
            pending_payee: None,
            contracts: Vec::new(),
            version: 0,
        }
    }

    fn any_cycle() -> impl Strategy<Value = Cycle> {
        let lag = 0..=LAG_MAX;
        let weekday = prop::sample::select(WEEKDAYS.map(|(day, _)| day).to_vec());
        prop_oneof![
            lag.clone().prop_map(Cycle::BusinessDays),
            (weekday, lag.clone()).prop_map(|(weekday, lag)| Cycle::Weekly { weekday, lag }),
            (1..=31_u32, lag).prop_map(|(day, lag)| Cycle::Monthly { day, lag }),
        ]
    }

    fn any_day() -> impl Strategy<Value = NaiveDate> {
        (0..7_000_i64).prop_map(|days| date("2007-01-01") + TimeDelta::days(days))
    }

    fn any_merchant() -> impl Strategy<Value = Merchant> {
        // Set back over midnight (Asuncion), forward over midnight (Beirut), by half an hour (Lord Howe).
        let zones = [
            "Asia/Shanghai",
            "America/New_York",
            "America/Asuncion",
            "Asia/Beirut",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
        ];
        let cutoffs = [
            "00:00", "00:30", "01:30", "02:30", "18:00", "23:00", "23:59",
        ];
        let zone = prop::sample::select(zones.to_vec());
        let cutoff = prop::sample::select(cutoffs.to_vec());
        (zone, cutoff).prop_map(|(zone, cutoff)| merchant(zone, cutoff))
    }

    proptest! {
        #[test]
        fn cycles_read_back(cycle in any_cycle()) {
            prop_assert_eq!(cycle.to_string().parse(), Ok(cycle));
        }

        #[test]
        fn due_dates_are_business_days_after_the_period(cycle in any_cycle(), day in any_day()) {
            let calendar = Calendar::find("CN").unwrap();
            let last = cycle.period_last(day);
            let due = due_on(&cycle, &calendar, last).unwrap();
            prop_assert_eq!(calendar.is_business_day(due), Some(true));
            prop_assert!(due >= last);
            prop_assert!(cycle.lag() == 0 || due > last);
        }

        #[test]
        fn periods_follow_each_other_without_a_gap(cycle in any_cycle(), day in any_day()) {
            let last = cycle.period_last(day);
            prop_assert!(last >= day);
            prop_assert_eq!(cycle.period_last(last), last);
            prop_assert_eq!(cycle.latest_period_last(last), Some(last));
            let next = cycle.period_last(last.succ_opt().unwrap());
            prop_assert!(next > last);
            prop_assert_eq!(cycle.latest_period_last(next.pred_opt().unwrap()), Some(last));
            // What is over by a day is never later than it.
            prop_assert!(cycle.latest_period_last(day).unwrap() <= day);
        }

        #[test]
        fn later_instants_belong_to_no_earlier_day(
            merchant in any_merchant(), minutes in 0..12_000_000_i64, later in 0..4_000_i64,
        ) {
            let one = instant("2005-01-01T00:00:00Z") + TimeDelta::minutes(minutes);
            let other = one + TimeDelta::minutes(later);
            prop_assert!(accounting_day(&merchant, one) <= accounting_day(&merchant, other));
        }

        #[test]
        fn a_day_reaches_to_the_instant_before_its_end(merchant in any_merchant(), day in any_day()) {
            let end = ends_at(&merchant, day).unwrap();
            let before = accounting_day(&merchant, end - TimeDelta::microseconds(1));
            prop_assert_eq!(before, day);
            prop_assert_eq!(accounting_day(&merchant, end), day.succ_opt().unwrap());
        }
    }

    #[test]
    fn at_exactly_the_cutoff_it_is_the_next_day() {
        let shanghai = merchant("Asia/Shanghai", "23:00");
        let day = |at| accounting_day(&shanghai, instant(at));
        assert_eq!(day("2026-03-02T22:59:59.999999+08:00"), date("2026-03-02"));
        assert_eq!(day("2026-03-02T23:00:00+08:00"), date("2026-03-03"));
        assert_eq!(day("2026-03-03T00:00:00+08:00"), date("2026-03-03"));
    }

    #[test]
    fn midnight_is_the_end_of_the_day() {
        let shanghai = merchant("Asia/Shanghai", "00:00");
        let day = |at| accounting_day(&shanghai, instant(at));
        assert_eq!(day("2026-03-02T00:00:00+08:00"), date("2026-03-02"));
        assert_eq!(day("2026-03-02T23:59:59+08:00"), date("2026-03-02"));
        assert_eq!(day("2026-03-03T00:00:00+08:00"), date("2026-03-03"));
        let utc = merchant("UTC", "00:00");
        let at_home = instant("2026-03-02T23:00:00Z");
        assert_eq!(accounting_day(&utc, at_home), date("2026-03-02"));
        assert_eq!(accounting_day(&shanghai, at_home), date("2026-03-03"));
    }

    #[test]
    fn a_cutoff_in_the_spring_gap_is_the_first_instant_after_it() {
        // On 8 March 2026 New York's clocks went from 02:00 to 03:00.
        let new_york = merchant("America/New_York", "02:30");
        let day = |at| accounting_day(&new_york, instant(at));
        assert_eq!(day("2026-03-08T01:59:59-05:00"), date("2026-03-08"));
        assert_eq!(day("2026-03-08T03:00:00-04:00"), date("2026-03-09"));
    }

    #[test]
    fn a_cutoff_in_the_autumn_fold_is_the_first_of_the_two() {
        // On 1 November 2026 they went from 02:00 back to 01:00.
        let new_york = merchant("America/New_York", "01:30");
        let day = |at| accounting_day(&new_york, instant(at));
        assert_eq!(day("2026-11-01T01:29:59-04:00"), date("2026-11-01"));
        assert_eq!(day("2026-11-01T01:30:00-04:00"), date("2026-11-02"));
        assert_eq!(day("2026-11-01T01:10:00-05:00"), date("2026-11-02"));
    }

    #[test]
    fn what_happened_over_a_long_holiday_is_paid_after_it() {
        let calendar = Calendar::find("CN").unwrap();
        let due =
            |cycle: &str, last| due_on(&cycle.parse().unwrap(), &calendar, date(last)).unwrap();
        assert_eq!(due("T+1", "2026-09-30"), date("2026-10-08"));
        assert_eq!(due("T+1", "2026-10-03"), date("2026-10-08"));
        assert_eq!(due("T+0", "2026-10-03"), date("2026-10-08"));
        assert_eq!(due("T+2", "2026-10-08"), date("2026-10-10"));
        assert_eq!(due("weekly:sunday+1", "2026-03-08"), date("2026-03-09"));
        assert_eq!(due("monthly:31+3", "2026-02-28"), date("2026-03-04"));
        assert_eq!(
            due_on(&Cycle::BusinessDays(1), &calendar, date("2026-12-31")),
            Err(NoCalendarData { year: 2027 })
        );
    }

    #[test]
    fn a_month_shorter_than_the_cycle_ends_with_its_last_day() {
        let cycle: Cycle = "monthly:31+0".parse().unwrap();
        assert_eq!(cycle.period_last(date("2026-02-03")), date("2026-02-28"));
        assert_eq!(cycle.period_last(date("2024-02-29")), date("2024-02-29"));
        assert_eq!(cycle.period_last(date("2026-04-30")), date("2026-04-30"));
        let cycle: Cycle = "monthly:15+0".parse().unwrap();
        assert_eq!(cycle.period_last(date("2026-01-16")), date("2026-02-15"));
        assert_eq!(
            cycle.latest_period_last(date("2026-03-14")),
            Some(date("2026-02-15"))
        );
    }

    #[test]
    fn cycles_have_one_form() {
        for text in [
            "",
            "T",
            "T+",
            "T1",
            "t+1",
            "T+01",
            "T+-1",
            "T++1",
            "T+66",
            "T+1 ",
            "D+1",
            "weekly",
            "weekly+1",
            "weekly:+1",
            "weekly:Sunday+1",
            "weekly:sun+1",
            "weekly:sunday",
            "monthly:0+1",
            "monthly:32+1",
            "monthly:01+1",
            "monthly:31",
            "yearly:1+1",
        ] {
            assert_eq!(text.parse::<Cycle>(), Err(NotACycle), "{text}");
        }
    }
}
