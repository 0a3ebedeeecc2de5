//! Records of ours, as CSV with a header or as JSON lines with the same names.
//!
//! Every column is checked, and the first fault refuses the whole file with its line and column; a caller that
//! applies records takes them all from [`read_records`] first, so that nothing is half imported. Amounts are decimal
//! strings in major units; instants are RFC 3339 with a zone.

use std::fmt;
use std::io::{BufRead, Cursor, Read};
use std::str::FromStr;

use chrono::{DateTime, FixedOffset};
use clearday_jobs::{ChannelName, Currency, MerchantId, Money, Reference};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::text::{LineReader, TextError};
use crate::domain::record::{Coupon, Record, RecordStatus};

/// The columns, the required ones first.
pub const COLUMNS: [&str; 13] = [
    "record_no",
    "kind",
    "channel",
    "channel_trade_no",
    "merchant_id",
    "amount",
    "currency",
    "fee",
    "status",
    "occurred_at",
    "original_record_no",
    "coupon_amount",
    "coupon_funder",
];

/// How many of [`COLUMNS`] a CSV must have.
const REQUIRED_COLUMNS: usize = 10;

/// What some programs write before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a file of records was refused.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
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

/// Reads all records and hands each to `take`, in the order of the file; gives back how many there were.
pub fn read_records(
    mut input: impl BufRead,
    mut take: impl FnMut(Record),
) -> Result<u64, RecordsError> {
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
        read_json_lines(whole, &mut take)
    } else {
        read_csv(whole, &mut take)
    }
}

