//! Stream entries as they come off the wire, byte for byte.
//!
//! Read by hand from the reply, because a field that is not UTF-8 must cost its own entry and not
//! the whole batch.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a reply of another shape than Redis documents holds no entries, whatever its type"
)]

use clearday_jobs::PAYLOAD_BYTES_MAX;
use redis::Value;

use crate::engine::{Source, Submission};

/// An entry that is refused is kept up to this size.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// One entry of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The stream's name.
    pub(super) stream: String,
    /// The entry's id.
    pub(super) id: String,
    /// Names and values, in order.
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Bytes of its names and values.
    pub(super) fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        fields
            .map(|(name, value)| name.len().saturating_add(value.len()))
            .sum()
    }
}

/// The entries of an `XREADGROUP` reply; none when the wait was over.
pub(super) fn from_read(reply: &Value) -> Vec<Entry> {
    let Value::Array(streams) = reply else {
        return Vec::new();
    };
    streams
        .iter()
        .filter_map(|stream| match stream {
            Value::Array(pair) => match pair.as_slice() {
                [name, entries] => Some(from_entries(&text(name)?, entries)),
                _ => None,
            },
            _ => None,
        })
        .flatten()
        .collect()
}

/// The entries of an `XAUTOCLAIM` reply: `[next, entries, deleted]`.
pub(super) fn from_claim(stream: &str, reply: &Value) -> Vec<Entry> {
    match reply {
        Value::Array(parts) => parts
            .get(1)
            .map(|entries| from_entries(stream, entries))
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn from_entries(stream: &str, entries: &Value) -> Vec<Entry> {
    let Value::Array(entries) = entries else {
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|entry| match entry {
            Value::Array(pair) => match pair.as_slice() {
                [id, fields] => Some(Entry {
                    stream: stream.to_owned(),
                    id: text(id)?,
                    fields: pairs(fields),
                }),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

fn pairs(fields: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Value::Array(fields) = fields else {
        return Vec::new();
    };
    fields
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [Value::BulkString(name), Value::BulkString(value)] => {
                Some((name.clone(), value.clone()))
            }
            _ => None,
        })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// The submission in an entry: fields `payload` and `idempotency_key`, once each and no others.
pub(super) fn submission(kind: clearday_jobs::JobKind, entry: &Entry) -> Submission {
    let mut payload = None;
    let mut key = None;
    let mut fault = None;
    for (name, value) in &entry.fields {
        let slot = match name.as_slice() {
            b"payload" => &mut payload,
            b"idempotency_key" => &mut key,
            other => {
                let name = String::from_utf8_lossy(other);
                fault.get_or_insert(format!(
                    "the entry has a field `{name}`: it may have `payload` and `idempotency_key` only"
                ));
                continue;
            }
        };
        if slot.replace(value.clone()).is_some() {
            let name = String::from_utf8_lossy(name);
            fault.get_or_insert(format!("the entry has its field `{name}` twice"));
        }
    }
    let sizes = [&payload, &key].into_iter().flatten().map(Vec::len);
    if let Some(bytes) = sizes.max().filter(|bytes| *bytes > PAYLOAD_BYTES_MAX) {
        fault.get_or_insert(format!(
            "the entry has a field of {bytes} bytes: at most {PAYLOAD_BYTES_MAX} are taken in"
        ));
    }
    if payload.is_none() {
        fault.get_or_insert("the entry has no field `payload`".to_owned());
    }
    let key = key.filter(|key| key.len() <= PAYLOAD_BYTES_MAX);
    let key = key.map(String::from_utf8).transpose().unwrap_or_else(|_| {
        fault.get_or_insert("the field `idempotency_key` is not UTF-8".to_owned());
        None
    });
    Submission {
        kind: kind.to_string(),
        idempotency_key: key,
        payload: match (&fault, payload) {
            (None, Some(payload)) => payload,
            // What is refused is kept whole, within reason.
            (_, _) => whole(entry),
        },
        source: Source::Redis {
            stream: entry.stream.clone(),
            entry_id: entry.id.clone(),
        },
        fault,
    }
}

/// Every field as `name=value`, a line each, cut where no database call could carry more.
fn whole(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in &entry.fields {
        for part in [name.as_slice(), b"=", value.as_slice(), b"\n"] {
            let room = KEPT_BYTES_MAX.saturating_sub(bytes.len());
            bytes.extend(part.iter().take(room));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearday_jobs::JobKind;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    type Fields<'a> = [(&'a [u8], &'a [u8])];

    fn entry(fields: &Fields<'_>) -> Entry {
        Entry {
            stream: "clearday:{order_expiry}".to_owned(),
            id: "1-0".to_owned(),
            fields: fields
                .iter()
                .map(|(n, v)| (n.to_vec(), v.to_vec()))
                .collect(),
        }
    }

    fn fault(fields: &Fields<'_>) -> Option<String> {
        submission(JobKind::OrderExpiry, &entry(fields)).fault
    }

    #[test]
    fn a_reply_is_read_entry_by_entry() {
        let fields = Value::Array(vec![
            bulk("payload"),
            bulk("{}"),
            bulk("idempotency_key"),
            bulk("k"),
        ]);
        let one = Value::Array(vec![bulk("1-0"), fields]);
        let stream = Value::Array(vec![
            bulk("clearday:{order_expiry}"),
            Value::Array(vec![one]),
        ]);
        let read = from_read(&Value::Array(vec![stream]));
        assert_eq!(
            read,
            [entry(&[(b"payload", b"{}"), (b"idempotency_key", b"k")])]
        );
        assert_eq!(from_read(&Value::Nil), []);
    }

    #[test]
    fn an_envelope_that_is_not_as_agreed_names_its_fault() {
        assert_eq!(
            fault(&[(b"payload", b"{}"), (b"idempotency_key", b"k")]),
            None
        );
        let cases: [(&Fields<'_>, &str); 4] = [
            (
                &[(b"idempotency_key", b"k")],
                "the entry has no field `payload`",
            ),
            (
                &[(b"payload", b"{}"), (b"payload", b"{}")],
                "the entry has its field `payload` twice",
            ),
            (
                &[(b"payload", b"{}"), (b"key", b"k")],
                "the entry has a field `key`: it may have `payload` and `idempotency_key` only",
            ),
            (
                &[(b"payload", b"{}"), (b"idempotency_key", b"\xFF")],
                "the field `idempotency_key` is not UTF-8",
            ),
        ];
        for (fields, words) in cases {
            assert_eq!(fault(fields).as_deref(), Some(words));
        }
    }
}
