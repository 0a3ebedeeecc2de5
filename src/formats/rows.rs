//! Rows of a file that somebody imports: CSV with a header, or JSON lines with the same names.
//!
//! What a row begins with says which of the two it is. Every value arrives as text and every column is known; the
//! first fault refuses the whole file with its line and column. A caller that applies rows takes them all first, so
//! that nothing is half imported.

use std::fmt;
use std::io::{BufRead, Cursor, Read};
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime};
use chrono_tz::Tz;
use clearday_jobs::{Currency, Money};
use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::text::{Line, LineReader, TextError};
use crate::domain::fee::{RATE_PLACES_MAX, rate_in_billionths};

/// What some programs write before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// More digits than a rate has on either side of its point, trailing zeros included; a decimal holds them.
const RATE_DIGITS_MAX: usize = 12;

/// The columns of a kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Columns<const N: usize> {
    /// Their names, the required ones first.
    pub names: [&'static str; N],
    /// How many of them the header of a CSV must have.
    pub required: usize,
}

impl<const N: usize> Columns<N> {
    fn place(&self, name: &str) -> Result<usize, Fault> {
        let place = self.names.iter().position(|column| *column == name);
        place.ok_or_else(|| {
            let excerpt: String = name.chars().take(32).collect();
            let names = self.names.join(",");
            Fault::new(&excerpt, format!("is unknown; the columns are {names}"))
        })
    }
}

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The bytes are no text, or cannot be read to their end.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The file holds nothing, not even a header.
    #[error("line 1: the file is empty; a CSV begins with its header")]
    Empty,
    /// The bytes cannot be read to their end.
    #[error("line {line}: could not be read")]
    Csv {
        /// The line, counted from 1.
        line: u64,
        /// What the CSV reader said.
        #[source]
        source: csv::Error,
    },
    /// A row has more or fewer values than the header.
    #[error("line {line}: {found} values where the header has {expected}")]
    Width {
        /// The line, counted from 1.
        line: u64,
        /// The columns of the header.
        expected: usize,
        /// The values of the row.
        found: usize,
    },
    /// A line is not one JSON object.
    #[error("line {line}: not a JSON object")]
    Json {
        /// The line, counted from 1.
        line: u64,
        /// What the JSON reader said.
        #[source]
        source: serde_json::Error,
    },
    /// A column cannot be what it is, or its value cannot.
    #[error("line {line}, column {column}: {reason}")]
    Column {
        /// The line, counted from 1.
        line: u64,
        /// The column by its name.
        column: String,
        /// What is wrong.
        reason: String,
    },
}

impl RowsError {
    /// The line it stands on, counted from 1.
    pub const fn line(&self) -> u64 {
        match self {
            Self::Text(error) => error.line(),
            Self::Empty => 1,
            Self::Csv { line, .. }
            | Self::Width { line, .. }
            | Self::Json { line, .. }
            | Self::Column { line, .. } => *line,
        }
    }

    /// The column in question, where it is one.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Column { column, .. } => Some(column),
            Self::Text(_)
            | Self::Empty
            | Self::Csv { .. }
            | Self::Width { .. }
            | Self::Json { .. } => None,
        }
    }

    /// What is wrong, without the place.
    pub fn reason(&self) -> String {
        match self {
            Self::Column { reason, .. } => reason.clone(),
            Self::Json { source, .. } => {
                format!("not a JSON object, from byte {} on", source.column())
            }
            Self::Text(_) | Self::Empty | Self::Csv { .. } | Self::Width { .. } => {
                let told = self.to_string();
                let place = format!("line {}: ", self.line());
                told.strip_prefix(&place).unwrap_or(&told).to_owned()
            }
        }
    }
}

/// Reads every row with `parse` and hands it to `take` with its line, in the order of the file; gives back how many
/// there were.
pub fn read_rows<const N: usize, T>(
    mut input: impl BufRead,
    columns: &Columns<N>,
    parse: impl Fn(&[&str; N]) -> Result<T, Fault>,
    mut take: impl FnMut(u64, T),
) -> Result<u64, RowsError> {
    // The first fault ends the reading.
    let mut on_row = |told: Told<T>| told.map(|(line, row)| take(line, row));
    let mut head = Vec::with_capacity(BYTE_ORDER_MARK.len());
    let bytes_max = BYTE_ORDER_MARK.len().try_into().unwrap_or(u64::MAX);
    let read = input.by_ref().take(bytes_max).read_to_end(&mut head);
    read.map_err(|source| TextError::Read { line: 1, source })?;
    if head == BYTE_ORDER_MARK {
        head.clear();
        let read = input.by_ref().take(1).read_to_end(&mut head);
        read.map_err(|source| TextError::Read { line: 1, source })?;
    }

    let is_json = head.first() == Some(&b'{');
    let whole = Cursor::new(head).chain(input);
    if is_json {
        read_json_rows(whole, columns, parse, &mut on_row)
    } else {
        read_csv(whole, columns, parse, &mut on_row)
    }
}

