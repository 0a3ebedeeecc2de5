//! Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, with up to two live secrets.
//!
//! An endpoint changes its secret without missing a message: while there are two, both signatures
//! are sent, the newest first, and any that matches is good.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret starts with, so that nobody takes it for another.
const SECRET_PREFIX: &str = "whsec_";
/// What the standard allows, in bytes: below is guessed, above is hashed first anyway.
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;
/// The version of the signature, in front of each.
const VERSION: &str = "v1,";
/// The standard's tolerance: an older message is a recording, a newer one has a wrong clock.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Why a file of secrets cannot be used. The secret itself is never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none, or there are too many.
    #[error("holds {0} secrets; there are one or two, a line each, the newest first")]
    Count(usize),
    /// A line does not start as a secret does.
    #[error("line {0} does not start with `{SECRET_PREFIX}`")]
    Prefix(usize),
    /// What follows is not base64.
    #[error("line {0} is not base64 after `{SECRET_PREFIX}`")]
    Encoding(usize),
    /// Too short or too long.
    #[error("line {0} has {1} bytes; a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}")]
    Length(usize, usize),
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is not a number of seconds.
    #[error("the timestamp cannot be read")]
    Timestamp,
    /// The timestamp is too far from now.
    #[error("the timestamp is more than five minutes away")]
    Tolerance,
    /// No signature matches.
    #[error("no signature matches")]
    Signature,
}

/// The live secrets of one endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeys(Vec<Vec<u8>>);

impl SigningKeys {
    /// Reads a file: one or two lines `whsec_…`, the newest first.
    pub fn parse(file: &str) -> Result<Self, SecretError> {
        let lines = file.lines().map(str::trim).zip(1_usize..);
        let keys: Vec<Vec<u8>> = lines
            .filter(|(line, _)| !line.is_empty())
            .map(|(line, number)| parse_secret(line, number))
            .collect::<Result<_, _>>()?;
        match keys.len() {
            1 | 2 => Ok(Self(keys)),
            count => Err(SecretError::Count(count)),
        }
    }

    /// The header `webhook-signature`: a signature for each key, the newest first.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signatures = self.0.iter().filter_map(|key| {
            let code = code_of(key, id, timestamp, body)?.finalize().into_bytes();
            Some(format!("{VERSION}{}", STANDARD.encode(code)))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// Checks what a receiver was sent: the three headers and the bytes of the body.
    pub fn verify(
        &self,
        (id, timestamp, signatures): (&str, &str, &str),
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), VerifyError> {
        let seconds: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
        let told = DateTime::from_timestamp(seconds, 0).ok_or(VerifyError::Timestamp)?;
        if now.signed_duration_since(told).abs() > TOLERANCE {
            return Err(VerifyError::Tolerance);
        }
        let matches = |code: &[u8]| {
            let mut codes = self
                .0
                .iter()
                .filter_map(|key| code_of(key, id, seconds, body));
            codes.any(|expected| expected.verify_slice(code).is_ok())
        };
        let mut given = signatures.split(' ').filter_map(|signature| {
            let encoded = signature.strip_prefix(VERSION)?;
            STANDARD.decode(encoded).ok()
        });
        if given.any(|code| matches(&code)) {
            Ok(())
        } else {
            Err(VerifyError::Signature)
        }
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKeys({} …)", self.0.len())
    }
}

fn parse_secret(line: &str, number: usize) -> Result<Vec<u8>, SecretError> {
    let encoded = line
        .strip_prefix(SECRET_PREFIX)
        .ok_or(SecretError::Prefix(number))?;
    let key = STANDARD
        .decode(encoded)
        .map_err(|_| SecretError::Encoding(number))?;
    if (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&key.len()) {
        Ok(key)
    } else {
        Err(SecretError::Length(number, key.len()))
    }
}

/// HMAC takes keys of any length, so there always is one.
fn code_of(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).ok()?;
    code.update(format!("{id}.{timestamp}.").as_bytes());
    code.update(body);
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    const OLD: &str = "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v";

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn verify(keys: &SigningKeys, signatures: &str, now: DateTime<Utc>) -> Result<(), VerifyError> {
        let timestamp = noon().timestamp().to_string();
        keys.verify(("msg_1", &timestamp, signatures), b"{}", now)
    }

    #[test]
    fn two_live_keys_sign_both_the_newest_first_and_either_verifies() {
        let both = SigningKeys::parse(&format!("{NEW}\n{OLD}\n")).unwrap();
        let signed = both.sign("msg_1", noon().timestamp(), b"{}");
        let each: Vec<&str> = signed.split(' ').collect();
        assert_eq!(each.len(), 2);
        for (secret, signature) in [(NEW, each[0]), (OLD, each[1])] {
            let alone = SigningKeys::parse(secret).unwrap();
            assert_eq!(alone.sign("msg_1", noon().timestamp(), b"{}"), signature);
            assert_eq!(verify(&alone, &signed, noon()), Ok(()));
        }
    }

    #[test]
    fn another_body_id_or_time_does_not_match() {
        let keys = SigningKeys::parse(NEW).unwrap();
        let stamp = noon().timestamp();
        for (id, timestamp, body) in [
            ("msg_2", stamp, "{}"),
            ("msg_1", stamp + 1, "{}"),
            ("msg_1", stamp, "{ }"),
        ] {
            let signed = keys.sign(id, timestamp, body.as_bytes());
            assert_eq!(verify(&keys, &signed, noon()), Err(VerifyError::Signature));
        }
        for signatures in ["", "v1,", "v1", "v1,AAAA", "v2,AAAA"] {
            assert_eq!(
                verify(&keys, signatures, noon()),
                Err(VerifyError::Signature)
            );
        }
    }

    #[test]
    fn a_message_is_believed_for_five_minutes_either_way() {
        let keys = SigningKeys::parse(NEW).unwrap();
        let signed = keys.sign("msg_1", noon().timestamp(), b"{}");
        for sign in [1, -1] {
            assert_eq!(verify(&keys, &signed, noon() + TOLERANCE * sign), Ok(()));
            let beyond = noon() + (TOLERANCE + TimeDelta::seconds(1)) * sign;
            assert_eq!(verify(&keys, &signed, beyond), Err(VerifyError::Tolerance));
        }
        let unread = keys.verify(("msg_1", "noon", &signed), b"{}", noon());
        assert_eq!(unread, Err(VerifyError::Timestamp));
    }

    #[test]
    fn a_file_of_secrets_is_refused_by_line_and_never_repeated() {
        let table = [
            (
                "",
                "holds 0 secrets; there are one or two, a line each, the newest first",
            ),
            ("sesame", "line 1 does not start with `whsec_`"),
            ("whsec_!", "line 1 is not base64 after `whsec_`"),
            ("whsec_AAAA", "line 1 has 3 bytes; a secret has 24 to 64"),
        ];
        for (file, expected) in table {
            assert_eq!(SigningKeys::parse(file).unwrap_err().to_string(), expected);
        }
        let second = SigningKeys::parse(&format!("{NEW}\n\nsesame")).unwrap_err();
        assert_eq!(second, SecretError::Prefix(3));
        let three = SigningKeys::parse(&format!("{NEW}\n{OLD}\n{NEW}")).unwrap_err();
        assert_eq!(three, SecretError::Count(3));
        let keys = SigningKeys::parse(NEW).unwrap();
        assert_eq!(format!("{keys:?}"), "SigningKeys(1 …)");
    }
}
