//! Orders of the upstream system, as CSV with a header or as JSON lines with the same names.
//!
//! An order that was given several references for paying it stands in several rows, which differ in nothing else. The
//! rest is said in [`rows`](super::rows).

use std::io::BufRead;

use chrono::SubsecRound;
use clearday_jobs::{ChannelName, OrderNo, Reference};

use super::rows::{Columns, Fault, RowsError, amount_of, instant, optional, read_rows, required};
use crate::domain::import::orders::{OrderRow, ToldOrder};

/// The columns; a CSV must have all but the last three.
pub const COLUMNS: Columns<9> = Columns {
    names: [
        "order_no",
        "merchant_id",
        "amount",
        "currency",
        "status",
        "expires_at",
        "group_no",
        "channel",
        "reference",
    ],
    required: 6,
};

/// Both databases keep microseconds; a finer deadline would not come back equal.
const SUBSECOND_DIGITS: u16 = 6;

/// Reads all rows, in the order of the file.
pub fn read_orders(input: impl BufRead) -> Result<Vec<OrderRow>, RowsError> {
    let mut rows = Vec::new();
    read_rows(input, &COLUMNS, order, |line, (told, reference)| {
        rows.push(OrderRow {
            line,
            told,
            reference,
        });
    })?;
    Ok(rows)
}

type Told = (ToldOrder, Option<(ChannelName, Reference)>);

fn order(texts: &[&str; COLUMNS.names.len()]) -> Result<Told, Fault> {
    let [
        order_no,
        merchant_id,
        amount,
        currency,
        status,
        expires_at,
        group_no,
        channel,
        reference,
    ] = *texts;
    let order_no: OrderNo = required("order_no", order_no)?;
    let total = amount_of("amount", amount, required("currency", currency)?)?;
    let group_no = optional("group_no", group_no)?.unwrap_or_else(|| order_no.clone());
    let told = ToldOrder {
        order_no,
        group_no,
        merchant_id: required("merchant_id", merchant_id)?,
        total,
        status: required("status", status)?,
        expires_at: instant("expires_at", expires_at)?
            .to_utc()
            .trunc_subsecs(SUBSECOND_DIGITS),
    };
    Ok((told, reference_of(channel, reference)?))
}

fn reference_of(channel: &str, reference: &str) -> Result<Option<(ChannelName, Reference)>, Fault> {
    match (
        optional("channel", channel)?,
        optional("reference", reference)?,
    ) {
        (Some(channel), Some(reference)) => Ok(Some((channel, reference))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Fault::new("reference", "is empty, but there is a channel")),
        (None, Some(_)) => Err(Fault::new("channel", "is empty, but there is a reference")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "order_no,merchant_id,amount,currency,status,expires_at,group_no,channel,reference";
    const ROW: &str = "A1,M1,12.30,CNY,open,2026-03-02T20:00:00+08:00,G1,sandbox,R1";

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<OrderRow>, RowsError> {
        read_orders(text.as_ref())
    }

    #[test]
    fn csv_and_json_lines_tell_the_same() {
        let from_csv = read(format!("{HEADER}\n{ROW}\n")).unwrap();
        let json = r#"{"order_no":"A1","merchant_id":"M1","amount":"12.3","currency":"CNY","status":"open","expires_at":"2026-03-02T12:00:00Z","group_no":"G1","channel":"sandbox","reference":"R1"}"#;
        let from_json = read(json).unwrap();
        assert_eq!(from_json[0].told, from_csv[0].told);
        assert_eq!(from_json[0].reference, from_csv[0].reference);
        assert_eq!((from_csv[0].line, from_json[0].line), (2, 1));
    }

    #[test]
    fn an_order_of_its_own_is_its_own_group() {
        let header = HEADER.replace(",group_no,channel,reference", "");
        let row = ROW.replace(",G1,sandbox,R1", "");
        let rows = read(format!("{header}\n{row}\n")).unwrap();
        assert_eq!(rows[0].told.group_no.as_str(), "A1");
        assert_eq!(rows[0].reference, None);
    }

    #[test]
    fn bad_rows_are_refused_by_line_and_column() {
        #[rustfmt::skip]
        let table = [
            ("A1", "", "order_no: is empty"),
            ("A1", "A 1", "order_no: an order number is printable ASCII without spaces; character 2 is not"),
            ("M1", "", "merchant_id: is empty"),
            ("12.30", "-1", "amount: -1.00 CNY is negative"),
            ("12.30", "1,230.00", ""),
            ("12.30", "12.301", "amount: \"12.301\" is finer than the minor unit of CNY (2 decimal places)"),
            ("12.30", "99999999999999999999", "amount: the amount in CNY is out of range"),
            ("CNY", "cny", "currency: \"cny\" is not an ISO 4217 currency code, like \"CNY\""),
            ("open", "expired", "status: is not one of open, in_review, paid, cancelled"),
            ("+08:00", "", "expires_at: is not RFC 3339 with a zone, like 2026-03-02T18:30:00+08:00"),
            ("G1", "G\u{200b}1", "group_no: an order number is printable ASCII without spaces; character 2 is not"),
            ("sandbox", "", "channel: is empty, but there is a reference"),
            ("R1", "", "reference: is empty, but there is a channel"),
        ];
        for (find, replace, expected) in table {
            let text = format!("{HEADER}\n{ROW}\n{}\n", ROW.replacen(find, replace, 1));
            let expected = match expected {
                "" => "line 3: 10 values where the header has 9".to_owned(),
                column => format!("line 3, column {column}"),
            };
            assert_eq!(read(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn bad_headers_are_refused() {
        let refusal = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            refusal(""),
            "line 1: the file is empty; a CSV begins with its header"
        );
        assert_eq!(
            refusal("order_no,merchant\n"),
            "line 1, column merchant: is unknown; the columns are \
             order_no,merchant_id,amount,currency,status,expires_at,group_no,channel,reference"
        );
        assert_eq!(
            refusal("order_no,merchant_id,amount,currency,status\n"),
            "line 1, column expires_at: is missing in the header"
        );
    }
}
