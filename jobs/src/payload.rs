//! Payloads as they arrive: text that becomes one of five types, or is refused with the name of the field.
//!
//! Reading is strict, because a payload that is misread moves money: unknown and duplicate fields, other versions and
//! values out of bounds are refused, and nothing is guessed.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    DeferredAuthorization, JobKind, OrderExpiry, PartnerNotification, Reconciliation,
    SettlementRun, Version,
};

/// The largest payload, in bytes: ten times an order with twenty methods, and a batch of a thousand fits into memory.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// Room for every honest message. The name of an unknown field is repeated in one, but not at any length.
const MESSAGE_LENGTH_MAX: usize = 500;

/// What every kind of job says about its payload.
pub trait JobPayload: Serialize + DeserializeOwned + JsonSchema {
    /// The kind of job that the payload asks for.
    const KIND: JobKind;

    /// A valid payload, as a user would write it.
    const EXAMPLE: &'static str;

    /// Checks what the types of the fields cannot: bounds, and fields that must agree.
    fn validate(&self) -> Result<(), FieldError> {
        Ok(())
    }

    /// Whose work this is, so that one merchant, partner or channel does not hold up the others.
    fn partition(&self) -> Option<String> {
        None
    }

    /// The earliest instant at which the job may run; none: at once.
    fn run_at(&self) -> Option<DateTime<Utc>> {
        None
    }

    /// Reads and validates a payload.
    fn parse(text: &str) -> Result<Self, PayloadError> {
        refuse_unreadable(text)?;
        // From the text and not from a tree, because a tree would keep the last of two equal keys in silence.
        let payload: Self = read(&mut serde_json::Deserializer::from_str(text))?;
        payload.validate()?;
        Ok(payload)
    }
}

/// A payload of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Payload {
    /// See [`DeferredAuthorization`].
    DeferredAuthorization(DeferredAuthorization),
    /// See [`OrderExpiry`].
    OrderExpiry(OrderExpiry),
    /// See [`SettlementRun`].
    SettlementRun(SettlementRun),
    /// See [`PartnerNotification`].
    PartnerNotification(PartnerNotification),
    /// See [`Reconciliation`].
    Reconciliation(Reconciliation),
}

/// The same expression over whichever payload it is.
macro_rules! each {
    ($payload:expr, $job:ident => $result:expr) => {
        match $payload {
            Payload::DeferredAuthorization($job) => $result,
            Payload::OrderExpiry($job) => $result,
            Payload::SettlementRun($job) => $result,
            Payload::PartnerNotification($job) => $result,
            Payload::Reconciliation($job) => $result,
        }
    };
}

impl Payload {
    /// Reads and validates the payload of a job of this kind.
    pub fn parse(kind: JobKind, text: &str) -> Result<Self, PayloadError> {
        Ok(match kind {
            JobKind::DeferredAuthorization => Self::DeferredAuthorization(JobPayload::parse(text)?),
            JobKind::OrderExpiry => Self::OrderExpiry(JobPayload::parse(text)?),
            JobKind::SettlementRun => Self::SettlementRun(JobPayload::parse(text)?),
            JobKind::PartnerNotification => Self::PartnerNotification(JobPayload::parse(text)?),
            JobKind::Reconciliation => Self::Reconciliation(JobPayload::parse(text)?),
        })
    }

    /// The kind of job that the payload asks for.
    pub fn kind(&self) -> JobKind {
        fn kind<P: JobPayload>(_: &P) -> JobKind {
            P::KIND
        }
        each!(self, job => kind(job))
    }

    /// Whose work this is; see [`JobPayload::partition`].
    pub fn partition(&self) -> Option<String> {
        each!(self, job => job.partition())
    }

    /// The earliest instant at which the job may run; see [`JobPayload::run_at`].
    pub fn run_at(&self) -> Option<DateTime<Utc>> {
        each!(self, job => job.run_at())
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The path to the field, like `methods[1].token`; `payload` when it is the whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl FieldError {
    /// A problem with the field at this path.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: printable(&field.into()),
            problem: printable(&problem.into()),
        }
    }
}

