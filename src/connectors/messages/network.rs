//! Networks, and which addresses belong to everybody.
//!
//! A webhook goes where somebody else says, so an address is good only where it is public: the
//! list says what is, not what is not, and whatever a registry adds later is refused until then.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network such as `10.0.0.0/8` or `fd00::/8`; a single address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor an address with a length.
    #[error("{0:?} is not a network, like \"10.0.0.0/8\" or \"fd00::/8\"")]
    Syntax(String),
    /// The address has bits behind its length.
    #[error("{0:?} names an address within its network; write the network's first address")]
    HostBits(String),
}

impl Network {
    /// Whether the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                masked_v4(address, self.prefix) == network.to_bits()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                masked_v6(address, self.prefix) == network.to_bits()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn masked_v4(address: Ipv4Addr, prefix: u8) -> u32 {
    let hidden = 32_u32.saturating_sub(u32::from(prefix));
    address.to_bits() & u32::MAX.checked_shl(hidden).unwrap_or(0)
}

fn masked_v6(address: Ipv6Addr, prefix: u8) -> u128 {
    let hidden = 128_u32.saturating_sub(u32::from(prefix));
    address.to_bits() & u128::MAX.checked_shl(hidden).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let syntax = || NetworkError::Syntax(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let prefix_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| syntax())?,
            None => prefix_max,
        };
        if prefix > prefix_max {
            return Err(syntax());
        }
        let network = Self { address, prefix };
        if network.contains(address) {
            Ok(network)
        } else {
            Err(NetworkError::HostBits(text.to_owned()))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// What the registries of special addresses take out of version 4 (RFC 6890 and its successors):
/// this network, private, carrier-grade NAT, loopback, link-local, protocol assignments,
/// documentation, relays, benchmarks, multicast and what is reserved.
const SPECIAL_V4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// What is given out of version 6 so far.
const GLOBAL_V6: ([u16; 2], u8) = ([0x2000, 0], 3);
/// What is taken out of it again: protocol assignments with Teredo, documentation, 6to4.
const SPECIAL_V6: [([u16; 2], u8); 4] = [
    ([0x2001, 0], 23),
    ([0x2001, 0x0db8], 32),
    ([0x2002, 0], 16),
    ([0x3fff, 0], 20),
];

/// Whether an address is one that everybody may reach. An address of version 4 in the clothes of
/// version 6 is judged as what it is.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|(network, prefix)| {
            masked_v4(address, *prefix) == Ipv4Addr::from_octets(*network).to_bits()
        }),
        IpAddr::V6(address) => {
            let is_in = |([first, second], prefix): ([u16; 2], u8)| {
                let network = Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0);
                masked_v6(address, prefix) == network.to_bits()
            };
            is_in(GLOBAL_V6) && !SPECIAL_V6.into_iter().any(is_in)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn private_and_special_addresses_are_not_public() {
        let special = [
            "0.0.0.0",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::a00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for text in special {
            assert!(!is_public(address(text)), "{text}");
        }
    }

    #[test]
    fn addresses_beside_the_special_ones_are_public() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "198.17.255.255",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2001:4860:4860::8888",
            "2a00::1",
            "3ffe::1",
        ];
        for text in public {
            assert!(is_public(address(text)), "{text}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_other() {
        let network: Network = "127.0.0.0/8".parse().unwrap();
        assert!(network.contains(address("127.255.0.1")));
        assert!(network.contains(address("::ffff:127.0.0.1")));
        assert!(!network.contains(address("128.0.0.0")) && !network.contains(address("::1")));
        let one: Network = "::1".parse().unwrap();
        assert_eq!(one.to_string(), "::1/128");
        assert!(one.contains(address("::1")) && !one.contains(address("::2")));
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(address("255.1.2.3")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/-1",
            "host/8",
        ] {
            let refusal = text.parse::<Network>().unwrap_err();
            assert_eq!(refusal, NetworkError::Syntax(text.to_owned()));
        }
        assert_eq!(
            "10.0.0.1/8".parse::<Network>().unwrap_err().to_string(),
            "\"10.0.0.1/8\" names an address within its network; write the network's first address"
        );
    }
}
