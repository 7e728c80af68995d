//! Where this process itself answers requests.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, PoisonError, RwLock},
};

use super::address::effective;

/// The addresses that this process listens on. An agent that reached them could approve its own calls.
///
/// Clones share their addresses, so that tools that are made before a socket is bound know it as well.
#[derive(Debug, Clone, Default)]
pub struct Listeners(Arc<RwLock<Vec<SocketAddr>>>);

impl Listeners {
    /// Adds an address as it was bound; an unspecified one stands for every address of the machine.
    pub fn add(&self, address: SocketAddr) {
        let mut own = self.0.write().unwrap_or_else(PoisonError::into_inner);
        own.push(address);
    }

    /// Whether a connection to this address would be answered by this process.
    #[must_use]
    pub fn has(&self, address: SocketAddr) -> bool {
        let own = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let ip = destination(address.ip());
        own.iter().any(|own| {
            own.port() == address.port()
                && match destination(own.ip()) {
                    _ if own.ip().is_unspecified() => is_local(ip),
                    own => own == ip,
                }
        })
    }
}

/// Where a connection to an address goes: an unspecified one is the machine itself.
fn destination(ip: IpAddr) -> IpAddr {
    match effective(ip) {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether an address is an address of this machine: only then a socket can be bound to it.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_known_in_every_spelling() {
        for (own, address, expected) in [
            ("127.0.0.1:8000", "127.0.0.1:8000", true),
            ("127.0.0.1:8000", "[::ffff:127.0.0.1]:8000", true),
            ("127.0.0.1:8000", "0.0.0.0:8000", true),
            ("127.0.0.1:8000", "127.0.0.1:8001", false),
            ("127.0.0.1:8000", "127.0.0.2:8000", false),
            ("0.0.0.0:8000", "127.0.0.1:8000", true),
            ("0.0.0.0:8000", "127.0.0.2:8000", true),
            ("[::]:8000", "127.0.0.1:8000", true),
            ("[::]:8000", "[::1]:8000", true),
            // Of the network for documentation (RFC 5737): no address of this machine.
            ("0.0.0.0:8000", "192.0.2.1:8000", false),
        ] {
            let listeners = Listeners::default();
            let shared = listeners.clone();
            listeners.add(own.parse().unwrap());
            let has = shared.has(address.parse().unwrap());
            assert_eq!(has, expected, "{own} {address}");
        }
        assert!(!Listeners::default().has("127.0.0.1:80".parse().unwrap()));
    }
}
