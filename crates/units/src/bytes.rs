//! Numbers of bytes: a whole number, or a number with a unit such as `512MiB`.

/// The form of a number of bytes, for messages: "write ...".
pub const FORM: &str = "a number of bytes, or a text such as \"512MiB\"";

/// Reads text: a whole number, alone or with `B`, `KiB`, `MiB` or `GiB`.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let shift = match text[end..].trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    text[..end].parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_of_powers_of_two() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("17B", Some(17)),
            ("1 KiB", Some(1 << 10)),
            ("512MiB", Some(512 << 20)),
            ("2GiB", Some(2 << 30)),
            ("", None),
            ("MiB", None),
            ("1.5MiB", None),
            ("1MB", None),
            ("-1", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }
}
