//! Places that configuration allows although they are not public.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use url::Host;

use super::address::{effective, is_public};

/// Hosts and networks that may be reached although they are not public; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed(Vec<Location>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Location {
    whereabouts: Whereabouts,
    /// Any port unless a port is given.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whereabouts {
    /// A host by its name, wherever it is.
    Host(String),
    /// Addresses, whatever they are called.
    Network(IpNet),
}

/// A place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host, an address or a network; examples are intranet.example, 127.0.0.1:8080, \
     10.0.0.0/8 and [fd00::/8]:443"
)]
pub struct InvalidLocation(String);

impl FromStr for Allowed {
    type Err = InvalidLocation;

    /// Reads places that are separated by commas or white space.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .map(|word| Location::parse(word).ok_or_else(|| InvalidLocation(word.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Allowed {
    /// Whether a host at this address and port may be reached.
    #[must_use]
    pub fn permits(&self, host: &str, address: SocketAddr) -> bool {
        let ip = effective(address.ip());
        is_public(ip)
            || self.0.iter().any(|location| {
                location.port.is_none_or(|port| port == address.port())
                    && match &location.whereabouts {
                        Whereabouts::Host(name) => name == plain(host),
                        Whereabouts::Network(network) => network.contains(&ip),
                    }
            })
    }
}

/// A host name without the dot that may end it.
fn plain(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

impl Location {
    fn parse(word: &str) -> Option<Self> {
        let (location, port) = split_port(word)?;
        let whereabouts = match network(location) {
            Some(network) => Whereabouts::Network(network),
            None => match Host::parse(location).ok()? {
                // Brackets are for ports, and other spellings of an address are mistakes.
                Host::Ipv4(_) | Host::Ipv6(_) => return None,
                Host::Domain(name) => {
                    let name = plain(&name);
                    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
                    if name.is_empty() || name.contains(odd) {
                        return None;
                    }
                    Whereabouts::Host(name.to_owned())
                }
            },
        };
        Some(Self { whereabouts, port })
    }
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(ip) => Some(IpNet::from(effective(ip))),
        Err(_) => text.parse().ok(),
    }
}

/// The place and its port: `location`, `location:port` or `[location]:port`.
fn split_port(word: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = word.strip_prefix('[') {
        let (location, port) = rest.split_once(']')?;
        return match port {
            "" => Some((location, None)),
            port => Some((location, Some(port.strip_prefix(':')?.parse().ok()?))),
        };
    }
    match word.split_once(':') {
        // More than one colon is an IPv6 address.
        Some((location, port)) if !port.contains(':') => Some((location, Some(port.parse().ok()?))),
        Some(_) | None => Some((word, None)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", odd in "[\\[\\]:./0-9a-f]{0,20}") {
            let _ = text.parse::<Allowed>();
            let _ = odd.parse::<Allowed>();
        }
    }

    fn permits(allowed: &str, host: &str, ip: &str, port: u16) -> bool {
        let allowed: Allowed = allowed.parse().unwrap();
        allowed.permits(host, SocketAddr::new(ip.parse().unwrap(), port))
    }

    #[test]
    fn nothing_but_the_public_internet_is_allowed_by_default() {
        assert!(permits("", "a.example", "8.8.8.8", 80));
        assert!(!permits("", "a.example", "127.0.0.1", 80));
        assert!(!permits("", "localhost", "::1", 80));
    }

    #[test]
    fn places_are_hosts_addresses_and_networks_with_or_without_a_port() {
        for (allowed, host, ip, port, expected) in [
            ("127.0.0.1", "x", "127.0.0.1", 80, true),
            ("127.0.0.1", "x", "127.0.0.2", 80, false),
            ("127.0.0.1", "x", "::ffff:127.0.0.1", 80, true),
            ("::ffff:127.0.0.1", "x", "127.0.0.1", 80, true),
            ("127.0.0.1:8080", "x", "127.0.0.1", 8080, true),
            ("127.0.0.1:8080", "x", "127.0.0.1", 80, false),
            ("10.0.0.0/8, 192.168.0.0/16", "x", "192.168.3.4", 1, true),
            ("10.0.0.0/8 192.168.0.0/16", "x", "172.16.3.4", 1, false),
            ("10.0.0.0/8:443", "x", "10.3.4.5", 443, true),
            ("10.0.0.0/8:443", "x", "10.3.4.5", 444, false),
            ("10.0.0.0/8", "x", "64:ff9b::a00:1", 1, true),
            ("::1", "x", "::1", 80, true),
            ("[::1]:80", "x", "::1", 80, true),
            ("[::1]:80", "x", "::1", 81, false),
            ("[fd00::/8]:443", "x", "fd12::1", 443, true),
            ("0.0.0.0/0", "x", "127.0.0.1", 80, true),
            ("0.0.0.0/0", "x", "::1", 80, false),
            ("intranet.example", "intranet.example", "10.0.0.1", 80, true),
            (
                "Intranet.Example.",
                "intranet.example.",
                "10.0.0.1",
                80,
                true,
            ),
            (
                "intranet.example:80",
                "intranet.example",
                "10.0.0.1",
                81,
                false,
            ),
            (
                "intranet.example",
                "www.intranet.example",
                "10.0.0.1",
                80,
                false,
            ),
            (
                "intranet.example",
                "xintranet.example",
                "10.0.0.1",
                80,
                false,
            ),
        ] {
            assert_eq!(
                permits(allowed, host, ip, port),
                expected,
                "{allowed} {ip} {port}"
            );
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "*",
            "*.example",
            "http://a.example",
            "a.example/path",
            "10.0.0.0/33",
            "0x7f.1",
            "2130706433",
            "127.1",
            "a.example:99999",
            "[::1",
            "[::1]80",
            "user@a.example",
            "a b/8",
            ".",
            ":80",
        ] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
    }
}
