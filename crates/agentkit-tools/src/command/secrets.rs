//! Secrets of tools: looked up by name for each call, put into the program's environment, and kept out of results, logs and
//! the database.

use std::fmt;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::Value;

/// Shorter secrets are not looked for in results: they would be found everywhere.
const MIN_REDACTED: usize = 6;

/// A secret's value, which no formatting shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the environment of a program.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no secret: never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

/// Where secrets come from.
pub trait Secrets: Send + Sync {
    /// The secret of this name.
    ///
    /// # Errors
    /// If no source has the secret; the message says where it was looked for.
    fn get(&self, name: &str) -> Result<Secret, SecretError>;
}

/// No secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, name: &str) -> Result<Secret, SecretError> {
        Err(SecretError(format!("there is no secret `{name}`")))
    }
}

/// Takes secrets out of results and messages.
pub(super) struct Redaction<'a>(pub(super) &'a [(String, Secret)]);

impl Redaction<'_> {
    /// The text without secrets, with their names in place.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if units::mutant!("agentkit-tools.secrets_shown") {
            return text;
        }
        for (name, secret) in self.long() {
            for spelled in spellings(secret.reveal()) {
                text = text.replace(&spelled, &format!("[secret {name}]"));
            }
        }
        text
    }

    /// Takes secrets out of every text of a value, its keys included.
    pub(super) fn value(&self, value: Value) -> Value {
        if self.long().next().is_none() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (self.text(&name), self.value(value)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    /// The name of a secret that these bytes hold.
    pub(super) fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|part| part == wanted);
        let found = self.long().find(|(_, secret)| {
            let spelled = spellings(secret.reveal());
            spelled.iter().any(|wanted| holds(wanted.as_bytes()))
        });
        found.map(|(name, _)| name.as_str())
    }

    fn long(&self) -> impl Iterator<Item = &(String, Secret)> {
        self.0
            .iter()
            .filter(|(_, secret)| secret.reveal().len() >= MIN_REDACTED)
    }
}

/// A secret as it is, and as programs write it into JSON, into URLs and, alone or within other bytes, in base64.
#[must_use]
pub fn spellings(secret: &str) -> Vec<String> {
    let json = Value::String(secret.to_owned()).to_string();
    let mut url = String::new();
    for byte in secret.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    let mut all = vec![secret.to_owned()];
    let plain = [json[1..json.len() - 1].to_owned(), url];
    for other in plain.into_iter().chain(in_base64(secret.as_bytes())) {
        if !all.contains(&other) {
            all.push(other);
        }
    }
    all
}

/// The characters that base64 has for these bytes wherever they stand: `user:SECRET` of an `Authorization` header holds the
/// secret as well. Three bytes are four characters, so there are three ways, in each of two alphabets. A character that other bytes
/// have a part in is left out: it tells less than a byte of the secret.
fn in_base64(bytes: &[u8]) -> Vec<String> {
    // Fewer characters would be found in texts that have nothing to do with the secret.
    if bytes.len() < MIN_REDACTED {
        return Vec::new();
    }
    let mut all = Vec::new();
    for before in 0..3 {
        let mut whole = vec![0; before];
        whole.extend_from_slice(bytes);
        let (first, end) = ((before * 8).div_ceil(6), whole.len() * 8 / 6);
        for alphabet in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
            all.push(alphabet.encode(&whole)[first..end].to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_in_every_spelling() {
        let secrets = [
            ("TOKEN".to_owned(), Secret::new("s3cr\"t/value".to_owned())),
            ("PIN".to_owned(), Secret::new("1234".to_owned())),
        ];
        let redaction = Redaction(&secrets);
        assert_eq!(
            redaction.text("a s3cr\"t/value b 1234"),
            "a [secret TOKEN] b 1234"
        );
        assert_eq!(
            redaction.text("{\"a\":\"s3cr\\\"t/value\"}"),
            "{\"a\":\"[secret TOKEN]\"}"
        );
        assert_eq!(redaction.text("?q=s3cr%22t%2Fvalue"), "?q=[secret TOKEN]");
        let value = json!({"s3cr\"t/value": ["s3cr\"t/value", 1, null]});
        let expected = json!({"[secret TOKEN]": ["[secret TOKEN]", 1, null]});
        assert_eq!(redaction.value(value), expected);
        assert_eq!(redaction.found_in(b"xs3cr\"t/valuex"), Some("TOKEN"));
        assert_eq!(redaction.found_in(b"1234"), None);
        // In base64, at each place within other bytes, and whatever follows.
        for before in ["", "a", "ab", "user:", "me:"] {
            for after in ["", "!", "??", "xyz"] {
                let plain = format!("{before}s3cr\"t/value{after}");
                for alphabet in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
                    let encoded = alphabet.encode(&plain);
                    let shown = redaction.text(&format!("Basic {encoded}=="));
                    assert!(shown.contains("[secret TOKEN]"), "{plain}: {shown}");
                    // What is left beside the secret's name: at most the edges of its first and last byte.
                    let rest = shown.replace("[secret TOKEN]", "").len() - "Basic ==".len();
                    assert!(
                        rest <= (before.len() + after.len()) * 4 / 3 + 4,
                        "{plain}: {shown}"
                    );
                    assert_eq!(redaction.found_in(encoded.as_bytes()), Some("TOKEN"));
                }
            }
        }
        assert_eq!(redaction.text("c2VjcmV0cw=="), "c2VjcmV0cw==");
        assert_eq!(format!("{:?}", secrets[0].1), "Secret(..)");
    }
}
