//! Values of flags that are checked before the command begins.

use units::{
    duration::{self, DurationError},
    money::{self, MoneyError},
};

/// A duration, as it is written: the server reads it in the same way.
pub(super) fn duration(text: &str) -> Result<String, DurationError> {
    duration::parse(text).map(|_| text.trim().to_owned())
}

/// An amount of USD, in micro-USD.
pub(super) fn usd(text: &str) -> Result<u64, MoneyError> {
    money::parse(text)
}
