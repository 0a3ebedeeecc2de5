//! Records of ours, as CSV with a header or as JSON lines with the same names.
//!
//! Amounts are decimal strings in major units and never negative: the kind says which way money goes. Instants are
//! RFC 3339 with a zone. The rest is said in [`rows`](super::rows).

use std::io::BufRead;

use clearday_jobs::{ChannelName, Currency, MerchantId, Money, Reference};

use super::rows::{
    Columns, Fault, RowsError, amount_of, instant, money, optional, read_json_rows, read_rows,
    required,
};
use crate::domain::record::{Coupon, Record, RecordStatus};

/// The columns; a CSV must have all but the last three.
pub const COLUMNS: Columns<13> = Columns {
    names: [
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
    ],
    required: 10,
};

/// Reads all records and hands each to `take`, in the order of the file; gives back how many there were.
pub fn read_records(input: impl BufRead, mut take: impl FnMut(Record)) -> Result<u64, RowsError> {
    read_numbered_records(input, |_, record| take(record))
}

/// The same with the line of each record.
pub fn read_numbered_records(
    input: impl BufRead,
    take: impl FnMut(u64, Record),
) -> Result<u64, RowsError> {
    read_rows(input, &COLUMNS, record, take)
}

/// Reads records as JSON lines only, and goes on behind a faulty line, so that all of them are told at once.
///
/// # Errors
/// The first `faults_max` faulty lines; there may be more.
pub fn read_json_records(
    input: impl BufRead,
    faults_max: usize,
    mut take: impl FnMut(u64, Record),
) -> Result<(), Vec<RowsError>> {
    let mut faults = Vec::new();
    let read = read_json_rows(input, &COLUMNS, record, |told| {
        match told {
            Ok((line, record)) => take(line, record),
            Err(fault) if faults.len().saturating_add(1) < faults_max => faults.push(fault),
            Err(last) => return Err(last),
        }
        Ok(())
    });
    faults.extend(read.err());
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// Reads the values of one record; an empty value is one that was not given.
fn record(texts: &[&str; COLUMNS.names.len()]) -> Result<Record, Fault> {
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

/// Where no money moved there may be no fee either.
fn fee_of(text: &str, status: RecordStatus, currency: Currency) -> Result<Money, Fault> {
    if text.is_empty() && !status.moved_money() {
        return Ok(Money::from_minor(0, currency));
    }
    money("fee", text, currency)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{CouponFunder, RecordKind};

    const HEADER: &str = "record_no,kind,channel,channel_trade_no,merchant_id,amount,currency,fee,status,occurred_at";
    const ROW: &str =
        "A1,payment,wechat_pay,T1,M1,12.30,CNY,0.07,succeeded,2026-03-02T09:00:00+08:00";

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<Record>, RowsError> {
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
            ("12.30", "-12.30", "amount: -12.30 CNY is negative"),
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