/// A row with its line, or what is wrong with it.
pub(super) type Told<T> = Result<(u64, T), RowsError>;

/// Reads every row of JSON lines and hands each to `on_row`, which ends the reading by giving a fault back; gives back
/// how many rows there were.
pub(super) fn read_json_rows<const N: usize, T>(
    input: impl BufRead,
    columns: &Columns<N>,
    parse: impl Fn(&[&str; N]) -> Result<T, Fault>,
    mut on_row: impl FnMut(Told<T>) -> Result<(), RowsError>,
) -> Result<u64, RowsError> {
    let mut lines = LineReader::new(input);
    let mut count = 0_u64;
    loop {
        match lines.next_line() {
            Ok(None) => return Ok(count),
            Ok(Some(line)) if line.text.trim().is_empty() => continue,
            Ok(Some(line)) => on_row(json_row(&line, columns, &parse))?,
            Err(error) if error.is_one_line_only() => on_row(Err(error.into()))?,
            Err(error) => return Err(error.into()),
        }
        count = count.saturating_add(1);
    }
}

fn json_row<const N: usize, T>(
    line: &Line<'_>,
    columns: &Columns<N>,
    parse: impl Fn(&[&str; N]) -> Result<T, Fault>,
) -> Told<T> {
    let at = |fault: Fault| fault.at(line.number);
    let object: Object = serde_json::from_str(line.text).map_err(|source| RowsError::Json {
        line: line.number,
        source,
    })?;
    let texts = object.texts(columns).map_err(at)?;
    let texts = texts
        .each_ref()
        .map(|text| text.as_deref().unwrap_or_default());
    Ok((line.number, parse(&texts).map_err(at)?))
}

/// The members of a JSON object in the order they were written, also those that stand twice.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Object(members))
    }
}

impl Object {
    fn texts<const N: usize>(self, columns: &Columns<N>) -> Result<[Option<String>; N], Fault> {
        let mut texts = [const { None }; N];
        for (name, value) in self.0 {
            let place = columns.place(&name)?;
            let Some(text) = texts.get_mut(place) else {
                continue;
            };
            if text.is_some() {
                return Err(Fault::new(&name, "is there twice"));
            }
            *text = match value {
                Value::String(told) => Some(told),
                Value::Null => None,
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(Fault::new(&name, "is not a string"));
                }
            };
        }
        Ok(texts)
    }
}

fn read_csv<const N: usize, T>(
    input: impl Read,
    columns: &Columns<N>,
    parse: impl Fn(&[&str; N]) -> Result<T, Fault>,
    on_row: &mut impl FnMut(Told<T>) -> Result<(), RowsError>,
) -> Result<u64, RowsError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(input);
    let mut row = csv::ByteRecord::new();
    if !next_row(&mut reader, &mut row)? {
        return Err(RowsError::Empty);
    }
    let header = Header::of_row(&row, columns).map_err(|fault| fault.at(1))?;

    let mut count = 0_u64;
    while next_row(&mut reader, &mut row)? {
        let line = row.position().map_or(0, csv::Position::line);
        on_row(if row.len() == header.0.len() {
            let told = header.texts(&row, columns).and_then(|texts| parse(&texts));
            told.map(|row| (line, row)).map_err(|fault| fault.at(line))
        } else {
            Err(RowsError::Width {
                line,
                expected: header.0.len(),
                found: row.len(),
            })
        })?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

fn next_row(
    reader: &mut csv::Reader<impl Read>,
    row: &mut csv::ByteRecord,
) -> Result<bool, RowsError> {
    let line = reader.position().line();
    reader
        .read_byte_record(row)
        .map_err(|source| RowsError::Csv { line, source })
}

/// For each value of a row its place among the columns.
struct Header(Vec<usize>);

impl Header {
    fn of_row<const N: usize>(row: &csv::ByteRecord, columns: &Columns<N>) -> Result<Self, Fault> {
        let mut places = Vec::with_capacity(row.len());
        for name in row {
            let name = String::from_utf8_lossy(name);
            let place = columns.place(&name)?;
            if places.contains(&place) {
                return Err(Fault::new(&name, "is there twice"));
            }
            places.push(place);
        }
        let required = columns.names.iter().zip(0..columns.required);
        for (name, place) in required {
            if !places.contains(&place) {
                return Err(Fault::new(name, "is missing in the header"));
            }
        }
        Ok(Self(places))
    }

    fn texts<'a, const N: usize>(
        &self,
        row: &'a csv::ByteRecord,
        columns: &Columns<N>,
    ) -> Result<[&'a str; N], Fault> {
        let mut texts = [""; N];
        for (value, place) in row.iter().zip(&self.0) {
            if let Some(text) = texts.get_mut(*place) {
                *text = std::str::from_utf8(value).map_err(|_| {
                    let column = columns.names.get(*place).copied().unwrap_or_default();
                    Fault::new(column, "is not valid UTF-8")
                })?;
            }
        }
        Ok(texts)
    }
}

