//! Following a task until it ends, or waits for a person.

use anyhow::Result;
use serde_json::Value;

use super::{Progress, decide};
use crate::{
    client::{Client, StreamEvent},
    commands::stop_requested,
    output::{self, status},
};

/// What a task waits for.
pub(super) struct Parked {
    /// Its kind, as the task's `state_detail` says it.
    pub(super) on: &'static str,
    /// What a person has to do.
    pub(super) sentence: String,
}

/// Follows a task until it has ended, or waits for a person and is not decided here: then the sentence says
/// what that person has to do. None if the command is interrupted. `see` gets the events in place of the
/// terminal if they are wanted as JSON.
pub(in crate::commands) async fn until_settled(
    client: &Client,
    id: &str,
    json: bool,
    mut see: impl FnMut(&StreamEvent),
) -> Result<Option<Option<String>>> {
    let mut last = 0;
    loop {
        let mut progress = Progress::default();
        let followed = follow(client, id, &mut last, |event| match json {
            true => see(event),
            false => progress.see(event),
        });
        let parked = tokio::select! {
            followed = followed => followed?,
            stop = stop_requested() => {
                stop?;
                drop(progress);
                status!("{}", interrupted(client, id));
                return Ok(None);
            }
        };
        drop(progress);
        let Some(parked) = parked else {
            return Ok(Some(None));
        };
        if json || !decide::is_interactive() {
            return Ok(Some(Some(parked.sentence)));
        }
        let decided = tokio::select! {
            decided = decide::decide(client, id, parked.on) => decided?,
            stop = stop_requested() => {
                stop?;
                status!("{}", interrupted(client, id));
                return Ok(None);
            }
        };
        if !decided {
            return Ok(Some(Some(parked.sentence)));
        }
    }
}

/// Follows a task from an event on until it has ended, or waits for a person.
async fn follow(
    client: &Client,
    id: &str,
    last: &mut u64,
    mut see: impl FnMut(&StreamEvent),
) -> Result<Option<Parked>> {
    loop {
        let mut parked = None;
        let followed = client.follow(id, last, |event| {
            see(event);
            parked = parks(id, event);
            parked.is_none()
        });
        followed.await?;
        let Some((on, sentence)) = parked else {
            return Ok(None);
        };
        // A log is followed from its beginning: what it says there may be over.
        let task = client.get(&format!("/api/v1/tasks/{id}")).await?;
        if task["state"] == "waiting" && task["state_detail"]["on"] == on {
            return Ok(Some(Parked { on, sentence }));
        }
    }
}

/// What a task waits for and what a person has to do, if this event says that it waits for one.
fn parks(id: &str, event: &StreamEvent) -> Option<(&'static str, String)> {
    if event.kind != "task.waiting" {
        return None;
    }
    let wait = &event.data["data"]["wait"];
    if goes_on(wait) {
        return None;
    }
    let steps = listed(&wait["steps"]);
    // With one step, the printed command can be run as it is.
    let step = match wait["steps"].as_array().map(Vec::as_slice) {
        Some([one]) => one.to_string(),
        Some(_) | None => "STEP".to_owned(),
    };
    Some(match wait["on"].as_str()? {
        "in_doubt" => (
            "in_doubt",
            format!(
                "the task waits: the outcome of step {steps} is unknown. See `opspawn reconcile \
                 ls`, then `opspawn reconcile resolve {id} {step} done|failed|retry`"
            ),
        ),
        "approval" => (
            "approval",
            format!(
                "the task waits for approval of step {steps}. See `opspawn approval get {id} {step}`, \
                 then `opspawn approval approve {id} {step}` or `opspawn approval deny {id} {step} \
                 --reason TEXT`"
            ),
        ),
        "budget" => (
            "budget",
            format!(
                "the task waits: {}. See {}",
                wait["message"].as_str().unwrap_or_default(),
                raised_by(id, wait["message"].as_str().unwrap_or_default())
            ),
        ),
        "signal" => (
            "signal",
            format!(
                "the task waits for {}. See `opspawn task logs {id}`, then answer with `opspawn \
                 task signal {id} ANSWER`",
                listed(&wait["names"])
            ),
        ),
        _ => return None,
    })
}

/// Whether a wait for a limit ends by itself: it is the task's turn with its provider, or calls of other tasks end.
fn goes_on(wait: &Value) -> bool {
    let starts = |key: &str, start: &str| {
        wait[key]
            .as_str()
            .is_some_and(|text| text.starts_with(start))
    };
    wait["on"] == "budget"
        && (starts("message", "the provider `") || starts("message", "calls under way fill"))
}

/// The command for a limit that a task waits for, with a value to fill in. A budget of many tasks is in the configuration.
pub(crate) fn raised_by(id: &str, message: &str) -> String {
    if message.starts_with("the budget `") || message.starts_with("calls under way fill") {
        return "`opspawn budget ls`".to_owned();
    }
    if message.starts_with("the provider `") {
        return "`opspawn doctor`".to_owned();
    }
    let flags = [
        ("max_tokens", "--max-tokens N"),
        ("max_cost", "--max-cost-usd USD"),
        ("max_steps", "--max-steps N"),
    ];
    let found = flags.iter().find(|(limit, _)| message.contains(limit));
    let flag = found.map_or("--max-steps N", |(_, flag)| flag);
    format!("`opspawn task limit {id} {flag}`")
}

/// What an interrupt leaves behind.
fn interrupted(client: &Client, id: &str) -> String {
    if client.is_embedded() {
        format!(
            "interrupted: nothing works on the task any more. It goes on with `opspawn task watch \
             {id}`, and beside whatever `opspawn run` or `opspawn dev` does in this folder next; \
             `opspawn task cancel {id}` ends it"
        )
    } else {
        format!(
            "interrupted: the server goes on with the task. Follow it with `opspawn task watch {id}`, \
             or end it with `opspawn task cancel {id}`"
        )
    }
}

/// Names the tasks of earlier commands that go on in this process, and cost what they cost: it has just
/// become the folder's owner, and runs whatever is there.
pub(in crate::commands) async fn resumed(
    client: &Client,
    own: Option<&str>,
) -> Result<Option<String>> {
    if !client.is_embedded() {
        return Ok(None);
    }
    let page = client
        .get("/api/v1/tasks/?state=pending,running&limit=100")
        .await?;
    let ids: Vec<&str> = page["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|task: &Value| task["task_id"].as_str())
        .filter(|id| Some(*id) != own)
        .collect();
    Ok(match ids.as_slice() {
        [] => None,
        [one] => Some(format!(
            "the unfinished task {one} goes on as well; `opspawn task cancel {one}` ends it"
        )),
        [first, more @ ..] => Some(format!(
            "unfinished tasks go on as well: {first} and {}{} more; see `opspawn task ls --state \
             pending,running`, and end one with `opspawn task cancel ID`",
            more.len(),
            if page["next_cursor"].is_null() {
                ""
            } else {
                " or"
            },
        )),
    })
}

/// The items of a list as people read them.
fn listed(items: &Value) -> String {
    let items = items.as_array().map_or(&[][..], Vec::as_slice);
    let items: Vec<String> = items.iter().map(output::plain).collect();
    items.join(", ")
}
