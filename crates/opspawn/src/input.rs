//! Texts that a command reads: a file or standard input, of a bounded size. A device has no end.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The text of a file, of so many bytes at most.
///
/// # Errors
/// If it cannot be read, is larger, or is not UTF-8.
pub(crate) fn file(path: &Path, max: u64) -> io::Result<String> {
    text(File::open(path)?, max)
}

/// The text of standard input, of so many bytes at most.
///
/// # Errors
/// As for [`file()`].
pub(crate) fn stdin(max: u64) -> io::Result<String> {
    text(io::stdin().lock(), max)
}

fn text(from: impl Read, max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let message = format!("it is larger than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text (UTF-8)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_a_largest_size() {
        assert_eq!(text(&b"four"[..], 4).unwrap(), "four");
        let error = text(io::repeat(b'x'), 4).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 4 bytes");
        let error = text(&b"\xff"[..], 4).unwrap_err();
        assert_eq!(error.to_string(), "it is not text (UTF-8)");
        assert!(file(Path::new("/dev/zero"), 1 << 10).is_err());
    }
}
