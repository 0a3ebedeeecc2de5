//! Values that settings are made of, and how each is read.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::connectors::messages::Network;

/// A text that no log and no error may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who must use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = text(from)?;
        Ok(Self(text))
    }
}

/// The SHA-256 of a bearer token: the token itself is nowhere in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenSha256(pub [u8; 32]);

impl<'de> Deserialize<'de> for TokenSha256 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // What was written is not repeated: it may be the token.
        let refusal = "must be the SHA-256 of the token, 64 hexadecimal digits: \
                       printf %s TOKEN | sha256sum";
        let text = String::deserialize(from).map_err(|_| D::Error::custom(refusal))?;
        bytes_of_hex(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(refusal))
    }
}

fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let nibbles: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect::<Option<_>>()?;
    let (pairs, []) = nibbles.as_chunks::<2>() else {
        return None;
    };
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}

/// A number without a fraction, as small as a `u32`.
struct WholeNumber;

impl Visitor<'_> for WholeNumber {
    type Value = u32;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
        u32::try_from(number)
            .map_err(|_| E::custom(format!("must be a whole number up to {}", u32::MAX)))
    }
}

/// Reads a whole number.
pub(super) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    from.deserialize_u32(WholeNumber)
}

/// Reads a whole number that may be left out.
pub(super) fn some_whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    whole(from).map(Some)
}

/// Reads a number of seconds.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    whole(from).map(|seconds| Duration::from_secs(seconds.into()))
}

/// Reads a text that is not empty.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Err(D::Error::custom(
            "is empty; leave it out, or give it a value",
        ));
    }
    Ok(text)
}

/// Reads a text that may be left out, but is not empty.
pub(super) fn some_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    text(from).map(Some)
}

/// Reads a time of day.
pub(super) fn time_of_day<'de, D: Deserializer<'de>>(from: D) -> Result<NaiveTime, D::Error> {
    let text = String::deserialize(from)?;
    NaiveTime::parse_from_str(&text, "%H:%M").map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not a time of day; write hours and minutes, like \"17:00\""
        ))
    })
}

/// Reads an address with its port.
pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "must be an address and a port, like 127.0.0.1:8080, not {text:?}"
        ))
    })
}

/// A list of networks, or a text that has commas between them, as a variable must.
struct NetworkList;

impl<'de> Visitor<'de> for NetworkList {
    type Value = Vec<Network>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of networks, like [\"10.0.0.0/8\"]")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<Network>, E> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names.map(|name| name.parse().map_err(E::custom)).collect()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Network>, A::Error> {
        let mut networks = Vec::new();
        while let Some(name) = items.next_element::<String>()? {
            networks.push(name.parse().map_err(A::Error::custom)?);
        }
        Ok(networks)
    }
}

/// Reads a list of networks.
pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
    from.deserialize_any(NetworkList)
}

/// Reads a time zone.
pub(super) fn zone<'de, D: Deserializer<'de>>(from: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(from)?;
    name.parse().map_err(|_| {
        D::Error::custom(format!(
            "{name:?} is not a time zone of the IANA data, like \"Asia/Shanghai\""
        ))
    })
}

/// Reads an instant that may be left out.
pub(super) fn instant<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = String::deserialize(from)?;
    let instant = DateTime::parse_from_rfc3339(&text).map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\""
        ))
    })?;
    Ok(Some(instant.to_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("postgres://user:word@host/db");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_digest_is_read_in_either_case_and_at_one_length() {
        let digest = "00ff".repeat(16);
        let expected = [0x00, 0xff].repeat(16);
        assert_eq!(bytes_of_hex(&digest).unwrap().to_vec(), expected);
        assert_eq!(bytes_of_hex(&digest.to_uppercase()), bytes_of_hex(&digest));
        for wrong in ["", "0", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert_eq!(bytes_of_hex(wrong), None, "{wrong}");
        }
    }
}
