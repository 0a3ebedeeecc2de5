//! Reads instants, dates and months strictly: RFC 3339 with a zone, `YYYY-MM-DD` and `YYYY-MM`.
//!
//! chrono's own serde forms also take `2026-3-1` and say "premature end of input" about the rest.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, NaiveDate, SubsecRound, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

/// Both databases keep microseconds; a finer instant would not come back equal.
const SUBSECOND_DIGITS: u16 = 6;

/// A month of a year, as printed on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CardMonth {
    year: i32,
    month: u32,
}

impl CardMonth {
    /// Whether a card of this month is expired on `date`; it is good through the last day of the month.
    pub fn is_over_on(self, date: NaiveDate) -> bool {
        (date.year(), date.month()) > (self.year, self.month)
    }
}

/// For `#[serde(deserialize_with)]`: an instant, cut to microseconds.
pub(crate) fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(from)?;
    let instant = DateTime::parse_from_rfc3339(&text).map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\""
        ))
    })?;
    Ok(instant.to_utc().trunc_subsecs(SUBSECOND_DIGITS))
}

/// For `#[serde(deserialize_with)]`: a date.
pub(crate) fn date<'de, D: Deserializer<'de>>(from: D) -> Result<NaiveDate, D::Error> {
    let text = String::deserialize(from)?;
    parse_date(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is not a date; write YYYY-MM-DD, like \"2026-03-01\""
        ))
    })
}

/// A date in exactly the form in which it would be written again.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let date: NaiveDate = text.parse().ok()?;
    (text.len() == "YYYY-MM-DD".len() && date.to_string() == text).then_some(date)
}

impl TryFrom<String> for CardMonth {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let first_day = parse_date(&format!("{text}-01"))
            .ok_or_else(|| format!("{text:?} is not a month; write YYYY-MM, like \"2027-09\""))?;
        let (year, month) = (first_day.year(), first_day.month());
        Ok(Self { year, month })
    }
}

impl From<CardMonth> for String {
    fn from(CardMonth { year, month }: CardMonth) -> Self {
        format!("{year:04}-{month:02}")
    }
}

impl JsonSchema for CardMonth {
    fn schema_name() -> Cow<'static, str> {
        "CardMonth".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$" })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    fn text(text: &str) -> StrDeserializer<'_, Error> {
        text.into_deserializer()
    }

    #[test]
    fn an_instant_is_cut_to_microseconds_of_utc() {
        let read = instant(text("2026-03-01T09:00:00.1234567+08:00")).unwrap();
        assert_eq!(read.to_rfc3339(), "2026-03-01T01:00:00.123456+00:00");
    }

    #[test]
    fn an_instant_without_a_zone_is_refused() {
        for written in [
            "2026-03-01T09:00:00",
            "2026-03-01",
            "1772326800",
            "2026-02-30T00:00:00Z",
            "",
        ] {
            assert!(instant(text(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn a_date_has_one_form() {
        assert_eq!(date(text("2024-02-29")).unwrap().to_string(), "2024-02-29");
        for written in [
            "2026-02-29",
            "2026-3-1",
            " 2026-03-01",
            "20260301",
            "+12026-03-01",
        ] {
            assert!(date(text(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn a_card_is_good_through_the_last_day_of_its_month() {
        let month: CardMonth = serde_json::from_str("\"2026-02\"").unwrap();
        assert!(!month.is_over_on(NaiveDate::from_ymd_opt(2026, 2, 28).unwrap()));
        assert!(month.is_over_on(NaiveDate::from_ymd_opt(2026, 3, 1).unwrap()));
        assert_eq!(serde_json::to_string(&month).unwrap(), "\"2026-02\"");
        assert!(CardMonth::try_from("02/26".to_owned()).is_err());
    }
}