/// Why a payload was refused; the same text is refused again.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The text is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("the payload has {0} bytes; at most {PAYLOAD_BYTES_MAX} are read")]
    TooLarge(usize),
    /// The text is not JSON; the message says where it stops to be.
    #[error("the payload is not JSON: {0}")]
    NotJson(String),
    /// The text is JSON, but another value than an object.
    #[error("the payload is not a JSON object")]
    NotAnObject,
    /// A field is missing, unknown or refused.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// The text by which two payloads are compared: keys sorted at every level, no space between tokens.
///
/// Written after RFC 8785, save that numbers are written as they were read: 1 and 1.0 differ, and no integer is
/// rounded to a double.
pub fn canonical_json(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    sorted.to_string()
}

/// Refuses what cannot be read as a payload of any kind, so that the message is about that and not about a field.
fn refuse_unreadable(text: &str) -> Result<(), PayloadError> {
    /// What a payload of every version has; its other fields may be anything.
    #[derive(Deserialize)]
    struct Head {
        #[expect(dead_code, reason = "reading it is the check")]
        version: Version,
    }

    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(PayloadError::TooLarge(text.len()));
    }
    let value: Value =
        serde_json::from_str(text).map_err(|error| PayloadError::NotJson(error.to_string()))?;
    if !value.is_object() {
        return Err(PayloadError::NotAnObject);
    }
    refuse_nul(&value, "")?;
    let _: Head = read(&value)?;
    Ok(())
}

/// Refuses the NUL character, because Postgres cannot hold it in a text; not even in the message of a refusal.
fn refuse_nul(value: &Value, path: &str) -> Result<(), FieldError> {
    let refuse_in = |text: &str, field: &str| {
        if text.contains('\0') {
            return Err(FieldError::new(field, "holds the NUL character \\u0000"));
        }
        Ok(())
    };
    match value {
        Value::String(text) => refuse_in(text, path),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| refuse_nul(item, &format!("{path}[{index}]"))),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            let separator = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{separator}{name}");
            refuse_in(name, &path)?;
            refuse_nul(field, &path)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn read<'de, T, D>(from: D) -> Result<T, FieldError>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    serde_path_to_error::deserialize(from).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "payload" } else { &path };
        FieldError::new(field, problem_of(error.inner()))
    })
}

/// What serde says, without the position: the path to the field says it better.
fn problem_of(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message
        .strip_suffix(&position)
        .unwrap_or(&message)
        .to_owned()
}

/// A message as it can be kept and shown: bounded, and on one line whatever upstream sent.
fn printable(message: &str) -> String {
    let visible = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    message
        .chars()
        .take(MESSAGE_LENGTH_MAX)
        .map(visible)
        .collect()
}

