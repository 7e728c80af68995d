//! Amounts of time and money, as people write them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Micro-USD of an amount in USD with six decimals at the most.
pub(crate) fn usd(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(part)
}

/// A number of seconds, or numbers with units such as `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("`{text}` is not a duration like 500ms, 30s, 5m or 1h30m");
    let mut left = text.trim();
    let mut total = Duration::ZERO;
    loop {
        let number = left
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(left.len());
        let (value, rest) = left.split_at(number);
        let unit = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit);
        let seconds_per = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => bail!(wrong()),
        };
        let part = value.trim().parse::<f64>().ok();
        let part = part.and_then(|value| Duration::try_from_secs_f64(value * seconds_per).ok());
        total = part
            .and_then(|part| total.checked_add(part))
            .with_context(wrong)?;
        left = rest;
        if left.is_empty() {
            return Ok(total);
        }
    }
}
