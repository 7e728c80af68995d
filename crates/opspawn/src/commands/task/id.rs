//! Which task a command means: its whole id, the beginning of one, or `last`.

use anyhow::Result;

use crate::{
    client::{self, Client},
    exit::{self, Exit},
    output::field,
};

/// `task_` and a UUID.
const ID_LENGTH: usize = 41;
/// Tasks that are looked through; names have the text within them as well.
const LOOKED_AT: u32 = 200;
/// Digits that tell tasks apart.
const MIN_DIGITS: usize = 4;

/// The whole id of the task that is meant.
///
/// # Errors
/// If the text cannot be an id or a part of one, is too short, or is a part of several tasks' ids.
pub(in crate::commands) async fn resolve(client: &Client, given: &str) -> Result<String> {
    if given == "last" {
        let page = client.get("/api/v1/tasks/?limit=1").await?;
        return match page["tasks"].get(0) {
            Some(task) => Ok(field(task, "task_id")),
            None => Err(usage("there is no task yet".to_owned())),
        };
    }
    if let Some(problem) = problem(given) {
        return Err(usage(problem));
    }
    let Some(begins) = prefix(given) else {
        // The server says what is wrong with it.
        return Ok(given.to_owned());
    };
    let path = format!(
        "/api/v1/tasks/?limit={LOOKED_AT}&q={}",
        client::escape(&begins)
    );
    let page = client.get(&path).await?;
    let ids: Vec<&str> = page["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|task| task["task_id"].as_str())
        .filter(|id| id.starts_with(&begins) || ends(id, given))
        .collect();
    match ids.as_slice() {
        [] => Ok(given.to_owned()),
        [one] => Ok((*one).to_owned()),
        [first, second, ..] => Err(usage(format!(
            "{} tasks have an id that begins or ends with `{given}`, such as {first} and {second}; \
             write more of it",
            ids.len()
        ))),
    }
}

/// Why no task is meant, whatever tasks there are.
fn problem(given: &str) -> Option<String> {
    let digits = given.strip_prefix("task_").unwrap_or(given);
    if digits.is_empty() {
        return Some("the id of a task is empty; `opspawn task ls` lists them".to_owned());
    }
    if super::path_part(given) != given {
        return Some(format!(
            "`{given}` is no id of a task; `opspawn task ls` lists them, and `last` is the newest one"
        ));
    }
    (digits.len() < MIN_DIGITS && is_hex(digits)).then(|| {
        format!("`{given}` is too short for an id; write {MIN_DIGITS} characters of it or more")
    })
}

fn is_hex(digits: &str) -> bool {
    digits.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

fn usage(message: String) -> anyhow::Error {
    exit::error(Exit::Usage, message)
}

/// Whether an id ends like this. Ids begin with the time, so that the end tells new ones apart sooner.
fn ends(id: &str, given: &str) -> bool {
    let end = given.to_ascii_lowercase().replace('-', "");
    !end.starts_with("task_") && id.replace('-', "").ends_with(&end)
}

/// What the id of the task begins with, if the text is a part of one.
fn prefix(given: &str) -> Option<String> {
    let digits = given.strip_prefix("task_").unwrap_or(given);
    let whole = format!("task_{}", digits.to_ascii_lowercase());
    (is_hex(digits) && digits.len() >= MIN_DIGITS && whole.len() < ID_LENGTH).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_of_an_id_is_looked_for() {
        let id = "task_01a20608-29a8-7d70-ba33-80800f9a78c2";
        assert_eq!(id.len(), ID_LENGTH);
        for (given, begins) in [
            ("01a20608-29A8", Some("task_01a20608-29a8")),
            ("task_01a2", Some("task_01a2")),
            (id, None),
            ("01a", None),
            ("report", None),
            ("task_none", None),
            ("", None),
        ] {
            assert_eq!(prefix(given).as_deref(), begins, "{given}");
        }
    }

    #[test]
    fn the_end_of_an_id_names_it_as_well() {
        let id = "task_01a20608-29a8-7d70-ba33-80800f9a78c2";
        for (given, expected) in [
            ("78c2", true),
            ("78C2", true),
            ("33-80800f9a78c2", true),
            ("3380800f9a78c2", true),
            ("78c", false),
            ("task_78c2", false),
        ] {
            assert_eq!(ends(id, given), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_id_asks_for_no_task() {
        for (given, says) in [
            ("", "is empty"),
            ("task_", "is empty"),
            ("..", "is no id"),
            ("../agents", "is no id"),
            ("task_01a2?x", "is no id"),
            ("01", "too short"),
            ("task_01", "too short"),
        ] {
            let problem = problem(given).unwrap_or_default();
            assert!(problem.contains(says), "{given}: {problem}");
        }
        for given in [
            "task_01a2",
            "01a2",
            "report",
            "task_01a20608-29a8-7d70-ba33-80800f9a78c2",
        ] {
            assert_eq!(problem(given), None);
        }
    }
}