/// The places of the first two equal items. Quadratic, for the short lists that payloads hold.
pub(crate) fn first_duplicate<T: PartialEq>(items: &[T]) -> Option<(usize, usize)> {
    items.iter().enumerate().find_map(|(second, item)| {
        let first = items.iter().position(|other| other == item)?;
        (first < second).then_some((first, second))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::example_for;

    fn refusal(kind: JobKind, text: &str) -> String {
        Payload::parse(kind, text).unwrap_err().to_string()
    }

    /// The refusal of the kind's example after one change.
    fn refusal_of(kind: JobKind, find: &str, replace: &str) -> String {
        let example = example_for(kind);
        assert!(example.contains(find), "{find} is not in the example");
        refusal(kind, &example.replacen(find, replace, 1))
    }

    #[test]
    fn every_example_is_valid_and_survives_being_written() {
        for kind in JobKind::ALL {
            let payload = Payload::parse(kind, example_for(kind)).unwrap();
            assert_eq!(payload.kind(), kind);
            let written = serde_json::to_string(&payload).unwrap();
            assert_eq!(Payload::parse(kind, &written).unwrap(), payload);
        }
    }

    #[test]
    fn every_kind_says_whose_work_it_is() {
        let partitions = JobKind::ALL.map(|kind| {
            let payload = Payload::parse(kind, example_for(kind)).unwrap();
            assert_eq!(payload.run_at().is_some(), kind == JobKind::OrderExpiry);
            payload.partition()
        });
        let expected = [
            Some("M-1001"),
            Some("M-1001"),
            Some("M-1001"),
            Some("P-2001"),
            Some("wechat_pay"),
        ];
        assert_eq!(partitions.each_ref().map(Option::as_deref), expected);
    }

    #[test]
    fn an_example_of_another_kind_is_refused() {
        for kind in JobKind::ALL {
            for other in JobKind::ALL.into_iter().filter(|other| *other != kind) {
                assert!(
                    Payload::parse(kind, example_for(other)).is_err(),
                    "{kind} {other}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused_as_such() {
        let refusal = |text: &str| refusal(JobKind::OrderExpiry, text);
        assert_eq!(refusal("[]"), "the payload is not a JSON object");
        assert_eq!(
            refusal(""),
            "the payload is not JSON: EOF while parsing a value at line 1 column 0"
        );
        assert_eq!(
            refusal("{\n  \"version\": 1,\n}"),
            "the payload is not JSON: trailing comma at line 3 column 1"
        );
        assert_eq!(
            refusal("{} {}"),
            "the payload is not JSON: trailing characters at line 1 column 4"
        );
        assert_eq!(
            refusal(&" ".repeat(PAYLOAD_BYTES_MAX + 1)),
            "the payload has 262145 bytes; at most 262144 are read"
        );
        assert!(refusal(&"[".repeat(PAYLOAD_BYTES_MAX)).contains("recursion limit exceeded"));
    }

    #[test]
    fn a_bad_payload_is_refused_with_the_name_of_the_field() {
        use JobKind::{DeferredAuthorization, OrderExpiry, PartnerNotification, SettlementRun};
        #[rustfmt::skip]
        let table = [
            (OrderExpiry, "1,", "2, \"later\": 1,", "version: version 2 is not supported; this release reads version 1"),
            (OrderExpiry, "1,", "\"1\",", "version: invalid type: string \"1\", expected u64"),
            (OrderExpiry, "\"version\": 1,", "", "payload: missing field `version`"),
            (OrderExpiry, "1,", "1, \"orderno\": 1,", "orderno: unknown field `orderno`, expected one of `version`, `order_no`, `expires_at`, `merchant_id`"),
            (OrderExpiry, "1,", "1, \"version\": 1,", "payload: duplicate field `version`"),
            (OrderExpiry, "\"order_no\": \"SO-20260301-0001\",", "", "payload: missing field `order_no`"),
            (OrderExpiry, "SO-2", "SO 2", "order_no: an order number is printable ASCII without spaces; character 3 is not"),
            (OrderExpiry, "SO-2", "\\u0000", "order_no: holds the NUL character \\u0000"),
            (OrderExpiry, "1,", "1, \"a\\u0000\": 1,", "a\u{fffd}: holds the NUL character \\u0000"),
            (OrderExpiry, "+08:00", "", "expires_at: \"2026-03-08T09:00:00\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\""),
            (SettlementRun, "2026-03-01", "2026-02-30", "through: \"2026-02-30\" is not a date; write YYYY-MM-DD, like \"2026-03-01\""),
            (SettlementRun, "CNY", "RMB", "currency: \"RMB\" is not an ISO 4217 currency code, like \"CNY\""),
            (PartnerNotification, "1,", "0,", "version: version 0 is not supported; this release reads version 1"),
            (PartnerNotification, "1,", "1, \"channel\": \"sms\",", "channel: unknown field `channel`, expected one of `version`, `order_no`, `partner_id`, `purpose`, `deadline`"),
            (PartnerNotification, "SO-2", "SO\\n2", "order_no: an order number is printable ASCII without spaces; character 3 is not"),
            (PartnerNotification, "\"P-2001\"", "\"\"", "partner_id: a partner id has 1 to 64 characters, not 0"),
            (PartnerNotification, "\"P-2001\"", "2001", "partner_id: invalid type: integer `2001`, expected a string"),
            (PartnerNotification, "\"purpose\": \"pay_request\",", "", "payload: missing field `purpose`"),
            (PartnerNotification, "\"deadline\"", "\"until\"", "until: unknown field `until`, expected one of `version`, `order_no`, `partner_id`, `purpose`, `deadline`"),
            (PartnerNotification, "+08:00", "", "deadline: \"2026-03-08T09:00:00\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\""),
            (PartnerNotification, "pay_request", "nudge", "purpose: unknown variant `nudge`, expected one of `pay_request`, `reminder`, `withdrawn`"),
            (DeferredAuthorization, "199.00", "-1.00", "order.total: -1.00 CNY is not more than zero"),
            (DeferredAuthorization, "199.00", "0", "order.total: 0.00 CNY is not more than zero"),
            (DeferredAuthorization, "199.00", "199.005", "order.total: \"199.005\" is finer than the minor unit of CNY (2 decimal places)"),
            (DeferredAuthorization, "\"199.00\"", "199.00", "order.total.amount: invalid type: floating point `199.0`, expected a string"),
            (DeferredAuthorization, "50.00", "-50.00", "methods[0].fixed_amount: -50.00 CNY is less than zero"),
            (DeferredAuthorization, "\"50.00\", \"currency\": \"CNY\"", "\"50.00\", \"currency\": \"USD\"", "methods[0].fixed_amount: is in USD, but order.total is in CNY"),
            (DeferredAuthorization, "\"199.00\", \"currency\": \"CNY\" },\n      \"card", "\"1\", \"currency\": \"JPY\" },\n      \"card", "methods[1].maximum_charge: is in JPY, but order.total is in CNY"),
            (DeferredAuthorization, "tok_card_9Xw4", "4111 1111 1111 1111", "methods[1].token: looks like a card number; send the channel's token for the card"),
            (DeferredAuthorization, "\"tok_card_9Xw4\"", "4111111111111111", "methods[1].token: a token is a string"),
            (DeferredAuthorization, "\"card\"", "\"gift-card\"", "methods[1].method_id: is also the id of methods[0]"),
            (DeferredAuthorization, "2028-09", "2028-13", "methods[1].card_expires_on: \"2028-13\" is not a month; write YYYY-MM, like \"2027-09\""),
            (DeferredAuthorization, "\"charge_sequence\": 2,", "", "methods[1]: missing field `charge_sequence`"),
            (DeferredAuthorization, "\"charge_sequence\": 2,", "\"charge_sequence\": 65536,", "methods[1].charge_sequence: invalid value: integer `65536`, expected u16"),
            (DeferredAuthorization, "tok_card_9Xw4", "\\u0000", "methods[1].token: holds the NUL character \\u0000"),
            (DeferredAuthorization, "https://", "ftp://", "callback_url: a URL starts with https:// or http:// and a host"),
        ];
        for (kind, find, replace, expected) in table {
            assert_eq!(refusal_of(kind, find, replace), expected);
        }
    }

    #[test]
    fn a_strange_field_name_does_not_make_a_strange_message() {
        let text = format!("{{\"version\":1,\"\\n{}\":1}}", "x".repeat(10_000));
        let refusal = refusal(JobKind::OrderExpiry, &text);
        assert!(refusal.starts_with('\u{fffd}'), "{refusal}");
        assert!(refusal.chars().count() <= 2 * MESSAGE_LENGTH_MAX + 2);
        assert!(!refusal.contains('\n'));
    }

    #[test]
    fn canonical_json_depends_on_what_is_said_and_not_on_how() {
        let written = r#"{ "b": [1, 1.0, {"z": null, "a": true}], "a": "\u00e9\n" }"#;
        let value: Value = serde_json::from_str(written).unwrap();
        assert_eq!(
            canonical_json(&value),
            r#"{"a":"é\n","b":[1,1.0,{"a":true,"z":null}]}"#
        );
        assert_eq!(
            canonical_json(&json!({"b": 1, "a": 2})),
            canonical_json(&json!({"a": 2, "b": 1}))
        );
    }
}
