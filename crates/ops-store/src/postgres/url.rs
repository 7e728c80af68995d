//! Where a database is: its URL, as the first Opspawn wrote it as well.

use std::{fmt, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};

/// A database, and how its certificate is looked at. Neither `Display` nor `Debug` show the password.
#[derive(Clone)]
pub struct Address {
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    shown: String,
}

// What a connection asks of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing: what passes by is encrypted, and the server may be anyone (`sslmode=require` and below, as
    /// libpq has it).
    Anyone,
    /// One that the system trusts, for the name in the URL (`verify-full`), or for any name (`verify-ca`).
    System {
        /// Whether the name must fit.
        name: bool,
    },
}

/// A URL that names no database. The message shows no part of what may be the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is for something else.
    #[error(
        "the database URL must begin with `postgres://` or `postgresql://`; for SQLite leave it out and \
         set the data folder"
    )]
    Scheme,
    /// A parameter that is not known.
    #[error("the database URL has an unknown parameter `{name}`; known are {KNOWN}")]
    Parameter {
        /// Its name.
        name: String,
    },
    /// A part that cannot be used.
    #[error("the database URL has {what}")]
    Part {
        /// Which, and why.
        what: String,
    },
}

const KNOWN: &str = "sslmode (or ssl), target_session_attrs, connect_timeout, application_name";

impl Address {
    /// The URL without its password.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    // The same, for a connection that is known to the server by another name.
    pub(crate) fn named(&self, application: &str) -> Self {
        let mut other = self.clone();
        other.config.application_name(application);
        other
    }

    /// Another database of the same server.
    #[must_use]
    pub fn database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(name);
        let before = self.shown.rsplit_once('/').map_or("", |(before, _)| before);
        other.shown = format!("{before}/{name}");
        other
    }
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

    // Reads a URL by hand, and forgivingly: a password that somebody pasted with a raw `@`, `#` or `/` in it
    // is one. So the user's part ends at the last `@`, and nothing is decoded twice.
    fn from_str(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::Scheme)?;
        let (kind, _driver) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!(kind, "postgres" | "postgresql") {
            return Err(UrlError::Scheme);
        }
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let mut config = Config::new();
        let mut shown = String::from("postgres://");
        if let Some(user) = user {
            let (name, password) = match user.split_once(':') {
                Some((name, password)) => (name, Some(password)),
                None => (user, None),
            };
            let name = decoded(name, "a user name")?;
            shown += &name;
            config.user(name);
            if let Some(password) = password {
                config.password(decoded(password, "a password")?);
                shown += ":***";
            }
            shown.push('@');
        }
        let mut names = Vec::new();
        for host in hosts.split(',') {
            let (name, port) = host_and_port(host)?;
            config.host(&name).port(port);
            names.push(format!("{name}:{port}"));
        }
        shown += &names.join(",");
        let database = match database {
            "" => config.get_user().unwrap_or("postgres").to_owned(),
            database => decoded(database, "a database name")?,
        };
        shown = format!("{shown}/{database}");
        config.dbname(database);
        config
            .application_name("opspawn")
            .connect_timeout(Duration::from_secs(5))
            .ssl_mode(SslMode::Prefer)
            // A server that went away without a word is noticed by the deadline of a query; one that does so
            // while nothing is asked of it by these.
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(2)
            .tcp_user_timeout(Duration::from_secs(10))
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let mut trust = Trust::Anyone;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value, "a parameter")?;
            parameter(&mut config, &mut trust, name, &value)?;
        }
        // Of sockets on this machine: they have no name that a certificate could bear, and libpq does without
        // as well.
        if config
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)))
        {
            config.ssl_mode(SslMode::Disable);
        }
        Ok(Self {
            config,
            trust,
            shown,
        })
    }
}

