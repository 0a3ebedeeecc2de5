//! For every column that can be imported: values it must not have, and what is said of each.
#![cfg(test)]

use std::collections::BTreeSet;

/// A column, a value that it must not have, and the reason that is given.
pub(crate) type BadValue = (&'static str, &'static str, &'static str);

/// A kind of row: its columns with good values, and the bad ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) good: &'static [(&'static str, &'static str)],
    pub(crate) bad: &'static [BadValue],
}

/// A name of 65 characters.
const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NOT_RFC_3339: &str = "is not RFC 3339 with a zone, like 2026-03-02T18:30:00+08:00";

#[rustfmt::skip]
pub(crate) const RECORDS: Table = Table {
    good: &[
        ("record_no", "P1"),
        ("kind", "refund"),
        ("channel", "wechat_pay"),
        ("channel_trade_no", "T1"),
        ("merchant_id", "M1"),
        ("amount", "12.30"),
        ("currency", "CNY"),
        ("fee", "-0.07"),
        ("status", "succeeded"),
        ("occurred_at", "2026-03-02T09:00:00+08:00"),
        ("original_record_no", "P0"),
        ("coupon_amount", "2.00"),
        ("coupon_funder", "channel"),
    ],
    bad: &[
        ("record_no", "", "is empty"),
        ("record_no", "P 1", "a reference is printable ASCII without spaces; character 2 is not"),
        ("record_no", "订单1", "a reference is printable ASCII without spaces; character 1 is not"),
        ("record_no", LONG, "a reference has 1 to 64 characters, not 65"),
        ("kind", "", "is empty"),
        ("kind", "Payment", "is not one of payment, refund"),
        ("channel", "", "is empty"),
        ("channel", "WeChat Pay", "a channel name is printable ASCII without spaces; character 7 is not"),
        ("channel_trade_no", "T\u{a0}1", "a reference is printable ASCII without spaces; character 2 is not"),
        ("channel_trade_no", LONG, "a reference has 1 to 64 characters, not 65"),
        ("merchant_id", "", "is empty"),
        ("merchant_id", "M\t1", "a merchant id is printable ASCII without spaces; character 2 is not"),
        ("amount", "", "is empty"),
        ("amount", "-12.30", "-12.30 CNY is negative"),
        ("amount", "12.301", "\"12.301\" is finer than the minor unit of CNY (2 decimal places)"),
        ("amount", "1e3", "\"1e3\" is not an amount; write it in digits, like \"12.34\""),
        ("amount", "99999999999999999999", "the amount in CNY is out of range"),
        ("currency", "", "is empty"),
        ("currency", "RMB", "\"RMB\" is not an ISO 4217 currency code, like \"CNY\""),
        ("currency", "XAU", "XAU has no minor unit in ISO 4217, so it cannot carry an amount"),
        ("fee", "", "is empty"),
        ("fee", "0.071", "\"0.071\" is finer than the minor unit of CNY (2 decimal places)"),
        ("fee", "free", "\"free\" is not an amount; write it in digits, like \"12.34\""),
        ("status", "", "is empty"),
        ("status", "ok", "is not one of succeeded, failed, pending, closed"),
        ("occurred_at", "", NOT_RFC_3339),
        ("occurred_at", "2026-03-02T09:00:00", NOT_RFC_3339),
        ("occurred_at", "2026-02-29T09:00:00+08:00", NOT_RFC_3339),
        ("original_record_no", "P 0", "a reference is printable ASCII without spaces; character 2 is not"),
        ("coupon_amount", "", "is empty"),
        ("coupon_amount", "-2.00", "-2.00 CNY is negative"),
        ("coupon_amount", "12.31", "12.31 CNY is more than the amount"),
        ("coupon_funder", "", "is empty"),
        ("coupon_funder", "bank", "is not one of merchant, channel, platform, third_party"),
    ],
};

#[rustfmt::skip]
pub(crate) const ORDERS: Table = Table {
    good: &[
        ("order_no", "A1"),
        ("merchant_id", "M1"),
        ("amount", "12.30"),
        ("currency", "CNY"),
        ("status", "open"),
        ("expires_at", "2026-03-09T20:00:00+08:00"),
        ("group_no", "G1"),
        ("channel", "sandbox"),
        ("reference", "R1"),
    ],
    bad: &[
        ("order_no", "", "is empty"),
        ("order_no", "A 1", "an order number is printable ASCII without spaces; character 2 is not"),
        ("order_no", LONG, "an order number has 1 to 64 characters, not 65"),
        ("merchant_id", "", "is empty"),
        ("merchant_id", LONG, "a merchant id has 1 to 64 characters, not 65"),
        ("amount", "", "is empty"),
        ("amount", "-1", "-1.00 CNY is negative"),
        ("amount", "12.301", "\"12.301\" is finer than the minor unit of CNY (2 decimal places)"),
        ("currency", "", "is empty"),
        ("currency", "cny", "\"cny\" is not an ISO 4217 currency code, like \"CNY\""),
        ("status", "", "is empty"),
        ("status", "expired", "is not one of open, in_review, paid, cancelled"),
        ("expires_at", "", NOT_RFC_3339),
        ("expires_at", "2026-03-09", NOT_RFC_3339),
        ("group_no", "G 1", "an order number is printable ASCII without spaces; character 2 is not"),
        ("channel", "", "is empty, but there is a reference"),
        ("channel", "sand box", "a channel name is printable ASCII without spaces; character 5 is not"),
        ("reference", "", "is empty, but there is a channel"),
        ("reference", "R 1", "a reference is printable ASCII without spaces; character 2 is not"),
    ],
};

impl Table {
    /// Fails when a column is not in the table, so that a new one is not forgotten.
    pub(crate) fn assert_covers(&self, columns: &[&str]) {
        let good: Vec<&str> = self.good.iter().map(|(column, _)| *column).collect();
        assert_eq!(good, columns);
        let bad: BTreeSet<&str> = self.bad.iter().map(|(column, ..)| *column).collect();
        assert_eq!(bad, columns.iter().copied().collect());
    }

    /// The good row with this value in this column.
    pub(crate) fn with(&self, column: &str, value: &str) -> Vec<(&'static str, String)> {
        let cells = self.good.iter().map(|(name, good)| {
            let told = if *name == column { value } else { good };
            (*name, told.to_owned())
        });
        cells.collect()
    }

    pub(crate) fn header(&self) -> String {
        let names: Vec<&str> = self.good.iter().map(|(name, _)| *name).collect();
        names.join(",")
    }
}

/// Cells as a row of CSV.
pub(crate) fn csv_row(cells: &[(&'static str, String)]) -> String {
    let values: Vec<&str> = cells.iter().map(|(_, value)| value.as_str()).collect();
    values.join(",")
}

/// Cells as a line of JSON.
pub(crate) fn json_row(cells: &[(&'static str, String)]) -> String {
    let members = cells
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()));
    serde_json::Value::Object(members.collect()).to_string()
}
