//! What settings may hold.

use agentkit_tools::http::Allowed;
use anyhow::{Result, bail};
use units::{duration, money, nearest};

/// What a setting may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown; its variable has a `_FILE` form.
    Secret,
    /// Texts: a list in the file, and with commas or on lines of their own elsewhere.
    List,
    /// A whole number.
    Number,
    /// A whole number from 1 to 4294967295.
    Count,
    /// A whole number from 1 to 100.
    Percent,
    /// An amount of money in USD, for instance `0.25`.
    Usd,
    /// A number of seconds, or numbers with `ms`, `s`, `m`, `h` or `d`.
    Duration,
    /// A duration of at least this one.
    DurationFrom(&'static str),
    /// A number from 0 to 2, for instance `0.7`.
    Temperature,
    /// `true` or `false`.
    Switch,
    /// An address of this machine's loopback, with a port.
    Loopback,
    /// Hosts, addresses and networks; in the file also as a list.
    Networks,
    /// One of these.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Whether the text is a value of this kind.
    pub(super) fn check(self, text: &str) -> Result<()> {
        match self {
            Self::Text | Self::Secret | Self::List => Ok(()),
            Self::Number => match text.parse::<u64>() {
                Ok(_) => Ok(()),
                Err(_) => bail!("`{text}` is not a whole number"),
            },
            Self::Count => match text.parse::<u32>() {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => bail!("`{text}` is not a whole number from 1 to 4294967295"),
            },
            Self::Percent => match text.parse::<u8>() {
                Ok(1..=100) => Ok(()),
                Ok(_) | Err(_) => bail!("`{text}` is not a whole number from 1 to 100"),
            },
            Self::Usd => Ok(money::parse(text).map(|_| ())?),
            Self::Duration => Ok(duration::parse(text).map(|_| ())?),
            Self::DurationFrom(least) => {
                if duration::parse(text)? < duration::parse(least)? {
                    bail!("`{text}` is too short; the least is {least}");
                }
                Ok(())
            }
            Self::Temperature => match text.parse::<f64>() {
                Ok(number) if (0.0..=2.0).contains(&number) => Ok(()),
                Ok(_) | Err(_) => bail!("`{text}` is not a number from 0 to 2"),
            },
            Self::Switch if matches!(text, "true" | "false") => Ok(()),
            Self::Switch => bail!("`{text}` is neither `true` nor `false`"),
            Self::Loopback => loopback(text),
            Self::Networks => Ok(text.parse::<Allowed>().map(|_| ())?),
            Self::Choice(known) if known.contains(&text) => Ok(()),
            Self::Choice(known) => {
                let hint = nearest::hint(text, known.iter().copied());
                bail!("`{text}` is not known; {hint}")
            }
        }
    }
}

fn loopback(text: &str) -> Result<()> {
    let Ok(address) = text.parse::<std::net::SocketAddr>() else {
        bail!("`{text}` is not an address like 127.0.0.1:8000");
    };
    if !address.ip().is_loopback() {
        bail!(
            "the server has no authentication and so listens on loopback only, not on {address}; use 127.0.0.1:{}",
            address.port()
        );
    }
    Ok(())
}
