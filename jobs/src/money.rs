//! Exact money: minor units in an `i64`, with the ISO 4217 currency that gives them their meaning.
//!
//! Nothing here rounds. Text with non-zero digits below the minor unit is refused, sums that overflow or mix
//! currencies are errors, and there is no way from or to a float.

#![warn(clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::iter::repeat_n;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Why an amount or a currency was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a code of ISO 4217; codes are three capital letters.
    #[error("{0:?} is not an ISO 4217 currency code, like \"CNY\"")]
    UnknownCurrency(String),
    /// ISO 4217 gives the code no minor unit (gold, test codes), so no amount of it can be exact.
    #[error("{0} has no minor unit in ISO 4217, so it cannot carry an amount")]
    NoMinorUnit(&'static str),
    /// The text is not a decimal number in digits.
    #[error("{0:?} is not an amount; write it in digits, like \"12.34\"")]
    NotAnAmount(String),
    /// The text has non-zero digits below the minor unit; nothing here rounds.
    #[error("{text:?} is finer than the minor unit of {currency} ({places} decimal places)", places = currency.exponent())]
    BelowMinorUnit {
        /// The amount as it was written, shortened when long.
        text: String,
        /// The currency it was written in.
        currency: Currency,
    },
    /// The amount does not fit into an `i64` of minor units.
    #[error("the amount in {0} is out of range")]
    OutOfRange(Currency),
    /// Two amounts of different currencies were put together.
    #[error("amounts in {0} and {1} cannot be combined")]
    CurrencyMismatch(Currency, Currency),
}

/// A currency of ISO 4217 that has a minor unit; ordered by its code.
///
/// Codes that were superseded (BGN) still parse, because old records keep them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "&'static str")]
pub struct Currency {
    code: iso_currency::Currency,
    exponent: u8,
}

impl Currency {
    /// The yuan.
    pub const CNY: Self = Self {
        code: iso_currency::Currency::CNY,
        exponent: 2,
    };

    /// Reads a code such as `CNY`: three capital letters, nothing around them.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency(excerpt(code));
        let code = iso_currency::Currency::from_code(code).ok_or_else(unknown)?;
        let exponent = code.exponent().and_then(|places| places.try_into().ok());
        let exponent = exponent.ok_or(MoneyError::NoMinorUnit(code.code()))?;
        Ok(Self { code, exponent })
    }

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.code.code()
    }

    /// How many decimal places the minor unit has: 2 for CNY, 0 for JPY.
    pub fn exponent(self) -> u32 {
        self.exponent.into()
    }
}

/// An amount in the minor unit of its currency: 1999 in EUR is €19.99, 1999 in JPY is ¥1999.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor_units: i64,
    currency: Currency,
}

impl Money {
    /// An amount from a count of minor units.
    pub const fn from_minor(minor_units: i64, currency: Currency) -> Self {
        Self {
            minor_units,
            currency,
        }
    }

    /// Reads a decimal string in major units: digits, an optional leading `-`, an optional point with digits on
    /// both sides of it.
    ///
    /// Zeros behind the minor unit are fine (`12.3400`); other digits there, `+`, exponents, spaces and thousands
    /// separators are refused.
    pub fn parse_major(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        if !is_digits(whole) || !is_digits(fraction) {
            return Err(MoneyError::NotAnAmount(excerpt(text)));
        }

        let places = usize::from(currency.exponent);
        let fraction = fraction.trim_end_matches('0');
        let Some(missing_places) = places.checked_sub(fraction.len()) else {
            let text = excerpt(text);
            return Err(MoneyError::BelowMinorUnit { text, currency });
        };

        // Counted downwards, because the negative side of an i64 reaches one further.
        let mut digits = whole
            .bytes()
            .chain(fraction.bytes())
            .chain(repeat_n(b'0', missing_places));
        let negated = digits.try_fold(0_i64, |sum, digit| {
            sum.checked_mul(10)?
                .checked_sub(i64::from(digit.saturating_sub(b'0')))
        });
        let minor_units = if text.starts_with('-') {
            negated
        } else {
            negated.and_then(i64::checked_neg)
        };
        in_range(minor_units, currency)
    }

