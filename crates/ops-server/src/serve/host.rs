//! Who may call: a page of another site may not call a server on this machine.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header};
use ops_core::Code;

use crate::problem::Problem;

/// What the HTTP and MCP tools of agents send with each request. A process knows its own addresses and keeps its tools
/// away from them; the addresses of other processes on the same database it does not know.
const TOOL: &str = "x-agentkit-tool";

/// Whose requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// Everybody's: a proxy in front of the server decides.
    Any,
    /// Those that name this machine: `Host`, and `Origin` if there is one, must be a loopback
    /// name, or the address that is listened on. It keeps out pages of other sites, also those
    /// whose name was made to lead here (DNS rebinding).
    Loopback,
}

impl Hosts {
    /// Refuses a request that names another site, and a request of an agent's tool: the agent could approve its own calls.
    ///
    /// # Errors
    /// `forbidden_host` and `forbidden_tool`.
    pub(super) fn check(
        self,
        uri: &Uri,
        headers: &HeaderMap,
        listen: Option<SocketAddr>,
    ) -> Result<(), Problem> {
        if headers.contains_key(TOOL) {
            let message = "a tool of an agent asks, and agents are not answered: one could approve its own calls";
            return Err(Problem::new(Code::ForbiddenTool, message));
        }
        match self {
            Self::Any => return Ok(()),
            Self::Loopback => {}
        }
        let ours = |authority: &str| is_ours(authority, listen);
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().map(|host| host.to_str().unwrap_or_default());
        if !host.is_some_and(ours) || hosts.next().is_some() {
            return Err(forbidden("Host", host.unwrap_or("(none)")));
        }
        if let Some(authority) = uri.authority()
            && !ours(authority.as_str())
        {
            return Err(forbidden("request target's host", authority.as_str()));
        }
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let site = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            if !site.is_some_and(ours) {
                return Err(forbidden("Origin", origin));
            }
        }
        Ok(())
    }
}

fn forbidden(header: &str, value: &str) -> Problem {
    let value: String = value.chars().take(120).collect();
    let message = format!("the {header} `{value}` is not this machine; only loopback is answered");
    Problem::new(Code::ForbiddenHost, message)
}

fn is_ours(authority: &str, listen: Option<SocketAddr>) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port),
            None => return false,
        },
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let digits = port.strip_prefix(':').unwrap_or("0");
    let port_fits = (port.is_empty() || port.starts_with(':')) && digits.parse::<u16>().is_ok();
    if !port_fits {
        return false;
    }
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    host.parse::<IpAddr>().is_ok_and(|ip| {
        ip.is_loopback() || listen.is_some_and(|listen| listen.ip() == ip && !ip.is_unspecified())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(host: &[&str], origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let listen = "10.0.0.5:8000".parse().ok();
        Hosts::Loopback
            .check(&Uri::from_static("/"), &headers, listen)
            .is_ok()
    }

    #[test]
    fn no_tool_of_an_agent_is_answered() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        let check = |headers: &HeaderMap, hosts: Hosts| {
            let checked = hosts.check(&Uri::from_static("/"), headers, None);
            checked.map_err(|problem| problem.status())
        };
        assert_eq!(check(&headers, Hosts::Loopback), Ok(()));
        headers.insert(TOOL, HeaderValue::from_static("1"));
        for hosts in [Hosts::Loopback, Hosts::Any] {
            assert_eq!(check(&headers, hosts), Err(http::StatusCode::FORBIDDEN));
        }
    }

    #[test]
    fn only_this_machine_is_answered() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:8000",
            "127.1.2.3",
            "[::1]:8000",
            "[::1]",
            "10.0.0.5:8000",
        ] {
            assert!(check(&[host], None), "{host}");
            assert!(check(&[host], Some(&format!("http://{host}"))), "{host}");
            assert!(!check(&[host], Some("https://evil.example")), "{host}");
            assert!(!check(&[host], Some("null")), "{host}");
            assert!(!check(&[host, host], None), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.6",
            "0.0.0.0:8000",
            "localhost:8000@evil.example",
            "user@localhost",
            "localhost:x",
            "[::1",
            "[::1]evil",
        ] {
            assert!(!check(&[host], None), "{host}");
        }
        assert!(!check(&[], None));
    }
}
