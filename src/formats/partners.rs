//! Partners who may be asked to pay, as CSV with a header or as JSON lines with the same names.
//!
//! The channels stand in their order of preference with semicolons between them: `sms;email;webhook`. A channel needs its
//! address; an address without its channel is kept and not used. The rest is said in [`rows`](super::rows).

use std::io::BufRead;

use chrono_tz::Tz;
use clearday_jobs::PartnerId;

use super::merchants::NAME_LENGTH_MAX;
use super::rows::{Columns, Fault, RowsError, optional, read_rows, required, text_of, zone};
use crate::domain::contact::{ContactError, check_email, check_number, check_url};
use crate::domain::import::partners::PartnerRow;
use crate::domain::partner::{Delivery, MessageChannel, Partner, parse_channels};

/// The columns; a CSV must have the first three.
pub const COLUMNS: Columns<8> = Columns {
    names: [
        "partner_id",
        "name",
        "channels",
        "zone",
        "delivery",
        "sms_number",
        "email",
        "webhook_url",
    ],
    required: 3,
};

/// Reads all rows, in the order of the file.
pub fn read_partners(input: impl BufRead) -> Result<Vec<PartnerRow>, RowsError> {
    let mut rows = Vec::new();
    read_rows(input, &COLUMNS, partner, |line, partner| {
        rows.push(PartnerRow { line, partner });
    })?;
    Ok(rows)
}

fn partner(texts: &[&str; COLUMNS.names.len()]) -> Result<Partner, Fault> {
    let [
        partner_id,
        name,
        channels,
        zone_name,
        delivery,
        sms_number,
        email,
        webhook_url,
    ] = *texts;
    let zone = match zone_name {
        "" => Tz::Asia__Shanghai,
        told => zone("zone", told)?,
    };
    let partner = Partner {
        partner_id: required::<PartnerId>("partner_id", partner_id)?,
        name: text_of("name", name, NAME_LENGTH_MAX)?,
        zone,
        delivery: optional("delivery", delivery)?.unwrap_or(Delivery::Fallback),
        channels: channels_of(channels)?,
        sms_number: address("sms_number", sms_number, check_number)?,
        email: address("email", email, check_email)?,
        webhook_url: address("webhook_url", webhook_url, check_url)?,
        // Only we know; the import keeps what is known.
        is_disabled: false,
    };
    check_addresses(&partner)?;
    Ok(partner)
}

fn channels_of(text: &str) -> Result<Vec<MessageChannel>, Fault> {
    if text.is_empty() {
        return Err(Fault::new("channels", "is empty"));
    }
    parse_channels(text).map_err(|reason| Fault::new("channels", reason))
}

fn address(
    column: &str,
    text: &str,
    check: fn(&str) -> Result<(), ContactError>,
) -> Result<Option<String>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    check(text).map_err(|reason| Fault::new(column, reason))?;
    Ok(Some(text.to_owned()))
}

