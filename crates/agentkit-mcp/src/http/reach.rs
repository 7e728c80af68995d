//! Which addresses requests may go to.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use agentkit_tools::http::{Allowed, Listeners};
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue},
};
use url::{Host, Url};

/// For a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Where servers may be.
///
/// Addresses of the public internet, those that configuration allows (`tools.http.allow`), and the host of
/// a configured URL where it is an address or `localhost`: to write `http://127.0.0.1:9000/mcp` into the
/// file is to allow it. A name that resolves to a private address is not allowed by that, as whoever
/// answers for the name could lead anywhere.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Places that are allowed although they are not public.
    pub allow: Allowed,
    /// Where this process itself answers: no request gets there.
    pub own: Listeners,
}

impl Reach {
    /// Whether a connection may be made.
    fn permits(&self, configured: &Url, host: &str, address: SocketAddr) -> Result<(), String> {
        if self.own.has(address) {
            return Err(format!("`{host}` is this process itself"));
        }
        if self.allow.permits(host, address) || is_literal(configured, host) {
            return Ok(());
        }
        if units::mutant!("agentkit-mcp.private_is_reached") {
            return Ok(());
        }
        Err(format!(
            "`{host}` is at {}, which is no address of the public internet; allow it by the setting \
             `tools.http.allow`",
            address.ip()
        ))
    }

    /// Whether a URL may be asked at all; names are looked at again when they are resolved.
    pub(crate) fn check(&self, configured: &Url, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is neither http nor https", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user name or password is not asked; use a header".to_owned());
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let ip: IpAddr = match url.host() {
            Some(Host::Ipv4(ip)) => ip.into(),
            Some(Host::Ipv6(ip)) => ip.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err("the URL has no host".to_owned()),
        };
        self.permits(
            configured,
            url.host_str().unwrap_or_default(),
            SocketAddr::new(ip, port),
        )
    }

    /// A client for one host and port: each connection goes to addresses that were checked, when they were
    /// resolved, and to no others.
    pub(crate) fn client(&self, configured: &Url, url: &Url) -> Result<reqwest::Client, String> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may have been faster; any provider will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let resolver = Checked {
            reach: self.clone(),
            configured: configured.clone(),
            port: url.port_or_known_default().unwrap_or_default(),
        };
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names by itself.
            .no_proxy()
            .dns_resolver(Arc::new(resolver))
            .default_headers(HeaderMap::from_iter([(
                // A server of Opspawn answers no tool of an agent.
                HeaderName::from_static("x-agentkit-tool"),
                HeaderValue::from_static("1"),
            )]))
            .user_agent(concat!("opspawn/", env!("CARGO_PKG_VERSION")));
        let builder = match url.scheme() {
            "http" => builder.tls_certs_only([]),
            _ => builder,
        };
        builder
            .build()
            .map_err(|error| format!("no client for `{}`: {error}", host_of(url)))
    }
}

/// Host and port of a URL, for people.
pub(crate) fn host_of(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

/// Whether the host is the configured host, written as an address or `localhost`.
fn is_literal(configured: &Url, host: &str) -> bool {
    let same = configured
        .host_str()
        .is_some_and(|own| own.eq_ignore_ascii_case(host));
    let literal = match configured.host() {
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    same && literal
}

struct Checked {
    reach: Reach,
    configured: Url,
    port: u16,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, configured, port) = (self.reach.clone(), self.configured.clone(), self.port);
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), port))
                .await?
                .collect();
            for address in &found {
                // One that is not public beside public ones is no accident: all are refused.
                reach.permits(&configured, &name, *address)?;
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise P11.
    #[test]
    fn private_addresses_are_reached_only_where_configuration_says_so() {
        let own = Listeners::default();
        own.add("127.0.0.1:8000".parse().unwrap());
        let reach = Reach {
            allow: "10.1.0.0/16, intranet.example".parse().unwrap(),
            own,
        };
        let permits = |configured: &str, host: &str, address: &str| {
            let configured = Url::parse(configured).unwrap();
            reach
                .permits(&configured, host, address.parse().unwrap())
                .is_ok()
        };
        for (configured, host, address, expected) in [
            ("https://mcp.example/", "mcp.example", "8.8.8.8:443", true),
            (
                "https://mcp.example/",
                "mcp.example",
                "127.0.0.1:443",
                false,
            ),
            (
                "https://mcp.example/",
                "mcp.example",
                "169.254.169.254:80",
                false,
            ),
            ("https://mcp.example/", "127.0.0.1", "127.0.0.1:9000", false),
            (
                "http://127.0.0.1:9000/mcp",
                "127.0.0.1",
                "127.0.0.1:9000",
                true,
            ),
            (
                "http://127.0.0.1:9000/mcp",
                "127.0.0.1",
                "127.0.0.1:9001",
                true,
            ),
            (
                "http://127.0.0.1:9000/mcp",
                "127.0.0.1",
                "127.0.0.1:8000",
                false,
            ),
            (
                "http://127.0.0.1:9000/mcp",
                "127.0.0.2",
                "127.0.0.2:9000",
                false,
            ),
            ("http://localhost:9000/mcp", "localhost", "[::1]:9000", true),
            (
                "https://intranet.example/",
                "intranet.example",
                "192.168.0.1:443",
                true,
            ),
            ("https://mcp.example/", "x.example", "10.1.2.3:443", true),
        ] {
            assert_eq!(
                permits(configured, host, address),
                expected,
                "{configured} {host} {address}"
            );
        }
        let url = |text: &str| Url::parse(text).unwrap();
        for refused in [
            "http://[::ffff:127.0.0.1]/",
            "ftp://a.example/",
            "http://u:p@a.example/",
            "http://0x7f.1/",
        ] {
            assert!(
                reach
                    .check(&url("https://mcp.example/"), &url(refused))
                    .is_err(),
                "{refused}"
            );
        }
    }
}
