//! What stands between two commas of a WeChat Pay bill, and how it is read.
//!
//! Headers are plain; of the rows every value begins with a backtick and nothing is quoted, so a row is cut at
//! `` ,` `` and a comma inside a product name does no harm. Rows that a spreadsheet saved again have no backtick at
//! all and are cut at each comma.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};
use clearday_jobs::{Currency, Money, MoneyError};
use rust_decimal::Decimal;

use crate::domain::china::CHINA_STANDARD_TIME;

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Cut, or with a value that holds `` ,` ``.
    #[error("{found} values where the header has {expected}")]
    Width {
        /// The columns of the header.
        expected: usize,
        /// The values of the row.
        found: usize,
    },
    /// One value cannot be what its column says.
    #[error("{column} {reason}")]
    Cell {
        /// The column, as this module calls it first.
        column: &'static str,
        /// What is wrong with the value.
        reason: CellError,
    },
    /// The sums over the rows leave the range of numbers.
    #[error("the sums up to here are out of range")]
    OutOfRange,
}

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// Nothing stands there.
    #[error("is empty")]
    Empty,
    /// An amount that is none, or finer than the minor unit.
    #[error("is refused: {0}")]
    Money(#[from] MoneyError),
    /// An amount below zero where the direction is told otherwise.
    #[error("is negative: {0}")]
    Negative(Money),
    /// Not a decimal number.
    #[error("is not a number: {0:?}")]
    NotANumber(String),
    /// Not an instant.
    #[error("is not a time like 2026-03-02 18:30:00: {0:?}")]
    NotATime(String),
    /// A word that is not known there.
    #[error("is {found:?}, not one of {known}")]
    UnknownWord {
        /// The word.
        found: String,
        /// What is known.
        known: &'static str,
    },
}

impl CellError {
    /// The same, with the column it happened in.
    pub(super) fn in_column(self, column: &'static str) -> RowError {
        RowError::Cell {
            column,
            reason: self,
        }
    }
}

/// Why a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A column that must be there is not.
    #[error("the column {0} is missing")]
    Missing(&'static str),
    /// A column is there twice.
    #[error("the column {0} is there twice")]
    Twice(&'static str),
}

/// A column by the names it went by over the years, the present one first.
pub(super) type ColumnNames = &'static [&'static str];

/// The name that messages use.
pub(super) fn present_name(names: ColumnNames) -> &'static str {
    names.first().copied().unwrap_or_default()
}

/// Where `N` known columns stand in one file.
#[derive(Clone, Debug)]
pub(super) struct Layout<const N: usize> {
    /// For each cell of a row the column that is wanted from it, by its place in the list of columns.
    wanted: Vec<Option<usize>>,
}

impl<const N: usize> Layout<N> {
    /// Finds the columns by name; the header may name others, and in any order.
    pub(super) fn of_header(header: &str, columns: &[ColumnNames; N]) -> Result<Self, HeaderError> {
        let mut wanted = Vec::new();
        for cell in header.split(',') {
            let name = header_name(cell);
            let place = columns
                .iter()
                .position(|names| names.contains(&name.as_str()));
            if let Some(names) = place.and_then(|place| columns.get(place))
                && wanted.contains(&place)
            {
                return Err(HeaderError::Twice(present_name(names)));
            }
            wanted.push(place);
        }
        Ok(Self { wanted })
    }

    /// Whether a column is there.
    pub(super) fn has(&self, place: usize) -> bool {
        self.wanted.contains(&Some(place))
    }

    /// Refuses a file that lacks one of the columns at these places.
    pub(super) fn require(
        &self,
        needed: &[usize],
        columns: &[ColumnNames; N],
    ) -> Result<(), HeaderError> {
        let absent = needed.iter().find(|place| !self.has(**place));
        match absent.and_then(|place| columns.get(*place)) {
            None => Ok(()),
            Some(names) => Err(HeaderError::Missing(present_name(names))),
        }
    }

    /// The values of a row, in the order of the list of columns; empty where the file has no such column.
    pub(super) fn values<'a>(&self, row: &'a str) -> Result<[&'a str; N], RowError> {
        if let Some(rest) = row.strip_prefix('`') {
            self.pick(Cells { rest: Some(rest) })
        } else {
            self.pick(row.split(','))
        }
    }

    fn pick<'a>(&self, cells: impl Iterator<Item = &'a str>) -> Result<[&'a str; N], RowError> {
        let mut values = [""; N];
        let mut found = 0_usize;
        for cell in cells {
            let place = self.wanted.get(found).copied().flatten();
            if let Some(value) = place.and_then(|place| values.get_mut(place)) {
                *value = cell;
            }
            found = found.saturating_add(1);
        }
        if found == self.wanted.len() {
            Ok(values)
        } else {
            let expected = self.wanted.len();
            Err(RowError::Width { expected, found })
        }
    }
}