    /// The amount as a decimal string in major units, with exactly the currency's decimal places: `12.34`.
    pub fn to_major_string(self) -> String {
        let places = usize::from(self.currency.exponent);
        let width = places.saturating_add(1);
        let mut text = format!("{:0>width$}", self.minor_units.unsigned_abs());
        if places > 0 {
            text.insert(text.len().saturating_sub(places), '.');
        }
        if self.is_negative() {
            text.insert(0, '-');
        }
        text
    }

    /// The amount as a count of minor units.
    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }

    /// The currency that the minor units belong to.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Whether the amount is below zero.
    pub const fn is_negative(self) -> bool {
        self.minor_units < 0
    }

    /// Whether the amount is exactly zero.
    pub const fn is_zero(self) -> bool {
        self.minor_units == 0
    }

    /// The sum of two amounts of one currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    /// The difference of two amounts of one currency.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    /// The amount with its sign turned.
    pub fn checked_neg(self) -> Result<Self, MoneyError> {
        in_range(self.minor_units.checked_neg(), self.currency)
    }

    fn combine(self, other: Self, sum: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        in_range(sum(self.minor_units, other.minor_units), self.currency)
    }
}

fn in_range(minor_units: Option<i64>, currency: Currency) -> Result<Money, MoneyError> {
    minor_units
        .map(|minor_units| Money::from_minor(minor_units, currency))
        .ok_or(MoneyError::OutOfRange(currency))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// As much of a refused text as a message has room for.
fn excerpt(text: &str) -> String {
    text.chars().take(32).collect()
}

impl Ord for Currency {
    fn cmp(&self, other: &Self) -> Ordering {
        self.code().cmp(other.code())
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        Self::parse(code)
    }
}

impl TryFrom<Cow<'_, str>> for Currency {
    type Error = MoneyError;

    fn try_from(code: Cow<'_, str>) -> Result<Self, MoneyError> {
        Self::parse(&code)
    }
}

