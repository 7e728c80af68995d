//! Deciding at the terminal what a task waits for: the calls that need approval, and the questions of agents.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    client::Client,
    commands::task::{path_part, questions},
    output::{self, field, status},
};

/// What a person said of a call.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Approve,
    Deny(String),
    Later,
    Unclear,
}

/// Whether a person sits at the terminal.
pub(super) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for what a task waits for. False if it is left to be decided later.
pub(super) async fn decide(client: &Client, id: &str, on: &str) -> Result<bool> {
    match on {
        "approval" => approvals(client, id).await,
        "signal" => answers(client, id).await,
        _ => Ok(false),
    }
}

async fn approvals(client: &Client, id: &str) -> Result<bool> {
    let id = path_part(id);
    let open = format!("/api/v1/approvals?status=pending&task_id={id}&limit=200");
    let page = client.get(&open).await?;
    for approval in page["approvals"].as_array().into_iter().flatten() {
        let step = field(approval, "step");
        status!(
            "step {step} asks for approval of `{}`: {}",
            field(approval, "tool"),
            field(approval, "reason")
        );
        let input = serde_json::to_string_pretty(&approval["input"]).unwrap_or_default();
        status!("{}", output::clean_json(&input));
        for line in crate::commands::approval::beside(approval) {
            status!("{line}");
        }
        let choice = loop {
            let line = line("approve? [y]es, [n]o and why, [l]ater: ").await?;
            match choice(line.as_deref()) {
                Choice::Unclear => status!("write `y`, `n REASON` or `l`"),
                choice => break choice,
            }
        };
        let by = std::env::var("USER").ok().filter(|name| !name.is_empty());
        // The arguments that were shown, and no others.
        let mut body = json!({"by": by, "revision": approval["revision"]});
        let verb = match choice {
            Choice::Approve => "approve",
            Choice::Deny(reason) => {
                body["reason"] = reason.into();
                "deny"
            }
            Choice::Later | Choice::Unclear => return Ok(false),
        };
        let path = format!("/api/v1/approvals/{id}/{step}/{verb}");
        client.post(&path, &body, None).await?;
    }
    Ok(true)
}

/// What a line means; none is the end of the input.
fn choice(line: Option<&str>) -> Choice {
    let Some(line) = line.map(str::trim) else {
        return Choice::Later;
    };
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let reason = match rest.trim() {
        "" => "denied at the terminal",
        reason => reason,
    };
    match (word.to_lowercase().as_str(), rest.trim()) {
        ("y" | "yes", "") => Choice::Approve,
        ("n" | "no", _) => Choice::Deny(reason.to_owned()),
        ("l" | "later", "") => Choice::Later,
        _ => Choice::Unclear,
    }
}

async fn answers(client: &Client, id: &str) -> Result<bool> {
    let task = client
        .get(&format!("/api/v1/tasks/{}", path_part(id)))
        .await?;
    let questions = questions::of_task(client, &task).await?;
    if questions.is_empty() {
        return Ok(false);
    }
    for one in questions {
        status!("{}", one.question);
        if !one.options.is_empty() {
            status!("answers: {}", one.options.join(", "));
        }
        let answer = loop {
            match line("answer (none for later): ").await? {
                Some(answer) if !answer.trim().is_empty() => {
                    let answer = answer.trim().to_owned();
                    if one.options.is_empty() || one.options.contains(&answer) {
                        break answer;
                    }
                    status!("write one of {}", one.options.join(", "));
                }
                Some(_) | None => return Ok(false),
            }
        };
        let body = json!({"name": one.signal, "payload": Value::String(answer)});
        let path = format!("/api/v1/tasks/{}/signals", path_part(&one.task));
        client.post(&path, &body, None).await?;
    }
    Ok(true)
}

/// A line of the terminal; none at the end of the input. A thread of its own reads it, so that an interrupt
/// need not wait for it.
async fn line(prompt: &str) -> Result<Option<String>> {
    let mut stderr = std::io::stderr();
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let _ = sender.send(read.map(|bytes| (bytes > 0).then_some(line)));
    });
    let read = receiver.await.context("the terminal cannot be read")?;
    read.context("the terminal cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_approves_or_denies() {
        let deny = |reason: &str| Choice::Deny(reason.to_owned());
        for (line, wanted) in [
            (Some("y\n"), Choice::Approve),
            (Some(" YES "), Choice::Approve),
            (Some("y not"), Choice::Unclear),
            (Some("yep"), Choice::Unclear),
            (Some(""), Choice::Unclear),
            (Some("n"), deny("denied at the terminal")),
            (Some("no  too dear \n"), deny("too dear")),
            (Some("l"), Choice::Later),
            (None, Choice::Later),
        ] {
            assert_eq!(choice(line), wanted, "{line:?}");
        }
    }
}
