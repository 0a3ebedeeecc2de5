//! Who may call: people with a role and a bearer token, of which only the hash is kept.
//!
//! Where nobody is configured, the daemon listens on loopback only and whoever is on the machine
//! is its admin; [`check_listen`] refuses any other address.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What a person may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Submits, retries and cancels jobs.
    Operator,
    /// Approves what another person asked for.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The SHA-256 of a token. Fast on purpose: a token is drawn at random (128 bits and more), so
/// there is nothing to guess that slowness would protect.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenHash([u8; 32]);

/// A text that is no SHA-256.
#[derive(Debug, thiserror::Error)]
#[error(
    "a token_sha256 has 64 hexadecimal digits: printf %s \"$TOKEN\" | sha256sum prints the one of a token"
)]
pub struct BadTokenHash;

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl FromStr for TokenHash {
    type Err = BadTokenHash;

    fn from_str(hex: &str) -> Result<Self, BadTokenHash> {
        let bytes = bytes_of_hex(hex).ok_or(BadTokenHash)?;
        bytes.try_into().map(Self).map_err(|_| BadTokenHash)
    }
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn bytes_of_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| u8::try_from(c.to_digit(16)?).ok())
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

impl TryFrom<String> for TokenHash {
    type Error = BadTokenHash;

    fn try_from(hex: String) -> Result<Self, BadTokenHash> {
        hex.parse()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// One entry of `[[people]]`. The same name twice is one person with two tokens, as while a token
/// is exchanged for the next.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name in histories.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Of their token.
    pub token_sha256: TokenHash,
    /// From this instant on the token is refused.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Why `[[people]]` was refused.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// A name that cannot stand in a history.
    #[error("people: the name {0:?} must have 1 to 100 characters and no control character")]
    Name(String),
    /// Two entries of a person disagree.
    #[error("people: {0} has two roles")]
    TwoRoles(String),
    /// Two entries with one token: nobody could tell who did what.
    #[error("people: {0} and {1} have the same token")]
    SharedToken(String, String),
    /// The hash of no token at all.
    #[error("people: the token of {0} is empty")]
    EmptyToken(String),
}

/// Everybody who may call; empty means that whoever is on this machine may.
#[derive(Clone, Debug, Default)]
pub struct People(Arc<[Person]>);

/// Why a token was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    Unknown,
    ExpiredAt(DateTime<Utc>),
}

/// Longest name, in characters.
const NAME_LENGTH_MAX: usize = 100;

impl People {
    /// Checks the entries against each other.
    pub fn new(people: Vec<Person>) -> Result<Self, PeopleError> {
        for (index, person) in people.iter().enumerate() {
            let name = &person.name;
            if name.trim().is_empty()
                || name.chars().count() > NAME_LENGTH_MAX
                || name.chars().any(char::is_control)
            {
                return Err(PeopleError::Name(name.clone()));
            }
            if person.token_sha256 == TokenHash::of("") {
                return Err(PeopleError::EmptyToken(name.clone()));
            }
            for other in people.iter().take(index) {
                if other.token_sha256 == person.token_sha256 {
                    return Err(PeopleError::SharedToken(other.name.clone(), name.clone()));
                }
                if other.name == *name && other.role != person.role {
                    return Err(PeopleError::TwoRoles(name.clone()));
                }
            }
        }
        Ok(Self(people.into()))
    }

    /// Whether nobody is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token it is. Every hash is compared, each in constant time, so that the time taken
    /// says nothing.
    pub(super) fn who(&self, token: &str, now: DateTime<Utc>) -> Result<&Person, TokenRefusal> {
        let TokenHash(presented) = TokenHash::of(token);
        let mut found = None;
        for person in self.0.iter() {
            if bool::from(presented.ct_eq(&person.token_sha256.0)) {
                found = Some(person);
            }
        }
        let person = found.ok_or(TokenRefusal::Unknown)?;
        match person.expires_at {
            Some(expires_at) if now >= expires_at => Err(TokenRefusal::ExpiredAt(expires_at)),
            Some(_) | None => Ok(person),
        }
    }
}

/// Who makes this request; put there by the guard, so a handler that asks for it cannot run
/// without one.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) role: Role,
}

impl Caller {
    /// Whoever is on this machine, where nobody is configured.
    pub(super) fn local() -> Self {
        Self {
            name: "local".to_owned(),
            role: Role::Admin,
        }
    }
}

/// An address that may not be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "refused to listen on {0}: nobody is configured, so only this machine may connect; listen on 127.0.0.1, or add [[people]] with a token"
)]
pub struct ListenError(SocketAddr);

/// Refuses to be reachable from outside while everybody is admin.
///
/// # Errors
/// [`ListenError`], which says both ways out.
pub fn check_listen(address: SocketAddr, people: &People) -> Result<(), ListenError> {
    if people.is_empty() && !address.ip().is_loopback() {
        return Err(ListenError(address));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, role: Role, token: &str) -> Person {
        Person {
            name: name.to_owned(),
            role,
            token_sha256: TokenHash::of(token),
            expires_at: None,
        }
    }

    #[test]
    fn a_token_hash_is_read_from_what_sha256sum_prints() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(hex.parse::<TokenHash>().unwrap(), TokenHash::of("test"));
        assert_eq!(
            hex.to_uppercase().parse::<TokenHash>().unwrap(),
            TokenHash::of("test")
        );
        for bad in [
            "",
            "9f",
            &hex[1..],
            &format!("{hex}00"),
            &hex.replace('9', "g"),
        ] {
            assert!(bad.parse::<TokenHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_refused_from_the_instant_it_expires() {
        let now: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().unwrap();
        let mut ann = person("ann", Role::Viewer, "a");
        ann.expires_at = Some(now);
        let people = People::new(vec![ann]).unwrap();
        let before = now - chrono::TimeDelta::microseconds(1);
        assert_eq!(people.who("a", before).unwrap().name, "ann");
        assert_eq!(
            people.who("a", now).unwrap_err(),
            TokenRefusal::ExpiredAt(now)
        );
        assert_eq!(people.who("b", before).unwrap_err(), TokenRefusal::Unknown);
    }

    #[test]
    fn entries_that_blur_who_did_what_are_refused() {
        let refusal = |people| People::new(people).unwrap_err().to_string();
        let ann = || person("ann", Role::Viewer, "a");
        assert_eq!(
            refusal(vec![ann(), person("bob", Role::Viewer, "a")]),
            "people: ann and bob have the same token"
        );
        assert_eq!(
            refusal(vec![ann(), person("ann", Role::Admin, "b")]),
            "people: ann has two roles"
        );
        assert_eq!(
            refusal(vec![person("ann", Role::Viewer, "")]),
            "people: the token of ann is empty"
        );
        assert!(refusal(vec![person("a\nb", Role::Viewer, "a")]).contains("control character"));
        assert!(People::new(vec![ann(), person("ann", Role::Viewer, "b")]).is_ok());
    }

    #[test]
    fn without_people_only_loopback_is_listened_on() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let nobody = People::default();
        let somebody = People::new(vec![person("ann", Role::Viewer, "a")]).unwrap();
        for loopback in ["127.0.0.1:80", "127.1.2.3:80", "[::1]:80"] {
            assert!(check_listen(address(loopback), &nobody).is_ok());
        }
        for open in ["0.0.0.0:80", "[::]:80", "192.168.1.5:80"] {
            assert!(check_listen(address(open), &nobody).is_err(), "{open}");
            assert!(check_listen(address(open), &somebody).is_ok(), "{open}");
        }
    }
}
