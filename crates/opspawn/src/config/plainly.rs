//! Messages of the TOML reader in the words of this program.

/// Words of the reader for kinds of values, and ours.
const KINDS: [(&str, &str); 9] = [
    ("path string", "a text"),
    ("a sequence", "a list"),
    ("a string", "a text"),
    ("a boolean", "`true` or `false`"),
    ("a map", "a table"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("usize", "a whole number"),
    ("u16", "a whole number"),
];

/// The message of a mistake: the nearest name for one that is not known, and kinds of values as the documentation names
/// them.
pub(super) fn plainly(message: &str) -> String {
    let message = message.trim_end();
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if let [name, known @ ..] = names.as_slice() {
        let hint = || units::nearest::hint(name, known.iter().copied());
        if message.starts_with("unknown field") {
            return format!("there is no key `{name}`; {}", hint());
        }
        if message.starts_with("unknown variant") {
            return format!("`{name}` is not known; {}", hint());
        }
        if message.starts_with("missing field") {
            return format!("`{name}` is missing");
        }
    }
    let Some((is, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return message.to_owned();
    };
    let kind = KINDS.iter().find(|(theirs, _)| *theirs == expected);
    let kind = kind.map_or(expected, |(_, ours)| ours);
    let is = is
        .replace("string ", "the text ")
        .replace("sequence", "a list");
    let is = is
        .replace("integer ", "the number ")
        .replace("boolean ", "");
    format!("it must be {kind}, and is {is}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_words_are_ours() {
        for (theirs, ours) in [
            (
                "unknown field `comand`, expected one of `description`, `command`\n",
                "there is no key `comand`; did you mean `command`?",
            ),
            (
                "unknown field `x`, expected `reads` or `writes`",
                "there is no key `x`; known are `reads`, `writes`",
            ),
            (
                "unknown variant `writes`, expected one of `pure`, `write`",
                "`writes` is not known; did you mean `write`?",
            ),
            ("missing field `command`", "`command` is missing"),
            (
                "invalid type: string \"a\", expected a sequence",
                "it must be a list, and is the text \"a\"",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                "it must be a whole number, and is the number `-1`",
            ),
            ("duplicate key", "duplicate key"),
        ] {
            assert_eq!(plainly(theirs), ours);
        }
    }
}
