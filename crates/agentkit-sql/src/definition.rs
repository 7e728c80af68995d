//! The declaration of a database: a table `[tools.sql.NAME]`.

use std::{path::PathBuf, time::Duration};

use agentkit_tools::declared::{bytes, duration};
use serde::Deserialize;

/// A database that agents may ask.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Content of the database, for the model.
    pub description: String,
    /// A SQLite file, relative to the configuration file.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Name of the secret that holds the URL of a PostgreSQL database.
    #[serde(default)]
    pub url_secret: Option<String>,
    /// The most rows of a result.
    #[serde(default = "thousand")]
    pub rows: u32,
    /// The most bytes of a result.
    #[serde(default = "mebibyte", deserialize_with = "bytes")]
    pub bytes: u64,
    /// The longest that a statement may take.
    #[serde(default = "half_minute", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Statements at once, over all tasks.
    #[serde(default = "four")]
    pub concurrency: u32,
}

/// Mistake of a declaration: a sentence that names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(pub String);

/// Location of a database.
pub(crate) enum Location<'a> {
    /// A SQLite file.
    File(&'a PathBuf),
    /// A PostgreSQL server, by the name of the secret with its URL.
    Server(&'a str),
}

fn thousand() -> u32 {
    1_000
}

fn mebibyte() -> u64 {
    1 << 20
}

fn half_minute() -> Duration {
    Duration::from_secs(30)
}

fn four() -> u32 {
    4
}

impl Definition {
    /// Checks the declaration.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), Mistake> {
        if self.description.trim().is_empty() {
            let message = "`description` must tell a model what the database holds";
            return Err(Mistake(message.to_owned()));
        }
        self.place()?;
        let limits = [
            ("rows", u64::from(self.rows), 1, 100_000),
            ("bytes", self.bytes, 1 << 10, 32 << 20),
            ("concurrency", u64::from(self.concurrency), 1, 64),
        ];
        for (name, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(Mistake(format!(
                    "`{name}` must be {least} to {most}, and is {value}"
                )));
            }
        }
        if self.timeout.is_zero() || self.timeout > Duration::from_secs(3_600) {
            let message = "`timeout` must be more than nothing and at most an hour";
            return Err(Mistake(message.to_owned()));
        }
        Ok(())
    }

    pub(crate) fn place(&self) -> Result<Location<'_>, Mistake> {
        match (&self.file, &self.url_secret) {
            (Some(file), None) => Ok(Location::File(file)),
            (None, Some(name)) if name.contains("://") => Err(Mistake(
                "`url_secret` is the name of a secret, and not a URL: a password stays out of the file".to_owned(),
            )),
            (None, Some(name)) => Ok(Location::Server(name)),
            (Some(_), Some(_)) | (None, None) => Err(Mistake(
                "write either `file`, a SQLite file, or `url_secret`, the name of the secret with a PostgreSQL URL"
                    .to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn definition(fields: Value) -> Result<Definition, String> {
        let mut whole = json!({"description": "Orders"});
        for (name, value) in fields.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let read: Definition = serde_json::from_value(whole).map_err(|error| error.to_string())?;
        read.check().map_err(|mistake| mistake.to_string())?;
        Ok(read)
    }

    #[test]
    fn a_declaration_names_one_place_and_has_bounds() {
        let least = definition(json!({"file": "shop.db"})).unwrap();
        assert_eq!(
            (least.rows, least.bytes, least.concurrency),
            (1_000, 1 << 20, 4)
        );
        let most =
            json!({"url_secret": "SHOP_URL", "bytes": "32MiB", "rows": 100_000, "timeout": "1h"});
        definition(most).unwrap();
        for (fields, says) in [
            (json!({}), "write either `file`"),
            (
                json!({"file": "x", "url_secret": "Y"}),
                "write either `file`",
            ),
            (
                json!({"url_secret": "postgres://u:p@h/d"}),
                "is the name of a secret",
            ),
            (json!({"file": "x", "rows": 0}), "`rows` must be 1 to"),
            (
                json!({"file": "x", "bytes": "33MiB"}),
                "`bytes` must be 1024 to",
            ),
            (
                json!({"file": "x", "bytes": "many"}),
                "write a number of bytes",
            ),
            (json!({"file": "x", "timeout": "61m"}), "at most an hour"),
            (json!({"file": "x", "concurrency": 65}), "`concurrency`"),
            (json!({"file": "x", "description": " "}), "`description`"),
            (json!({"file": "x", "fil": "y"}), "unknown field `fil`"),
        ] {
            let error = definition(fields.clone()).unwrap_err();
            assert!(error.contains(says), "{fields}: {error}");
            assert!(!error.contains("u:p@h"), "{error}");
        }
    }
}
