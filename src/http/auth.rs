//! Who may call: people with a role and a bearer token, of which only the hash is kept.
//!
//! Where nobody is configured, the daemon listens on loopback only and whoever is on the machine
//! is its admin; [`check_listen`] refuses any other address.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{Person, Role};

/// Everybody who may call; empty means that whoever is on this machine may.
#[derive(Clone, Debug)]
pub(super) struct People(Arc<[Person]>);

/// Why a token was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    Unknown,
    ExpiredAt(DateTime<Utc>),
}

impl People {
    pub(super) fn new(people: Vec<Person>) -> Self {
        Self(people.into())
    }

    /// Whether nobody is configured.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token it is. Every hash is compared, each in constant time, so that the time taken
    /// says nothing. SHA-256 is fast, and may be: a token is drawn at random, not made up.
    pub(super) fn who(&self, token: &str, now: DateTime<Utc>) -> Result<&Person, TokenRefusal> {
        let presented = Sha256::digest(token.as_bytes());
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
    "refused to listen on {0}: there are no [[people]], so only this machine may connect; name \
     somebody, or listen on 127.0.0.1"
)]
pub struct ListenError(SocketAddr);

/// Refuses to be reachable from outside while everybody is admin. For addresses that do not come
/// from the settings, which check theirs.
///
/// # Errors
/// [`ListenError`], which says both ways out.
pub fn check_listen(address: SocketAddr, people: &[Person]) -> Result<(), ListenError> {
    if people.is_empty() && !address.ip().is_loopback() {
        return Err(ListenError(address));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokenSha256;

    fn person(token: &str, expires_at: Option<DateTime<Utc>>) -> Person {
        Person {
            name: "ann".to_owned(),
            role: Role::Viewer,
            token_sha256: TokenSha256(Sha256::digest(token.as_bytes()).into()),
            expires_at,
        }
    }

    #[test]
    fn a_token_is_refused_from_the_instant_it_expires() {
        let now: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().unwrap();
        let people = People::new(vec![person("a", Some(now)), person("b", None)]);
        let before = now - chrono::TimeDelta::microseconds(1);
        assert!(people.who("a", before).is_ok());
        assert_eq!(
            people.who("a", now).unwrap_err(),
            TokenRefusal::ExpiredAt(now)
        );
        assert!(people.who("b", now).is_ok());
        assert_eq!(people.who("c", before).unwrap_err(), TokenRefusal::Unknown);
    }

    #[test]
    fn without_people_only_loopback_is_listened_on() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let somebody = [person("a", None)];
        for loopback in ["127.0.0.1:80", "127.1.2.3:80", "[::1]:80"] {
            assert!(check_listen(address(loopback), &[]).is_ok());
        }
        for open in ["0.0.0.0:80", "[::]:80", "192.168.1.5:80"] {
            assert!(check_listen(address(open), &[]).is_err(), "{open}");
            assert!(check_listen(address(open), &somebody).is_ok(), "{open}");
        }
    }
}
