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