/// Reads a value that must be there.
pub(super) fn required<T: FromStr<Err: fmt::Display>>(
    column: &str,
    text: &str,
) -> Result<T, Fault> {
    if text.is_empty() {
        return Err(Fault::new(column, "is empty"));
    }
    text.parse().map_err(|reason| Fault::new(column, reason))
}

/// Reads a value that may be empty.
pub(super) fn optional<T: FromStr<Err: fmt::Display>>(
    column: &str,
    text: &str,
) -> Result<Option<T>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    required(column, text).map(Some)
}

/// Reads an amount of money that is not negative.
pub(super) fn amount_of(column: &str, text: &str, currency: Currency) -> Result<Money, Fault> {
    let money = money(column, text, currency)?;
    if money.is_negative() {
        return Err(Fault::new(column, format!("{money} is negative")));
    }
    Ok(money)
}

/// Reads an amount of money.
pub(super) fn money(column: &str, text: &str, currency: Currency) -> Result<Money, Fault> {
    if text.is_empty() {
        return Err(Fault::new(column, "is empty"));
    }
    Money::parse_major(text, currency).map_err(|reason| Fault::new(column, reason))
}

/// Reads an instant, in the zone it was written in.
pub(super) fn instant(column: &str, text: &str) -> Result<DateTime<FixedOffset>, Fault> {
    DateTime::parse_from_rfc3339(text).map_err(|_| {
        Fault::new(
            column,
            "is not RFC 3339 with a zone, like 2026-03-02T18:30:00+08:00",
        )
    })
}

/// Reads words for people: on one line, nothing invisible around them, at most so many characters.
pub(super) fn text_of(column: &str, text: &str, characters_max: usize) -> Result<String, Fault> {
    let length = text.chars().count();
    if length == 0 {
        return Err(Fault::new(column, "is empty"));
    }
    if length > characters_max {
        let reason = format!("has {length} characters; at most {characters_max} are kept");
        return Err(Fault::new(column, reason));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new(column, "holds a control character"));
    }
    if text.trim() != text {
        return Err(Fault::new(column, "begins or ends with a blank"));
    }
    Ok(text.to_owned())
}

/// Reads a rate: a part of one, of at most nine decimal places.
pub(super) fn rate(column: &str, text: &str) -> Result<Decimal, Fault> {
    if text.is_empty() {
        return Err(Fault::new(column, "is empty"));
    }
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = [whole, places].iter().all(|part| {
        !part.is_empty() && part.len() <= RATE_DIGITS_MAX && part.bytes().all(is_digit)
    });
    let rate: Option<Decimal> = is_number.then(|| text.parse().ok()).flatten();
    let rate = rate.filter(|rate| rate_in_billionths(*rate).is_some());
    let rate = rate.map(|rate| rate.normalize());
    rate.ok_or_else(|| {
        let places = RATE_PLACES_MAX;
        let reason = format!(
            "is not between 0 and 1 in at most {places} decimal places, like 0.006 for 0.6 %"
        );
        Fault::new(column, reason)
    })
}

/// Reads a date.
pub(super) fn date(column: &str, text: &str) -> Result<NaiveDate, Fault> {
    if text.is_empty() {
        return Err(Fault::new(column, "is empty"));
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let date = date.filter(|date| text.len() == 10 && date.to_string() == text);
    date.ok_or_else(|| Fault::new(column, "is not a date, like 2026-03-02"))
}

/// Reads a time of day to the minute.
pub(super) fn time_of_day(column: &str, text: &str) -> Result<NaiveTime, Fault> {
    let time = NaiveTime::parse_from_str(text, "%H:%M").ok();
    let time = time.filter(|time| time.format("%H:%M").to_string() == text);
    time.ok_or_else(|| Fault::new(column, "is not a time of day, like 23:00"))
}

/// Reads the name of a time zone.
pub(super) fn zone(column: &str, text: &str) -> Result<Tz, Fault> {
    let reason = "is no IANA time zone, such as Asia/Shanghai or UTC";
    text.parse().map_err(|_| Fault::new(column, reason))
}

/// Reads a yes or no.
pub(super) fn flag(column: &str, text: &str) -> Result<bool, Fault> {
    text.parse()
        .map_err(|_| Fault::new(column, "is not one of true, false"))
}

/// What is wrong with a column, before its line is known.
#[derive(Debug)]
pub struct Fault {
    column: String,
    reason: String,
}

impl Fault {
    /// Names the column and what is wrong.
    pub(super) fn new(column: &str, reason: impl fmt::Display) -> Self {
        Self {
            column: column.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn at(self, line: u64) -> RowsError {
        RowsError::Column {
            line,
            column: self.column,
            reason: self.reason,
        }
    }
}
