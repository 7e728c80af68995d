//! From a URL to the addresses that may be connected to.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use agentkit::event::Failure;
use url::{Host, Url};

use super::Settings;

const MAX_URL: usize = 8 * 1024;
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many addresses of a host are tried.
const MAX_ADDRESSES: usize = 8;

/// A place whose addresses were checked.
#[derive(Debug)]
pub(super) struct Target {
    /// Where it is; the only addresses that are connected to.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) host: Host<String>,
    pub(super) transport: Transport,
    /// Path and query.
    pub(super) path: String,
    /// Value of the header `Host`.
    pub(super) authority: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Plain,
    Tls,
}

/// A URL as it was written. Whatever spelling of an address a host has, one parser reads it, here
/// and for the connection.
pub(crate) fn parse(text: &str) -> Result<Url, Failure> {
    if text.len() > MAX_URL {
        let message = format!(
            "the URL has {} bytes, and {MAX_URL} is the limit",
            text.len()
        );
        return Err(invalid(message));
    }
    let url = Url::parse(text).map_err(|error| {
        invalid(format!(
            "the URL cannot be read: {error}; write it like https://example.com/path"
        ))
    })?;
    check_url(&url)?;
    Ok(url)
}

fn invalid(message: String) -> Failure {
    Failure::last("invalid_url", message)
}

/// Whether a URL is for HTTP, without credentials: they would be in every log.
pub(super) fn check_url(url: &Url) -> Result<(), Failure> {
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("only http and https are known, not `{}`", url.scheme());
        return Err(invalid(message));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let message = "the URL holds a user name or password: send it as a header instead";
        return Err(invalid(message.to_owned()));
    }
    if url.port() == Some(0) {
        return Err(invalid("port 0 is no port".to_owned()));
    }
    Ok(())
}

impl Target {
    /// Resolves the host of a checked URL, once, and checks each of its addresses.
    pub(super) async fn check(url: &Url, settings: &Settings) -> Result<Self, Failure> {
        let missing = || invalid("the URL has no host".to_owned());
        let host = url.host().ok_or_else(missing)?.to_owned();
        let port = url.port_or_known_default().ok_or_else(missing)?;
        let name = host.to_string();
        let found = match &host {
            Host::Ipv4(ip) => vec![IpAddr::V4(*ip)],
            Host::Ipv6(ip) => vec![IpAddr::V6(*ip)],
            Host::Domain(name) => resolve(name, settings).await?,
        };
        let mut seen = BTreeSet::new();
        let mut addresses = Vec::new();
        for ip in found.into_iter().filter(|ip| seen.insert(*ip)) {
            let address = SocketAddr::new(ip, port);
            if settings.own.has(address) {
                return Err(own(&name));
            }
            // One that is not public beside public ones is no accident: all of them are refused.
            if !settings.allow.permits(&name, address) {
                return Err(refused(&name, address));
            }
            addresses.push(address);
        }
        addresses.truncate(MAX_ADDRESSES);
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        Ok(Self {
            addresses,
            transport: match url.scheme() {
                "https" => Transport::Tls,
                _ => Transport::Plain,
            },
            path: path.to_owned(),
            authority: url[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
            host,
        })
    }
}

async fn resolve(name: &str, settings: &Settings) -> Result<Vec<IpAddr>, Failure> {
    let unresolved = |why: String| {
        let message = format!("the host `{name}` cannot be resolved: {why}");
        Failure::passing("host_not_found", message)
    };
    let lookup = settings.resolver.resolve(name);
    match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
        Ok(Ok(found)) if found.is_empty() => Err(unresolved("it has no addresses".to_owned())),
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(unresolved(error.to_string())),
        Err(_) => Err(unresolved(format!("no answer within {RESOLVE_TIMEOUT:?}"))),
    }
}

fn own(host: &str) -> Failure {
    let message = format!(
        "`{host}` is the server that runs this agent, which no agent may reach;          `tools.http.allow` does not change that"
    );
    Failure::last("address_not_allowed", message)
}

fn refused(host: &str, address: SocketAddr) -> Failure {
    let at = if host == address.ip().to_string() {
        String::new()
    } else {
        format!(" is at {}, which", address.ip())
    };
    let message = format!(
        "`{host}`{at} is not on the public internet, and no such place may be reached unless the \
         setting `tools.http.allow` names it"
    );
    Failure::last("address_not_allowed", message)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    /// An address in one to four numbers, of which the last takes what is left of it, each in a
    /// base of its own.
    fn spelled(bits: u32, bases: &[u8]) -> String {
        let last = bases.len() - 1;
        let number = |(at, base): (usize, &u8)| {
            let left = bits & u32::MAX.checked_shr(8 * at as u32).unwrap_or(0);
            let value = if at == last {
                left
            } else {
                left >> (24 - 8 * at)
            };
            match base {
                0 => format!("{value}"),
                1 => format!("0{value:o}"),
                2 => format!("0x{value:x}"),
                _ => format!("0X{value:08X}"),
            }
        };
        let numbers: Vec<_> = bases.iter().enumerate().map(number).collect();
        numbers.join(".")
    }

    proptest! {
        #[test]
        fn an_address_is_itself_in_any_spelling(
            bits in any::<u32>(),
            bases in proptest::collection::vec(0_u8..4, 1..5),
            dot in proptest::bool::ANY,
        ) {
            let end = if dot { "." } else { "" };
            let text = format!("http://{}{end}:8080/x", spelled(bits, &bases));
            let url = parse(&text).unwrap();
            prop_assert_eq!(url.host(), Some(Host::Ipv4(Ipv4Addr::from(bits))), "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(https?://)?\\PC{0,40}") {
            if let Ok(url) = parse(&text) {
                prop_assert!(matches!(url.scheme(), "http" | "https"));
                prop_assert!(url.host_str().is_some_and(|host| !host.is_empty()));
            }
        }
    }
}
