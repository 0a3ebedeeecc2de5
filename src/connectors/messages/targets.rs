//! Where a webhook may go: checked in the resolver of the HTTP client, at the last moment.
//!
//! A name that was checked before it was looked up again proves nothing (DNS rebinding), so the
//! addresses that the connection uses are the ones that were checked. An address that is written
//! into the URL never meets the resolver and is checked by hand. No redirect is followed and no
//! proxy used, so there is no other way out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::network::{Network, is_public};

/// A target that may not be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForbiddenTarget {
    /// Its address is in nobody's public network.
    #[error("{0} is no public address; [webhooks] allow_networks may allow it")]
    Private(IpAddr),
    /// It would be called without TLS.
    #[error("{0} is called without TLS; use https, or allow it with [webhooks] allow_networks")]
    Plain(IpAddr),
}

/// Lets through what is public or allowed; without TLS only what is allowed.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) allowed: Arc<[Network]>,
    pub(super) has_tls: bool,
}

impl Guard {
    fn check(&self, address: IpAddr) -> Result<(), ForbiddenTarget> {
        let is_allowed = self.allowed.iter().any(|network| network.contains(address));
        if is_allowed {
            Ok(())
        } else if !is_public(address) {
            Err(ForbiddenTarget::Private(address))
        } else if self.has_tls {
            Ok(())
        } else {
            Err(ForbiddenTarget::Plain(address))
        }
    }

    /// Checks an address that stands in the URL itself.
    pub(super) fn check_literal(&self, url: &Url) -> Result<(), ForbiddenTarget> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => self.check(address),
            Err(_) => Ok(()),
        }
    }

    /// The addresses that may be called; none: why the first may not.
    fn filter(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ForbiddenTarget> {
        let mut refused = None;
        let mut good = Vec::with_capacity(found.len());
        for address in found {
            match self.check(address.ip()) {
                Ok(()) => good.push(address),
                Err(forbidden) => {
                    refused.get_or_insert(forbidden);
                }
            }
        }
        match refused {
            Some(forbidden) if good.is_empty() => Err(forbidden),
            Some(_) | None => Ok(good),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let good: Addrs = Box::new(guard.filter(found)?.into_iter());
            Ok(good)
        })
    }
}

/// The refusal among the causes of a failed call, if that is what failed it.
pub(super) fn forbidden_in(error: &reqwest::Error) -> Option<ForbiddenTarget> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref::<ForbiddenTarget>() {
            return Some(forbidden.clone());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str], has_tls: bool) -> Guard {
        Guard {
            allowed: allowed.iter().map(|text| text.parse().unwrap()).collect(),
            has_tls,
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_address_in_the_url_is_checked_however_it_is_written() {
        let guard = guard(&[], true);
        let ways = [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/latest/meta-data",
            "https://10.0.0.1:8443/",
            "https://[fd00::1]/",
            "https://100.64.0.1/",
        ];
        for way in ways {
            let refused = guard.check_literal(&url(way));
            assert!(matches!(refused, Err(ForbiddenTarget::Private(_))), "{way}");
        }
        assert_eq!(guard.check_literal(&url("https://8.8.8.8/")), Ok(()));
    }

    #[test]
    fn without_tls_only_what_is_allowed_is_called() {
        let plain = guard(&["127.0.0.0/8"], false);
        assert_eq!(plain.check_literal(&url("http://127.0.0.1:9/")), Ok(()));
        let refused = plain.check_literal(&url("http://8.8.8.8/")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "8.8.8.8 is called without TLS; use https, or allow it with [webhooks] allow_networks"
        );
    }

    #[test]
    fn a_name_is_called_at_its_good_addresses_only() {
        let found: Vec<SocketAddr> = ["10.0.0.1:0", "8.8.8.8:0"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let guard = guard(&[], true);
        assert_eq!(guard.filter(found.clone()).unwrap(), found[1..]);
        let refused = guard.filter(found[..1].to_vec()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "10.0.0.1 is no public address; [webhooks] allow_networks may allow it"
        );
    }
}
