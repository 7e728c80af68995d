//! Where a broker is: its URL, as clients of the first Opspawn wrote it as well.

use std::{fmt, str::FromStr};

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::percent_decode_str;

/// Seconds between two heartbeats: a silent peer is noticed after two missing heartbeats.
const HEARTBEAT: u16 = 10;

/// A broker. Neither `Display` nor `Debug` show the password.
#[derive(Clone)]
pub struct Address {
    pub(super) uri: AMQPUri,
    shown: String,
}

/// The URL names no broker. The message shows no part of the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("the broker's URL must begin with `amqp://` or, for TLS, `amqps://`")]
    Scheme,
    /// An unknown parameter.
    #[error("the broker's URL has an unknown parameter `{name}`; known is heartbeat, in seconds")]
    Parameter {
        /// Its name.
        name: String,
    },
    /// An unusable part.
    #[error("the broker's URL has {what}")]
    Part {
        /// The part, and the reason.
        what: String,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl FromStr for Address {
    type Err = UrlError;

    // As with databases, the user's part ends at the last `@`, so that a password may hold a raw `@`, `/` or `#`,
    // and nothing is decoded twice.
    fn from_str(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::Scheme)?;
        let (scheme, default_port) = match scheme {
            "amqp" => (AMQPScheme::AMQP, 5_672),
            "amqps" => (AMQPScheme::AMQPS, 5_671),
            _ => return Err(UrlError::Scheme),
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let (host, vhost) = place.split_once('/').unwrap_or((place, ""));
        let (host, port) = host_and_port(host, default_port)?;
        let (name, password) = user.map_or(("guest", "guest"), |user| {
            user.split_once(':').unwrap_or((user, ""))
        });
        let userinfo = AMQPUserInfo {
            username: decoded(name, "a user name")?,
            password: decoded(password, "a password")?,
        };
        // The clients of the first Opspawn mean `/` by a URL that ends in a slash.
        let vhost = match vhost {
            "" => "/".to_owned(),
            vhost => decoded(vhost, "a virtual host")?,
        };
        let mut heartbeat = HEARTBEAT;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name != "heartbeat" {
                let name = name
                    .chars()
                    .filter(|char| !char.is_control())
                    .take(40)
                    .collect();
                return Err(UrlError::Parameter { name });
            }
            let seconds = value
                .parse()
                .ok()
                .filter(|seconds| (1..=3_600).contains(seconds));
            heartbeat = seconds.ok_or_else(|| UrlError::Part {
                what: "a heartbeat that is no number of seconds from 1 to 3600".to_owned(),
            })?;
        }
        let kind = match scheme {
            AMQPScheme::AMQP => "amqp",
            AMQPScheme::AMQPS => "amqps",
        };
        let at = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let path = match vhost.as_str() {
            "/" => String::new(),
            vhost => format!("/{vhost}"),
        };
        Ok(Self {
            shown: format!("{kind}://{}:***@{at}{path}", userinfo.username),
            uri: AMQPUri {
                scheme,
                authority: AMQPAuthority {
                    userinfo,
                    host,
                    port,
                },
                vhost,
                query: AMQPQueryString {
                    heartbeat: Some(heartbeat),
                    ..AMQPQueryString::default()
                },
            },
        })
    }
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), UrlError> {
    let wrong = |what: &str| UrlError::Part {
        what: what.to_owned(),
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| wrong("an address without its `]`"))?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if host.is_empty()
        || host
            .chars()
            .any(|char| char.is_whitespace() || char.is_control())
    {
        return Err(wrong("no host"));
    }
    let port = match port {
        "" => default,
        port => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| wrong("a port that is no number from 1 to 65535"))?,
    };
    Ok((host.to_owned(), port))
}

fn decoded(text: &str, what: &str) -> Result<String, UrlError> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| UrlError::Part {
        what: format!("{what} that is not UTF-8 once its escapes are decoded"),
    })?;
    if text.len() > 255 {
        return Err(UrlError::Part {
            what: format!("{what} of more than 255 bytes"),
        });
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (String, String, String, String) {
        let address: Address = url.parse().unwrap();
        let authority = &address.uri.authority;
        (
            authority.userinfo.username.clone(),
            authority.userinfo.password.clone(),
            format!("{}:{}", authority.host, authority.port),
            address.uri.vhost.clone(),
        )
    }

    #[test]
    fn urls_are_read_as_clients_of_version_1_wrote_them() {
        let guest = |place: &str, vhost: &str| {
            let [name, password] = ["guest", "guest"].map(str::to_owned);
            (name, password, place.to_owned(), vhost.to_owned())
        };
        for url in [
            "amqp://mq",
            "amqp://mq/",
            "amqp://guest:guest@mq:5672/",
            "amqp://mq/%2F",
        ] {
            assert_eq!(read(url), guest("mq:5672", "/"), "{url}");
        }
        assert_eq!(read("amqps://mq/staging"), guest("mq:5671", "staging"));
        assert_eq!(read("amqp://[::1]:5673"), guest("::1:5673", "/"));
        let (name, password, ..) = read("amqp://me%40home:p@ss/#%40w@mq");
        assert_eq!((&*name, &*password), ("me@home", "p@ss/#@w"));
        let address: Address = "amqp://mq?heartbeat=30".parse().unwrap();
        assert_eq!(address.uri.query.heartbeat, Some(30));
    }

    #[test]
    fn nothing_shows_the_password() {
        let address: Address = "amqp://me:s3cret/@mq/app".parse().unwrap();
        assert_eq!(address.to_string(), "amqp://me:***@mq:5672/app");
        assert_eq!(format!("{address:?}"), address.to_string());
        for url in [
            "http://me:s3cret@mq",
            "amqp://me:s3cret%ff@mq",
            "amqp://me:s3cret@mq:99999",
            "amqp://me:s3cret@",
            "amqp://me:s3cret@mq?heartbeat=s3cret",
            "amqp://me:s3cret@mq?frame_max=1",
            "amqp://me:s3cret@[::1",
        ] {
            let error = url.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{url}: {error}");
        }
    }
}
