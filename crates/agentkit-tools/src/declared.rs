//! Values of declarations in configuration files, for `deserialize_with`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A duration as text, such as `30s`.
///
/// # Errors
/// The text is no duration.
pub fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(value)?;
    units::duration::parse(&text).map_err(D::Error::custom)
}

/// A number of bytes, or a text such as `512MiB`.
///
/// # Errors
/// The value is neither.
pub fn bytes<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Bytes {
        Number(u64),
        Text(String),
    }
    let parsed = match Bytes::deserialize(value) {
        Ok(Bytes::Number(number)) => Some(number),
        Ok(Bytes::Text(text)) => units::bytes::parse(&text),
        Err(_) => None,
    };
    parsed.ok_or_else(|| D::Error::custom(format!("write {}", units::bytes::FORM)))
}
