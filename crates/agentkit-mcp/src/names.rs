//! Names of tools for models, and back.
//!
//! A server may name its tools as it likes (`calendar.list`, `a/b`, `get user`); a model can call names of
//! `[a-zA-Z0-9_-]{1,64}` only. The identity of a tool is the pair of server and raw name: that is what goes
//! over the wire and what rules of `mcp_servers.yaml` speak of. The name for models is made from the pair
//! alone, so that it is the same whatever other servers there are and in whichever order they start.

use agentkit::tool::digest_hex;

/// The longest name that every model takes.
const MAX_NAME: usize = 64;
/// How many digits of the pair's digest tell names apart that would be one.
const DIGITS: usize = 8;

/// The name that models know a tool by: `server__tool`, with a suffix where that is not a name that models
/// take, or could be the name of another pair.
#[must_use]
pub fn native(server: &str, tool: &str) -> String {
    let plain = format!("{server}__{tool}");
    let parts = [server, tool];
    let is_plain = plain.len() <= MAX_NAME
        && parts.iter().all(|part| !part.is_empty() && part.chars().all(fits))
        // `a__b` and `c`, or `a` and `b__c`? `a_` and `b`, or `a` and `_b`?
        && parts.iter().all(|part| !part.contains("__"))
        && !server.ends_with('_')
        && !tool.starts_with('_')
        && server.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_plain {
        return plain;
    }
    let clean = |c: char| if fits(c) { c } else { '_' };
    let mut name: String = plain.chars().map(clean).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, 'm');
    }
    name.truncate(MAX_NAME - DIGITS - 1);
    format!("{name}_{}", &suffix(server, tool)[..DIGITS])
}

/// Begin of the names of a server's tools: `server__`.
#[must_use]
pub fn prefix(server: &str) -> String {
    let name = native(server, "x");
    name[..name.rfind("__x").map_or(name.len(), |at| at + 2)].to_owned()
}

/// The name of a server's source of tools: `[a-z0-9_-]{1,64}`.
#[must_use]
pub fn source(server: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    if !server.is_empty() && server.len() <= MAX_NAME && server.chars().all(fits) {
        return server.to_owned();
    }
    let lower = server.to_lowercase();
    let mut name: String = lower
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    name.truncate(MAX_NAME - DIGITS - 1);
    format!("{name}-{}", &suffix(server, "")[..DIGITS])
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn suffix(server: &str, tool: &str) -> String {
    digest_hex(format!("{server}\0{tool}").as_bytes())
}

/// A pattern of raw names; `*` stands for any number of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(pub String);

impl Glob {
    /// Whether the whole name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        for part in parts {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// ahead-tools/6.
    #[test]
    fn names_that_are_fine_stay_and_others_are_mended() {
        assert_eq!(native("github", "get-issue"), "github__get-issue");
        for tool in [
            "calendar.list",
            "a/b",
            "get user",
            "_x",
            "🙂",
            &"x".repeat(70),
            "",
            "a__b",
        ] {
            let name = native("s", tool);
            assert!(name.len() <= 64 && name.chars().all(fits), "{name}");
            assert!(name.starts_with("s__"), "{name}");
        }
        assert_eq!(native("s", "1x"), "s__1x");
        assert!(native("1s", "x").starts_with("m1s__x_"));
        assert_eq!(native(&"s".repeat(40), &"t".repeat(40)).len(), 64);
    }

    /// ahead-tools/7.
    #[test]
    fn no_two_pairs_share_a_name() {
        let pairs = [
            ("s", "read-file"),
            ("s", "read_file"),
            ("s", "read.file"),
            ("s", "read file"),
            ("foo-bar", "search"),
            ("foo_bar", "search"),
            ("foo.bar", "search"),
            ("a__b", "c"),
            ("a", "b__c"),
            ("a_", "b"),
            ("a", "_b"),
            ("a", "b"),
        ];
        let mut names = BTreeMap::new();
        for pair in pairs {
            assert_eq!(names.insert(native(pair.0, pair.1), pair), None, "{pair:?}");
        }
    }

    #[test]
    fn sources_have_names_that_agents_can_write() {
        assert_eq!(source("github"), "github");
        let (a, b) = (source("GitHub"), source("github "));
        assert!(a.starts_with("github-") && b.starts_with("github--") && a != b);
    }

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, expected) in [
            ("*", "", true),
            ("get_*", "get_user", true),
            ("get_*", "forget_it", false),
            ("*.list", "calendar.list", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("x", "x", true),
            ("x", "xx", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(
                Glob(glob.to_owned()).matches(name),
                expected,
                "{glob} {name}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_pair_has_a_name_of_its_own(a in "[a-c_.-]{1,6}", b in "[a-c_.-]{1,6}", c in "[a-c_.-]{1,6}", d in "[a-c_.-]{1,6}") {
            prop_assume!((&a, &b) != (&c, &d));
            prop_assert_ne!(native(&a, &b), native(&c, &d));
        }
    }
}