fn check_addresses(partner: &Partner) -> Result<(), Fault> {
    for channel in &partner.channels {
        if partner.address(*channel).is_none() {
            let column = match channel {
                MessageChannel::Sms => "sms_number",
                MessageChannel::Email => "email",
                MessageChannel::Webhook => "webhook_url",
            };
            let reason = format!("is empty, but the channels name {channel}");
            return Err(Fault::new(column, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// In the order that people write them, which is not the one above.
    const HEADER: &str = "partner_id,name,zone,delivery,channels,sms_number,email,webhook_url";
    const ROW: &str = "P1,Partner,UTC,all,webhook;sms;email,+8613800000000,pay@example.com,https://example.com/hook";

    fn columns() -> Vec<&'static str> {
        HEADER.split(',').collect()
    }

    fn with(column: &str, value: &str) -> String {
        let place = columns().iter().position(|name| *name == column).unwrap();
        let mut values: Vec<String> = ROW.split(',').map(str::to_owned).collect();
        values[place] = format!("\"{}\"", value.replace('"', "\"\""));
        format!("{HEADER}\n{ROW}\n{}\n", values.join(","))
    }

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<PartnerRow>, RowsError> {
        read_partners(text.as_ref())
    }

    fn refusal(column: &str, value: &str) -> String {
        let said = read(with(column, value)).unwrap_err().to_string();
        let reason = said.strip_prefix(&format!("line 3, column {column}: "));
        reason.unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    #[test]
    fn every_value_is_read_from_csv_and_from_json_lines() {
        let expected = Partner {
            partner_id: "P1".parse().unwrap(),
            name: "Partner".to_owned(),
            zone: Tz::UTC,
            delivery: Delivery::All,
            channels: vec![
                MessageChannel::Webhook,
                MessageChannel::Sms,
                MessageChannel::Email,
            ],
            sms_number: Some("+8613800000000".to_owned()),
            email: Some("pay@example.com".to_owned()),
            webhook_url: Some("https://example.com/hook".to_owned()),
            is_disabled: false,
        };
        let from_csv = read(format!("{HEADER}\n{ROW}\n")).unwrap();
        assert_eq!(from_csv[0].partner, expected);
        let members: Vec<String> = columns()
            .iter()
            .zip(ROW.split(','))
            .map(|(name, value)| format!("\"{name}\":\"{value}\""))
            .collect();
        let from_json = read(format!("{{{}}}\n", members.join(","))).unwrap();
        assert_eq!(from_json[0].partner, expected);
    }

    #[test]
    fn what_is_not_told_has_a_default() {
        let csv = "partner_id,name,channels,sms_number\nP1,Partner,sms,+8613800000000\n";
        let rows = read(csv).unwrap();
        let partner = &rows[0].partner;
        assert_eq!(partner.zone, Tz::Asia__Shanghai);
        assert_eq!(partner.delivery, Delivery::Fallback);
        assert_eq!((&partner.email, &partner.webhook_url), (&None, &None));
    }

    #[test]
    fn every_column_that_must_be_there_is_missed() {
        for required in &COLUMNS.names[..COLUMNS.required] {
            assert_eq!(refusal(required, ""), "is empty");
            let others: Vec<&str> = columns().into_iter().filter(|it| it != required).collect();
            assert_eq!(
                read(others.join(",")).unwrap_err().to_string(),
                format!("line 1, column {required}: is missing in the header")
            );
        }
        for (column, channel) in [
            ("sms_number", "sms"),
            ("email", "email"),
            ("webhook_url", "webhook"),
        ] {
            assert_eq!(
                refusal(column, ""),
                format!("is empty, but the channels name {channel}")
            );
            let alone = with(column, "").replace("webhook;sms;email", "CHANNELS");
            let others: Vec<&str> = ["webhook", "sms", "email"]
                .into_iter()
                .filter(|it| *it != channel)
                .collect();
            assert!(read(alone.replace("CHANNELS", &others.join(";"))).is_ok());
        }
        for optional in ["zone", "delivery"] {
            assert!(read(with(optional, "")).is_ok(), "{optional}");
        }
    }

    #[test]
    fn every_column_refuses_what_it_cannot_be() {
        let is_zone = "is no IANA time zone, such as Asia/Shanghai or UTC";
        let is_number = "is no number of E.164, like +8613800000000";
        let is_email = "is no e-mail address, like pay@example.com";
        let is_url = "is no http or https URL of at most 2048 printable ASCII characters, like \
                      https://example.com/hook";
        let is_channels =
            "one of its parts is not one of sms, email, webhook; between them stands `;`";
        let long = |length| "x".repeat(length);
        #[rustfmt::skip]
        let table: Vec<(&str, String, &str)> = vec![
            ("partner_id", long(65), "a partner id has 1 to 64 characters, not 65"),
            ("partner_id", "P 1".into(), "a partner id is printable ASCII without spaces; character 2 is not"),
            ("name", long(129), "has 129 characters; at most 128 are kept"),
            ("name", "Part\tner".into(), "holds a control character"),
            ("name", "Partner\u{3000}".into(), "begins or ends with a blank"),
            ("channels", "fax".into(), is_channels),
            ("channels", "sms,email".into(), is_channels),
            ("channels", "sms;".into(), is_channels),
            ("channels", "sms;email;sms".into(), "sms is there twice"),
            ("zone", "Asia/Beijing".into(), is_zone),
            ("zone", long(100), is_zone),
            ("delivery", "both".into(), "is not one of all, fallback"),
            ("sms_number", "13800000000".into(), is_number),
            ("sms_number", "+86 138 0000 0000".into(), is_number),
            ("sms_number", "+8613800000000000".into(), is_number),
            ("email", "pay".into(), is_email),
            ("email", "pay@example.com, more@example.com".into(), is_email),
            ("email", format!("{}@example.com", long(250)), is_email),
            ("webhook_url", "ftp://example.com/hook".into(), is_url),
            ("webhook_url", "example.com/hook".into(), is_url),
            ("webhook_url", "https://".into(), is_url),
            ("webhook_url", format!("https://example.com/{}", long(2_048)), is_url),
            ("webhook_url", "https://user:secret@example.com/hook".into(), "carries a user or a password"),
        ];
        for (column, value, expected) in &table {
            assert_eq!(refusal(column, value), *expected, "{column}: {value:?}");
        }
        let covered: BTreeSet<&str> = table.iter().map(|(column, ..)| *column).collect();
        assert_eq!(covered, COLUMNS.names.into());
    }

    #[test]
    fn an_address_without_its_channel_is_kept() {
        let rows = read(with("channels", "sms")).unwrap();
        let partner = &rows[1].partner;
        assert_eq!(partner.channels, [MessageChannel::Sms]);
        assert_eq!(partner.email.as_deref(), Some("pay@example.com"));
    }
}
