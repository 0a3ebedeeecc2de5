//! Breaks as CSV, one row per break.

use std::io::Write;

use crate::domain::reconciliation::{Break, Side};
use crate::formats::wechat_pay::totals::decimal_text;

/// The columns, in order.
pub const COLUMNS: [&str; 13] = [
    "break",
    "kind",
    "record_no",
    "channel_trade_no",
    "currency",
    "our_amount",
    "channel_amount",
    "our_status",
    "channel_status",
    "our_fee",
    "channel_fee",
    "occurred_at",
    "at_risk",
];

/// Writes a header and one row per break; what a side does not tell stays empty.
pub fn write_breaks(out: impl Write, breaks: &[Break]) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS)?;
    for found in breaks {
        let amount = |side: Option<Side>| {
            side.map_or_else(String::new, |side| side.amount.to_major_string())
        };
        let status = |side: Option<Side>| side.map_or("", |side| side.status.as_str());
        let fee = |side: Option<Side>| {
            side.map_or_else(String::new, |side| {
                decimal_text(side.fee, side.amount.currency().exponent())
            })
        };
        writer.write_record([
            found.name.as_str(),
            found.kind.as_str(),
            &found.record_no,
            &found.channel_no,
            found.currency.code(),
            &amount(found.ours),
            &amount(found.theirs),
            status(found.ours),
            status(found.theirs),
            &fee(found.ours),
            &fee(found.theirs),
            &found.occurred_at_text(),
            &found.at_risk.to_major_string(),
        ])?;
    }
    writer.flush()?;
    Ok(())
}
