//! The name that was probably meant by an unknown name.

use crate::shown;

/// A name far longer than any known name is no typing error, and costly to compare.
const MAX_LENGTH: usize = 80;
/// Known names that a message lists.
const MAX_LISTED: usize = 24;

/// The known name that was probably meant, if a known name is much like the unknown name.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let ranked = ranked(name, known);
    ranked.first().map(|(_, candidate)| *candidate)
}

/// The known names that are most like a name, the nearest first, and no more than so many.
#[must_use]
pub fn several<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    limit: usize,
) -> Vec<&'a str> {
    let ranked = ranked(name, known).into_iter().take(limit);
    ranked.map(|(_, candidate)| candidate).collect()
}

/// The words about a name that is not known: the one that was probably meant, else those that there
/// are. It goes behind a semicolon.
#[must_use]
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(name, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let mut listed: Vec<String> = Vec::new();
    let mut more = 0;
    for name in known {
        if listed.len() < MAX_LISTED {
            listed.push(format!("`{name}`"));
        } else {
            more += 1;
        }
    }
    let and_more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match listed.as_slice() {
        [] => "none is known".to_owned(),
        listed => format!("known are {}{and_more}", listed.join(", ")),
    }
}

/// Says that a name is not known, and which name was probably meant.
#[must_use]
pub fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    format!("unknown {what} `{}`; {}", shown(name), hint(name, known))
}

/// Known names that are much like the name, by how much they differ and then by the alphabet.
fn ranked<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    if name.len() > MAX_LENGTH {
        return Vec::new();
    }
    let name = plain(name);
    if name.is_empty() {
        return Vec::new();
    }
    let mut ranked: Vec<_> = known
        .into_iter()
        .filter_map(|candidate| Some((distance(&name, &plain(candidate))?, candidate)))
        .collect();
    ranked.sort_unstable();
    ranked
}

/// A name without the marks that people write in different ways.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['-', ' '], "_")
}

/// How many typing errors lie between the names; none if they have little in common. A name that a
/// part of another begins with is like it, however much is missing.
fn distance(name: &str, candidate: &str) -> Option<usize> {
    let whole = strsim::osa_distance(name, candidate);
    // The end of a path alone: a city without its continent, a setting without its table.
    let end = candidate.rsplit(['.', '/']).next().unwrap_or(candidate);
    let of_end = strsim::osa_distance(name, end);
    let distance = whole.min(of_end);
    let is_part = name.len() > 2
        && candidate
            .match_indices(name)
            .any(|(at, _)| at == 0 || candidate[..at].ends_with(['_', '.', '/']));
    let like = whole <= 1 + candidate.len() / 4 || of_end <= 1 + end.len() / 4;
    (like || is_part).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_answered_with_the_name_that_was_meant() {
        let known = ["task_type", "input_data", "run_at", "limits.timeout"];
        for (name, meant) in [
            ("imput_data", Some("input_data")),
            ("inputData", Some("input_data")),
            ("run-at", Some("run_at")),
            ("Run At", Some("run_at")),
            ("taks_type", Some("task_type")),
            ("type", Some("task_type")),
            ("timeout", Some("limits.timeout")),
            ("timeot", Some("limits.timeout")),
            ("time", Some("limits.timeout")),
            ("out", None),
            ("colour", None),
            ("at", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
        assert_eq!(nearest(&"run_at".repeat(100), known), None);
    }

    #[test]
    fn several_names_come_in_their_order() {
        let tools = ["write_file", "read_file", "read_result", "calculator"];
        assert_eq!(several("read_fil", tools, 3), ["read_file"]);
        assert_eq!(several("read", tools, 3), ["read_file", "read_result"]);
        assert_eq!(several("file", tools, 1), ["read_file"]);
    }

    #[test]
    fn without_a_near_name_the_known_ones_are_listed() {
        assert_eq!(
            unknown("field", "colour", ["task_type", "run_at"]),
            "unknown field `colour`; known are `task_type`, `run_at`"
        );
        assert_eq!(hint("x", []), "none is known");
        let many: Vec<String> = (0..30).map(|n| format!("name_{n}")).collect();
        let said = hint("colour", many.iter().map(String::as_str));
        assert!(said.ends_with("`name_23` and 6 more"), "{said}");
    }
}