fn read_json_lines(
    input: impl BufRead,
    take: &mut impl FnMut(Record),
) -> Result<u64, RecordsError> {
    let mut lines = LineReader::new(input);
    let mut count = 0_u64;
    while let Some(line) = lines.next_line()? {
        if line.text.trim().is_empty() {
            continue;
        }
        let at = |fault: Fault| fault.at(line.number);
        let object: Object =
            serde_json::from_str(line.text).map_err(|source| RecordsError::Json {
                line: line.number,
                source,
            })?;
        let texts = object.texts().map_err(at)?;
        take(
            record(
                &texts
                    .each_ref()
                    .map(|text| text.as_deref().unwrap_or_default()),
            )
            .map_err(at)?,
        );
        count = count.saturating_add(1);
    }
    Ok(count)
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
    fn texts(self) -> Result<[Option<String>; COLUMNS.len()], Fault> {
        let mut texts = [const { None }; COLUMNS.len()];
        for (name, value) in self.0 {
            let place = COLUMNS.iter().position(|column| *column == name);
            let Some(text) = place.and_then(|place| texts.get_mut(place)) else {
                return Err(unknown_column(&name));
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

fn read_csv(input: impl Read, take: &mut impl FnMut(Record)) -> Result<u64, RecordsError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(input);
    let mut row = csv::ByteRecord::new();
    if !next_row(&mut reader, &mut row)? {
        return Err(RecordsError::Empty);
    }
    let header = Header::of_row(&row).map_err(|fault| fault.at(1))?;

    let mut count = 0_u64;
    while next_row(&mut reader, &mut row)? {
        let line = row.position().map_or(0, csv::Position::line);
        if row.len() != header.0.len() {
            return Err(RecordsError::Width {
                line,
                expected: header.0.len(),
                found: row.len(),
            });
        }
        let told = header.texts(&row).and_then(|texts| record(&texts));
        take(told.map_err(|fault| fault.at(line))?);
        count = count.saturating_add(1);
    }
    Ok(count)
}

fn next_row(
    reader: &mut csv::Reader<impl Read>,
    row: &mut csv::ByteRecord,
) -> Result<bool, RecordsError> {
    let line = reader.position().line();
    reader
        .read_byte_record(row)
        .map_err(|source| RecordsError::Csv { line, source })
}

/// For each value of a row its place in [`COLUMNS`].
struct Header(Vec<usize>);

impl Header {
    fn of_row(row: &csv::ByteRecord) -> Result<Self, Fault> {
        let mut places = Vec::with_capacity(row.len());
        for name in row {
            let name = String::from_utf8_lossy(name);
            let place = COLUMNS.iter().position(|column| *column == name);
            let place = place.ok_or_else(|| unknown_column(&name))?;
            if places.contains(&place) {
                return Err(Fault::new(&name, "is there twice"));
            }
            places.push(place);
        }
        let required = COLUMNS.iter().zip(0..REQUIRED_COLUMNS);
        for (name, place) in required {
            if !places.contains(&place) {
                return Err(Fault::new(name, "is missing in the header"));
            }
        }
        Ok(Self(places))
    }

    fn texts<'a>(&self, row: &'a csv::ByteRecord) -> Result<[&'a str; COLUMNS.len()], Fault> {
        let mut texts = [""; COLUMNS.len()];
        for (value, place) in row.iter().zip(&self.0) {
            if let Some(text) = texts.get_mut(*place) {
                *text = std::str::from_utf8(value).map_err(|_| {
                    let column = COLUMNS.get(*place).copied().unwrap_or_default();
                    Fault::new(column, "is not valid UTF-8")
                })?;
            }
        }
        Ok(texts)
    }
}

/// Reads the values of one record; an empty value is one that was not given.
fn record(texts: &[&str; COLUMNS.len()]) -> Result<Record, Fault> {
    let [
        record_no,
        kind,
        channel,
        channel_trade_no,
        merchant_id,
        amount,
        currency,
        fee,
        status,
        occurred_at,
        original_record_no,
        coupon_amount,
        coupon_funder,
    ] = *texts;
    let currency = required("currency", currency)?;
    let status = required("status", status)?;
    let amount = amount_of("amount", amount, currency)?;
    Ok(Record {
        record_no: required::<Reference>("record_no", record_no)?,
        kind: required("kind", kind)?,
        channel: required::<ChannelName>("channel", channel)?,
        channel_trade_no: optional("channel_trade_no", channel_trade_no)?,
        merchant_id: required::<MerchantId>("merchant_id", merchant_id)?,
        amount,
        fee: fee_of(fee, status, currency)?,
        status,
        occurred_at: instant("occurred_at", occurred_at)?,
        original_record_no: optional("original_record_no", original_record_no)?,
        coupon: coupon(coupon_amount, coupon_funder, amount)?,
    })
}

fn required<T: FromStr<Err: fmt::Display>>(column: &str, text: &str) -> Result<T, Fault> {
    if text.is_empty() {
        return Err(Fault::new(column, "is empty"));
    }
    text.parse().map_err(|reason| Fault::new(column, reason))
}

fn optional<T: FromStr<Err: fmt::Display>>(column: &str, text: &str) -> Result<Option<T>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    required(column, text).map(Some)
}

fn amount_of(column: &str, text: &str, currency: Currency) -> Result<Money, Fault> {
    let money = money(column, text, currency)?;
    if money.is_negative() {
        return Err(Fault::new(
            column,
            format!("{money} is negative; the kind says which way money goes"),
        ));
    }
    Ok(money)
}

/// Where no money moved there may be no fee either.
fn fee_of(text: &str, status: RecordStatus, currency: Currency) -> Result<Money, Fault> {
    if text.is_empty() && !status.moved_money() {
        return Ok(Money::from_minor(0, currency));
    }
    money("fee", text, currency)
}

fn money(column: &str, text: &str, currency: Currency) -> Result<Money, Fault> {
    if text.is_empty() {
        return Err(Fault::new(column, "is empty"));
    }
    Money::parse_major(text, currency).map_err(|reason| Fault::new(column, reason))
}

fn instant(column: &str, text: &str) -> Result<DateTime<FixedOffset>, Fault> {
    DateTime::parse_from_rfc3339(text).map_err(|_| {
        Fault::new(
            column,
            "is not RFC 3339 with a zone, like 2026-03-02T18:30:00+08:00",
        )
    })
}

fn coupon(amount: &str, funder: &str, whole: Money) -> Result<Option<Coupon>, Fault> {
    if amount.is_empty() && funder.is_empty() {
        return Ok(None);
    }
    let amount = amount_of("coupon_amount", amount, whole.currency())?;
    if amount.minor_units() > whole.minor_units() {
        return Err(Fault::new(
            "coupon_amount",
            format!("{amount} is more than the amount"),
        ));
    }
    if amount.is_zero() && funder.is_empty() {
        return Ok(None);
    }
    let funder = required("coupon_funder", funder)?;
    Ok(Some(Coupon { amount, funder }))
}

/// What is wrong with a column, before its line is known.
struct Fault {
    column: String,
    reason: String,
}

impl Fault {
    fn new(column: &str, reason: impl fmt::Display) -> Self {
        Self {
            column: column.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn at(self, line: u64) -> RecordsError {
        RecordsError::Column {
            line,
            column: self.column,
            reason: self.reason,
        }
    }
}

fn unknown_column(name: &str) -> Fault {
    let excerpt: String = name.chars().take(32).collect();
    Fault::new(
        &excerpt,
        format!("is unknown; the columns are {}", COLUMNS.join(",")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{CouponFunder, RecordKind};

    const HEADER: &str = "record_no,kind,channel,channel_trade_no,merchant_id,amount,currency,fee,status,occurred_at";
    const ROW: &str =
        "A1,payment,wechat_pay,T1,M1,12.30,CNY,0.07,succeeded,2026-03-02T09:00:00+08:00";

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<Record>, RecordsError> {
        let mut records = Vec::new();
        let count = read_records(text.as_ref(), |record| records.push(record))?;
        assert_eq!(count, u64::try_from(records.len()).unwrap_or_default());
        Ok(records)
    }

    fn refusal(text: impl AsRef<[u8]>) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn csv_and_json_lines_tell_the_same() {
        let csv = format!(
            "\u{feff}{HEADER},original_record_no,coupon_amount,coupon_funder\r\n{ROW},,2.00,channel\r\n"
        );
        let from_csv = read(csv).unwrap();
        let json = r#"{"record_no":"A1","kind":"payment","channel":"wechat_pay","channel_trade_no":"T1","merchant_id":"M1",
            "amount":"12.30","currency":"CNY","fee":"0.07","status":"succeeded","occurred_at":"2026-03-02T09:00:00+08:00",
            "original_record_no":null,"coupon_amount":"2.00","coupon_funder":"channel"}"#;
        let json = json.replace('\n', " ");
        assert_eq!(read(format!("{json}\n\n")).unwrap(), from_csv);

        let record = &from_csv[0];
        assert_eq!(record.kind, RecordKind::Payment);
        assert_eq!(record.amount.minor_units(), 1230);
        assert_eq!(record.fee.minor_units(), 7);
        assert_eq!(
            record.coupon.map(|coupon| coupon.funder),
            Some(CouponFunder::Channel)
        );
        assert_eq!(record.occurred_at.to_rfc3339(), "2026-03-02T09:00:00+08:00");
    }

    #[test]
    fn columns_may_stand_in_any_order() {
        let csv = "fee,status,occurred_at,record_no,kind,channel,channel_trade_no,merchant_id,amount,currency\n\
                   -0.07,succeeded,2026-03-02T09:00:00Z,R1,refund,wechat_pay,,M1,12.30,CNY\n";
        let records = read(csv).unwrap();
        assert_eq!(records[0].fee.minor_units(), -7);
        assert_eq!(records[0].channel_trade_no, None);
    }

    #[test]
    fn headers_are_refused_by_column() {
        assert_eq!(
            refusal(""),
            "line 1: the file is empty; a CSV begins with its header"
        );
        assert!(
            refusal(format!("{HEADER},payer\n"))
                .starts_with("line 1, column payer: is unknown; the columns are record_no,")
        );
        assert_eq!(
            refusal(format!("{HEADER},fee\n")),
            "line 1, column fee: is there twice"
        );
        assert_eq!(
            refusal(HEADER.replace(",fee", "")),
            "line 1, column fee: is missing in the header"
        );
        assert!(read(HEADER).unwrap().is_empty());
    }

    #[test]
    fn values_are_refused_by_line_and_column() {
        let cases = [
            ("A1,", ",", "record_no: is empty"),
            (
                "A1",
                "A 1",
                "record_no: a reference is printable ASCII without spaces; character 2 is not",
            ),
            ("payment", "charge", "kind: is not one of payment, refund"),
            ("wechat_pay", "", "channel: is empty"),
            ("M1", "", "merchant_id: is empty"),
            (
                "12.30",
                "-12.30",
                "amount: -12.30 CNY is negative; the kind says which way money goes",
            ),
            (
                "12.30",
                "12.345",
                "amount: \"12.345\" is finer than the minor unit of CNY (2 decimal places)",
            ),
            ("12.30", "", "amount: is empty"),
            (
                "CNY",
                "RMB",
                "currency: \"RMB\" is not an ISO 4217 currency code, like \"CNY\"",
            ),
            ("0.07", "", "fee: is empty"),
            (
                "0.07",
                "a",
                "fee: \"a\" is not an amount; write it in digits, like \"12.34\"",
            ),
            (
                "succeeded",
                "ok",
                "status: is not one of succeeded, failed, pending, closed",
            ),
            (
                "+08:00",
                "",
                "occurred_at: is not RFC 3339 with a zone, like 2026-03-02T18:30:00+08:00",
            ),
        ];
        for (from, to, message) in cases {
            let csv = format!("{HEADER}\n{ROW}\n{}\n", ROW.replacen(from, to, 1));
            assert_eq!(refusal(csv), format!("line 3, column {message}"));
        }
        assert_eq!(
            refusal(format!("{HEADER}\n{ROW},x\n")),
            "line 2: 11 values where the header has 10"
        );
        let broken = [format!("{HEADER}\n").as_bytes(), b"\xff", ROW.as_bytes()].concat();
        assert_eq!(
            refusal(broken),
            "line 2, column record_no: is not valid UTF-8"
        );
    }

    #[test]
    fn json_members_are_refused_by_name() {
        assert_eq!(
            refusal("{\"amount\":12.3}"),
            "line 1, column amount: is not a string"
        );
        assert_eq!(
            refusal("{\"fee\":\"1\",\"fee\":\"2\"}"),
            "line 1, column fee: is there twice"
        );
        assert!(refusal("{\"payer\":\"x\"}").starts_with("line 1, column payer: is unknown"));
        assert_eq!(refusal("{\"fee\":\"1\""), "line 1: not a JSON object");
        assert_eq!(
            refusal("{\"record_no\":\"1\"}"),
            "line 1, column currency: is empty"
        );
    }

    #[test]
    fn what_moved_no_money_may_lack_its_fee() {
        let row = ROW.replace("0.07,succeeded", ",failed");
        let records = read(format!("{HEADER}\n{row}\n")).unwrap();
        assert!(records[0].fee.is_zero());
    }

    #[test]
    fn a_coupon_has_an_amount_and_a_funder() {
        let with = |amount: &str, funder: &str| {
            let csv = format!("{HEADER},coupon_amount,coupon_funder\n{ROW},{amount},{funder}\n");
            read(csv)
                .map(|records| records[0].coupon.is_some())
                .map_err(|error| error.to_string())
        };
        assert_eq!(with("", ""), Ok(false));
        assert_eq!(with("0.00", ""), Ok(false));
        assert_eq!(with("12.30", "merchant"), Ok(true));
        assert_eq!(
            with("1.00", "").unwrap_err(),
            "line 2, column coupon_funder: is empty"
        );
        assert_eq!(
            with("", "channel").unwrap_err(),
            "line 2, column coupon_amount: is empty"
        );
        assert_eq!(
            with("12.31", "channel").unwrap_err(),
            "line 2, column coupon_amount: 12.31 CNY is more than the amount"
        );
    }
}