/// Cuts a row at `` ,` ``. Cells are short, so looking at every byte is faster than a search that prepares itself.
struct Cells<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Cells<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        let mut pairs = rest.as_bytes().windows(2);
        let Some(cut) = pairs.position(|pair| pair == b",`") else {
            return Some(rest);
        };
        let (cell, behind) = rest.split_at(cut);
        self.rest = behind.strip_prefix(",`");
        Some(cell)
    }
}

/// A header cell without the backtick some files have, and with brackets of half width.
fn header_name(cell: &str) -> String {
    let name = cell.trim();
    let name = name.strip_prefix('`').unwrap_or(name);
    name.replace('（', "(").replace('）', ")")
}

/// An amount that is never negative.
pub(super) fn amount(text: &str, currency: Currency) -> Result<Money, CellError> {
    if text.is_empty() {
        return Err(CellError::Empty);
    }
    let money = Money::parse_major(text, currency)?;
    if money.is_negative() {
        return Err(CellError::Negative(money));
    }
    Ok(money)
}

/// A decimal number, exact to its last digit.
pub(super) fn number(text: &str) -> Result<Decimal, CellError> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() {
        return Err(CellError::Empty);
    }
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(CellError::NotANumber(excerpt(text)));
    }
    Decimal::from_str_exact(text).map_err(|_| CellError::NotANumber(excerpt(text)))
}

/// How many digits stand behind the point.
pub(super) fn decimal_places(text: &str) -> usize {
    text.split_once('.')
        .map_or(0, |(_, fraction)| fraction.len())
}

/// An instant in China; the oldest files write it with colons of full width.
pub(super) fn instant(text: &str) -> Result<DateTime<FixedOffset>, CellError> {
    let local = if text.is_ascii() {
        local_instant(text)
    } else {
        local_instant(&text.replace('：', ":"))
    };
    local
        .and_then(|local| local.and_local_timezone(CHINA_STANDARD_TIME).single())
        .ok_or_else(|| CellError::NotATime(excerpt(text)))
}

fn local_instant(text: &str) -> Option<NaiveDateTime> {
    let (date, time) = text.split_once(' ')?;
    let (year, month_and_day) = date.split_once('-')?;
    let (month, day) = month_and_day.split_once('-')?;
    let (hour, minute_and_second) = time.split_once(':')?;
    let (minute, second) = minute_and_second.split_once(':')?;
    NaiveDate::from_ymd_opt(
        digits(year, 4)?.try_into().ok()?,
        digits(month, 2)?,
        digits(day, 2)?,
    )?
    .and_hms_opt(digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?)
}

fn digits(text: &str, length: usize) -> Option<u32> {
    let is_plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// As much of a refused value as a message has room for.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [ColumnNames; 3] = [&["手续费"], &["收支金额(元)"], &["总金额"]];

    #[test]
    fn columns_are_found_by_name_in_any_order_and_spelling() {
        let layout = Layout::of_header("商品名称,`收支金额（元）,手续费", &COLUMNS).unwrap();
        assert_eq!(layout.values("`a,b,`1.00,`2").unwrap(), ["2", "1.00", ""]);
        assert_eq!(layout.values("`a`,,`1.00,`2").unwrap(), ["2", "1.00", ""]);
        assert_eq!(layout.values("a,1.00,2").unwrap(), ["2", "1.00", ""]);
        assert!(layout.has(0) && layout.has(1) && !layout.has(2));
        let refusal = Layout::of_header("手续费,手续费", &COLUMNS).unwrap_err();
        assert_eq!(refusal, HeaderError::Twice("手续费"));
        assert_eq!(
            layout.require(&[0, 2], &COLUMNS),
            Err(HeaderError::Missing("总金额"))
        );
    }

    #[test]
    fn a_row_of_another_width_is_refused() {
        let layout = Layout::of_header("手续费,总金额", &COLUMNS).unwrap();
        for row in ["`1", "`1,`2,`3", "1", "", "1,2,3", "`1,2"] {
            assert!(
                matches!(layout.values(row), Err(RowError::Width { expected: 2, .. })),
                "{row}"
            );
        }
        assert_eq!(layout.values("`,`").unwrap(), ["", "", ""]);
    }

    #[test]
    fn times_are_in_china_and_exact() {
        let told = instant("2014-11-10 16：33：45").unwrap();
        assert_eq!(told.to_rfc3339(), "2014-11-10T16:33:45+08:00");
        for text in [
            "",
            "2014-11-10",
            "2014-11-31 00:00:00",
            "14-11-10 16:33:45",
            "2014-11-10 16:33",
            "2014-11-10 24:00:00",
        ] {
            assert!(instant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_plain_decimals() {
        assert_eq!(number("45.0").unwrap(), Decimal::from(45));
        assert_eq!(number("-0.04000").unwrap().to_string(), "-0.04000");
        for text in [
            "",
            "-",
            "1e3",
            "+1",
            "1_0",
            ".5",
            "5.",
            "1,0",
            "٣",
            "99999999999999999999999999999999",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