fn parameter(
    config: &mut Config,
    trust: &mut Trust,
    name: &str,
    value: &str,
) -> Result<(), UrlError> {
    let wrong = |known: &str| UrlError::Part {
        what: format!("the value `{value}` for `{name}`; it may be {known}"),
    };
    match name {
        "sslmode" | "ssl" => {
            let (mode, looks) = match value {
                "disable" | "false" => (SslMode::Disable, Trust::Anyone),
                "allow" | "prefer" => (SslMode::Prefer, Trust::Anyone),
                "require" | "true" => (SslMode::Require, Trust::Anyone),
                "verify-ca" => (SslMode::Require, Trust::System { name: false }),
                "verify-full" => (SslMode::Require, Trust::System { name: true }),
                _ => {
                    return Err(wrong(
                        "disable, allow, prefer, require, verify-ca or verify-full",
                    ));
                }
            };
            config.ssl_mode(mode);
            *trust = looks;
        }
        "target_session_attrs" => {
            let wanted = match value {
                "any" => TargetSessionAttrs::Any,
                "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
                _ => return Err(wrong("any or read-write")),
            };
            config.target_session_attrs(wanted);
        }
        "connect_timeout" => {
            let seconds = value
                .parse()
                .map_err(|_| wrong("a whole number of seconds"))?;
            config.connect_timeout(Duration::from_secs(seconds));
        }
        "application_name" => {
            config.application_name(value);
        }
        _ => {
            let name = name.to_owned();
            return Err(UrlError::Parameter { name });
        }
    }
    Ok(())
}

fn host_and_port(host: &str) -> Result<(String, u16), UrlError> {
    let bad_port = || UrlError::Part {
        what: "a port that is no number from 1 to 65535".to_owned(),
    };
    // An IPv6 address has colons of its own, within brackets.
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => match host.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| bad_port())?,
        None => 5_432,
    };
    let name = match name {
        "" => "localhost".to_owned(),
        name => decoded(name, "a host")?,
    };
    Ok((name, port))
}

// Decodes a part once. A percent sign that begins no escape is one.
fn decoded(part: &str, what: &str) -> Result<String, UrlError> {
    let text = percent_decode_str(part).decode_utf8();
    let text = text.map_err(|_| UrlError::Part {
        what: format!("{what} that is no UTF-8"),
    })?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Address {
        url.parse().unwrap()
    }

    #[test]
    fn a_url_of_version_one_is_read() {
        let found = read("postgresql+asyncpg://me%40h:p%23%40w@h:6432/db?ssl=require");
        assert_eq!(found.config.get_user(), Some("me@h"));
        assert_eq!(found.config.get_password(), Some(&b"p#@w"[..]));
        assert_eq!(found.config.get_ports(), [6_432]);
        assert_eq!(found.config.get_dbname(), Some("db"));
        assert_eq!(found.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(found.to_string(), "postgres://me@h:***@h:6432/db");
    }

    #[test]
    fn a_raw_password_is_taken_as_it_is() {
        for (raw, password) in [("a@b", "a@b"), ("a#b", "a#b"), ("p%", "p%"), ("a:b", "a:b")] {
            let found = read(&format!("postgres://me:{raw}@h/db"));
            assert_eq!(
                found.config.get_password(),
                Some(password.as_bytes()),
                "{raw}"
            );
            assert!(!format!("{found} {found:?}").contains(raw), "{raw}");
        }
        // It is decoded once.
        let found = read("postgres://me:%2540@h/db");
        assert_eq!(found.config.get_password(), Some(&b"%40"[..]));
    }

    #[test]
    fn hosts_ports_and_certificates_are_read() {
        let found = read("postgres://a,b:6000,[::1]:7/x?sslmode=verify-full");
        assert_eq!(found.config.get_ports(), [5_432, 6_000, 7]);
        assert_eq!(found.trust, Trust::System { name: true });
        assert_eq!(found.to_string(), "postgres://a:5432,b:6000,::1:7/x");
        assert_eq!(read("postgres://h").config.get_ssl_mode(), SslMode::Prefer);
    }

    #[test]
    fn a_socket_of_this_machine_has_no_certificate() {
        for end in ["", "?sslmode=require"] {
            let found = read(&format!("postgresql+psycopg://me@%2Frun%2Fpg:5433/db{end}"));
            assert_eq!(found.config.get_hosts(), [Host::Unix("/run/pg".into())]);
            assert_eq!(found.config.get_ssl_mode(), SslMode::Disable, "{end}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (url, said) in [
            ("sqlite:///x", "must begin with"),
            ("mysql://me:secret@h/x", "must begin with"),
            ("postgres://me:secret@h:x/db", "port"),
            ("postgres://me:secret@h/db?sslrootcert=x", "`sslrootcert`"),
            ("postgres://me:secret@h/db?sslmode=maybe", "`maybe`"),
        ] {
            let error = url.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("secret"), "{error}");
        }
    }
}
