//! A file of cases, and the export of an old run.

use std::path::PathBuf;

use super::{file, recording::Recording};

/// A file of cases: one that is read has cases, each with a name of its own.
pub(crate) fn cases(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match file::parse(&text, PathBuf::new()) {
        Ok(file) => {
            let mut names: Vec<&str> = file.cases.iter().map(|case| &*case.name).collect();
            names.sort_unstable();
            assert!(!names.is_empty() && names.windows(2).all(|pair| pair[0] != pair[1]));
            let _ = file.unknown_tool(&["calculator".to_owned()]);
        }
        Err(message) => assert!(!message.is_empty()),
    }
}

/// An export.
pub(crate) fn recording(data: &[u8]) {
    match Recording::parse(&String::from_utf8_lossy(data)) {
        Ok(recording) => drop(recording.tools().collect::<Vec<_>>()),
        Err(message) => assert!(!message.is_empty()),
    }
}
