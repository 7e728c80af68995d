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
/// If no task or several tasks have such an id.
pub(in crate::commands) async fn resolve(client: &Client, given: &str) -> Result<String> {
    if given == "last" {
        let page = client.get("/api/v1/tasks/?limit=1").await?;
        return match page["tasks"].get(0) {
            Some(task) => Ok(field(task, "task_id")),
            None => Err(usage("there is no task yet".to_owned())),
        };
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
        .filter(|id| id.starts_with(&begins))
        .collect();
    match ids.as_slice() {
        [] => Ok(given.to_owned()),
        [one] => Ok((*one).to_owned()),
        [first, second, ..] => Err(usage(format!(
            "{} tasks have an id that begins with `{given}`, such as {first} and {second}; write more \
             of it",
            ids.len()
        ))),
    }
}

fn usage(message: String) -> anyhow::Error {
    exit::error(Exit::Usage, message)
}

/// What the id of the task begins with, if the text is a part of one.
fn prefix(given: &str) -> Option<String> {
    let digits = given.strip_prefix("task_").unwrap_or(given);
    let fits = digits.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let whole = format!("task_{}", digits.to_ascii_lowercase());
    (fits && digits.len() >= MIN_DIGITS && whole.len() < ID_LENGTH).then_some(whole)
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
}
