//! `opspawn task questions`: what agents ask people, and nobody has answered.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::Client,
    output::{self, Table, field},
};

/// How the signals that answer questions begin; the call follows.
const ANSWER: &str = "human.call_";

/// A question that waits for its answer.
pub(in crate::commands) struct Question {
    /// The task.
    pub(in crate::commands) task: String,
    /// The call.
    pub(in crate::commands) step: u64,
    /// The signal that answers it.
    pub(in crate::commands) signal: String,
    /// The words.
    pub(in crate::commands) question: String,
    /// The answers to choose from; empty for any text.
    pub(in crate::commands) options: Vec<String>,
}

/// The open questions of a waiting task.
pub(in crate::commands) async fn of_task(client: &Client, task: &Value) -> Result<Vec<Question>> {
    let id = field(task, "task_id");
    let signals = task["state_detail"]["signals"].as_array();
    let mut open: Vec<(u64, &str)> = signals
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|signal| Some((signal.strip_prefix(ANSWER)?.parse().ok()?, signal)))
        .collect();
    let mut found = Vec::new();
    let mut cursor = String::new();
    while !open.is_empty() {
        let path = super::path(&id, &format!("/steps?limit=1000{cursor}"));
        let page = client.get(&path).await?;
        for step in page["steps"].as_array().into_iter().flatten() {
            let number = step["step"].as_u64();
            let Some(at) = open.iter().position(|(open, _)| Some(*open) == number) else {
                continue;
            };
            let (number, signal) = open.swap_remove(at);
            // A tool that is no question by itself, like one of an MCP server, says its question when it waits.
            let asked = match step["input"]["question"].is_string() {
                true => step["input"].clone(),
                false => prompt(client, &id, number).await?,
            };
            let options = asked["options"].as_array();
            let options = options.into_iter().flatten().map(output::plain);
            found.push(Question {
                task: id.clone(),
                step: number,
                signal: signal.to_owned(),
                question: field(&asked, "question"),
                options: options.collect(),
            });
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    Ok(found)
}

/// The prompt that a call waits with, from the log: the last one counts.
async fn prompt(client: &Client, task: &str, step: u64) -> Result<Value> {
    let mut prompt = Value::Null;
    let mut cursor = String::new();
    loop {
        let path = super::path(task, &format!("/events?limit=1000{cursor}"));
        let page = client.get(&path).await?;
        for event in page["events"].as_array().into_iter().flatten() {
            if event["type"] == "tool.waiting" && event["data"]["step"] == step {
                prompt = event["data"]["wait"]["prompt"].clone();
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(prompt),
        }
    }
}

/// Lists the open questions of every task, the newest task first.
pub(super) async fn list(client: &Client, json: bool) -> Result<()> {
    let mut questions = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/tasks/?state=waiting&limit=100{cursor}");
        let page = client.get(&path).await?;
        for task in page["tasks"].as_array().into_iter().flatten() {
            questions.extend(of_task(client, task).await?);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    if json {
        let rows = questions.iter().map(|one| {
            json!({
                "task_id": one.task, "step": one.step, "signal": one.signal,
                "question": one.question, "options": one.options,
            })
        });
        output::json(&json!({"questions": rows.collect::<Vec<_>>()}));
        return Ok(());
    }
    let mut table = Table::new(&["TASK", "STEP", "QUESTION", "OPTIONS"]);
    for one in &questions {
        table.add_row([
            one.task.clone(),
            one.step.to_string(),
            output::cut(&one.question, 80),
            output::cut(&one.options.join(", "), 40),
        ]);
    }
    table.print();
    Ok(())
}
