//! Names that were probably meant.

/// Says that a name is not known, and which one was probably meant.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let shown: String = name.chars().take(80).collect();
    match nearest(name, known) {
        Some(meant) => format!("unknown {what} `{shown}`; did you mean `{meant}`?"),
        None => {
            let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("unknown {what} `{shown}`; known are {}", known.join(", "))
        }
    }
}

/// The known name that differs by a typing error or two, if there is one.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // A name far longer than any known one is no typing error, and costly to compare.
    if name.len() > 80 {
        return None;
    }
    let name = name.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| (strsim::osa_distance(&name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_answered_with_the_name_that_was_meant() {
        let known = ["task_type", "input_data", "run_at"];
        for (name, meant) in [
            ("imput_data", Some("input_data")),
            ("inputData", Some("input_data")),
            ("run-at", Some("run_at")),
            ("taks_type", Some("task_type")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), meant, "{name}");
        }
        assert_eq!(
            unknown("field", "colour", &known),
            "unknown field `colour`; known are `task_type`, `input_data`, `run_at`"
        );
    }
}
