//! The configuration file and the `.env` of version 1.

use std::collections::BTreeMap;

use super::{Config, file};

/// One text as a configuration file and as variables. A refusal says what is wrong.
pub(crate) fn file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let dotenv = file::parse_dotenv(&text);
    let _ = Config::layered(&[], None, &|_| None, &dotenv);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("opspawn.toml");
    std::fs::write(&path, data).expect("a file");
    if let Err(error) = Config::layered(&[], Some(&path), &|_| None, &BTreeMap::new()) {
        assert!(!format!("{error:#}").is_empty());
    }
}