impl From<Currency> for &'static str {
    fn from(currency: Currency) -> Self {
        currency.code()
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$" })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.to_major_string(), self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Money({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn money(text: &str, code: &str) -> Result<Money, MoneyError> {
        Money::parse_major(text, currency(code))
    }

    /// One currency for every exponent that ISO 4217 knows.
    fn any_currency() -> impl Strategy<Value = Currency> {
        prop::sample::select(vec!["JPY", "CNY", "KWD", "CLF"]).prop_map(currency)
    }

    #[test]
    fn yuan_is_what_iso_4217_says() {
        assert_eq!(Currency::parse("CNY"), Ok(Currency::CNY));
        assert_eq!(Currency::CNY.exponent(), 2);
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back_as_the_same_amount(minor in any::<i64>(), currency in any_currency()) {
            let money = Money::from_minor(minor, currency);
            prop_assert_eq!(Money::parse_major(&money.to_major_string(), currency), Ok(money));
        }

        #[test]
        fn subtracting_what_was_added_gives_the_amount_back(a in any::<i64>(), b in any::<i64>(), currency in any_currency()) {
            let (a, b) = (Money::from_minor(a, currency), Money::from_minor(b, currency));
            if let Ok(sum) = a.checked_add(b) {
                prop_assert_eq!(sum.checked_sub(b), Ok(a));
            }
        }

        #[test]
        fn digits_below_the_minor_unit_are_refused_unless_zero(
            minor in any::<i64>(), digit in 1_u8..=9, zeros in 0_usize..4, currency in any_currency(),
        ) {
            let money = Money::from_minor(minor, currency);
            let point = if currency.exponent() == 0 { "." } else { "" };
            let padded = format!("{}{point}0{}", money.to_major_string(), "0".repeat(zeros));
            prop_assert_eq!(Money::parse_major(&padded, currency), Ok(money));
            let finer = format!("{padded}{digit}");
            prop_assert_eq!(
                Money::parse_major(&finer, currency),
                Err(MoneyError::BelowMinorUnit { text: finer, currency })
            );
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+0-9., e]{0,24}", currency in any_currency()) {
            if let Ok(money) = Money::parse_major(&text, currency) {
                prop_assert_eq!(Money::parse_major(&money.to_major_string(), currency), Ok(money));
            }
        }
    }

    #[test]
    fn amounts_are_written_with_the_places_of_their_currency() {
        let written = |minor, code| Money::from_minor(minor, currency(code)).to_string();
        assert_eq!(written(1234, "CNY"), "12.34 CNY");
        assert_eq!(written(-5, "CNY"), "-0.05 CNY");
        assert_eq!(written(0, "CNY"), "0.00 CNY");
        assert_eq!(written(1999, "JPY"), "1999 JPY");
        assert_eq!(written(7, "KWD"), "0.007 KWD");
        assert_eq!(written(i64::MIN, "CLF"), "-922337203685477.5808 CLF");
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        for text in [
            "", "-", ".", "12.", ".5", "+1", "--1", "1e3", "1,000.00", " 1", "1 ", "1.2.3", "¥1",
            "１２", "0x1", "1_0", "NaN", "1.-5",
        ] {
            assert_eq!(
                money(text, "CNY"),
                Err(MoneyError::NotAnAmount(text.to_owned()))
            );
        }
        for (text, minor) in [("-0.00", 0), ("007", 700), ("45.0", 4500), ("-12.3", -1230)] {
            assert_eq!(money(text, "CNY").unwrap().minor_units(), minor);
        }
    }

    #[test]
    fn amounts_beyond_an_i64_are_refused() {
        let out_of_range = Err(MoneyError::OutOfRange(currency("CNY")));
        assert_eq!(
            money("92233720368547758.07", "CNY").unwrap().minor_units(),
            i64::MAX
        );
        assert_eq!(money("92233720368547758.08", "CNY"), out_of_range);
        assert_eq!(money(&"9".repeat(5000), "CNY"), out_of_range);
        let largest = Money::from_minor(i64::MAX, currency("CNY"));
        assert_eq!(
            largest.checked_add(money("0.01", "CNY").unwrap()),
            out_of_range
        );
        let smallest = Money::from_minor(i64::MIN, currency("CNY"));
        assert_eq!(smallest.checked_neg(), out_of_range);
    }

    #[test]
    fn adding_across_currencies_is_refused() {
        let sum = money("1", "CNY")
            .unwrap()
            .checked_add(money("1", "USD").unwrap());
        assert_eq!(
            sum.unwrap_err().to_string(),
            "amounts in CNY and USD cannot be combined"
        );
    }

    #[test]
    fn refusals_show_what_was_written() {
        let refusal = |text, code| money(text, code).unwrap_err().to_string();
        assert_eq!(
            refusal("12,34", "CNY"),
            "\"12,34\" is not an amount; write it in digits, like \"12.34\""
        );
        assert_eq!(
            refusal("0.5", "JPY"),
            "\"0.5\" is finer than the minor unit of JPY (0 decimal places)"
        );
        let unknown = Currency::parse("cny").unwrap_err().to_string();
        assert_eq!(
            unknown,
            "\"cny\" is not an ISO 4217 currency code, like \"CNY\""
        );
        let gold = Currency::parse("XAU").unwrap_err().to_string();
        assert_eq!(
            gold,
            "XAU has no minor unit in ISO 4217, so it cannot carry an amount"
        );
    }

    #[test]
    fn currencies_are_ordered_by_code() {
        let mut codes = ["XCG", "USD", "AED", "CNY"].map(currency);
        codes.sort_unstable();
        assert_eq!(format!("{codes:?}"), "[AED, CNY, USD, XCG]");
    }

    #[test]
    #[expect(
        clippy::print_stderr,
        reason = "a test that checks nothing has to say so"
    )]
    fn every_code_of_iso_4217_has_the_minor_unit_of_the_table() {
        let table =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/currency/isodata.tsv");
        let Ok(table) = std::fs::read_to_string(&table) else {
            eprintln!("NOT CHECKED: {} is absent", table.display());
            return;
        };
        for row in table.lines().skip(1) {
            let columns: Vec<_> = row.split('\t').collect();
            let (code, exponent) = (columns[0], columns[6]);
            match Currency::parse(code) {
                Ok(currency) => assert_eq!(currency.exponent().to_string(), exponent, "{code}"),
                Err(error) => {
                    assert_eq!(exponent, "", "{code}");
                    assert!(matches!(error, MoneyError::NoMinorUnit(_)), "{error}");
                }
            }
        }
    }
}
