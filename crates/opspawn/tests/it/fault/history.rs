//! A task's log as the product tells it, and the laws that every log obeys by itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use ops_testkit::Http;
use serde_json::Value;

use super::world::text;

/// An event as REST shows it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) seq: u64,
    pub(super) kind: String,
    /// When it was recorded, in microseconds since 1970, cut to milliseconds.
    pub(super) at_us: i64,
    pub(super) data: Value,
}

/// A model call or a tool call.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The key of a ledger call; a model call has none.
    pub(super) key: Option<String>,
    /// Its effect class; a model call has none.
    pub(super) effect: String,
    /// The lease epoch of each intent.
    pub(super) intents: Vec<u64>,
    /// Whether its last intent has neither an outcome nor a decision.
    pub(super) open: bool,
    /// What was decided of it, each time that it was in doubt.
    pub(super) resolutions: Vec<String>,
    /// When its outcome was recorded.
    pub(super) ended_us: Option<i64>,
    /// Input and output tokens of a model call.
    pub(super) usage: (u64, u64),
}

/// A task's whole log.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) events: Vec<Event>,
    pub(super) steps: BTreeMap<u32, Step>,
    /// How often a worker was lost, or gave the task back.
    pub(super) losses: usize,
    /// Calls that were begun again without an outcome, by the lease that did it.
    pub(super) repeats: BTreeMap<u64, Vec<u32>>,
    epoch: u64,
    ended: bool,
}

/// Reads a task's log, page by page.
pub(super) async fn read(http: &Http, id: &str) -> anyhow::Result<History> {
    let mut events = Vec::new();
    let mut path = format!("/api/v1/tasks/{id}/events?limit=50");
    loop {
        let page: Value = http.get(&path).await?.ok()?.json()?;
        for event in page["events"].as_array().context("there are no events")? {
            let at: jiff::Timestamp = text(event, "at").parse()?;
            events.push(Event {
                seq: event["seq"].as_u64().context("an event has no number")?,
                kind: text(event, "type"),
                at_us: at.as_microsecond(),
                data: event["data"].clone(),
            });
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/tasks/{id}/events?limit=50&cursor={cursor}");
    }
    fold(events).with_context(|| format!("the log of {id}"))
}

/// Folds a log.
///
/// # Errors
/// The law that it breaks: numbers without a gap; one submit, first; one end, last; each intent of
/// a call before its outcome; a further intent only under a later lease, and of a write call only
/// because somebody decided so.
fn fold(events: Vec<Event>) -> anyhow::Result<History> {
    let mut history = History::default();
    for (index, event) in events.into_iter().enumerate() {
        ensure!(event.seq == index as u64 + 1, "a gap before {event:?}");
        ensure!(
            (event.seq == 1) == (event.kind == "task.submitted"),
            "{event:?}"
        );
        ensure!(!history.ended, "after the end: {event:?}");
        history.take(&event).with_context(|| format!("{event:?}"))?;
        history.events.push(event);
    }
    Ok(history)
}

impl History {
    /// Its last word, if it has ended.
    pub(super) fn end(&self) -> Option<&str> {
        self.events
            .last()
            .filter(|_| self.ended)
            .map(|event| event.kind.as_str())
    }

    /// When the first event of this kind was recorded.
    pub(super) fn first(&self, kind: &str) -> Option<i64> {
        self.events
            .iter()
            .find(|event| event.kind == kind)
            .map(|event| event.at_us)
    }

    /// The model calls, in order.
    pub(super) fn model_steps(&self) -> Vec<(u32, &Step)> {
        let steps = self.steps.iter().filter(|(_, step)| step.key.is_none());
        steps.map(|(number, step)| (*number, step)).collect()
    }

    /// The call with this ledger key.
    pub(super) fn tool_step(&self, key: &str) -> Option<(u32, &Step)> {
        let found = |step: &Step| step.key.as_deref() == Some(key);
        self.steps
            .iter()
            .find(|(_, step)| found(step))
            .map(|(number, step)| (*number, step))
    }

    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        let number = u32::try_from(event.data["step"].as_u64().unwrap_or(0))?;
        match event.kind.as_str() {
            "task.leased" => self.epoch = event.data["epoch"].as_u64().context("no epoch")?,
            "task.lease_lost" | "task.released" => self.losses += 1,
            "task.completed" | "task.failed" | "task.cancelled" => self.ended = true,
            "model.started" | "tool.started" => self.begin(number)?,
            "tool.called" => {
                let step = self.steps.entry(number).or_default();
                ensure!(step.key.is_none(), "a call is recorded twice");
                step.key = Some(text(&event.data["input"], "key"));
                step.effect = text(&event.data, "effect");
                match event.data["verdict"].as_str() {
                    Some("start") => self.begin(number)?,
                    Some("queue") => {}
                    verdict => bail!("the gate says {verdict:?}"),
                }
            }
            "model.completed" => {
                let tokens = |key: &str| event.data["usage"][key].as_u64().unwrap_or(0);
                let usage = (tokens("input_tokens"), tokens("output_tokens"));
                self.settle(number, event.at_us)?.usage = usage;
            }
            // A further try may follow.
            "model.failed" => {
                let step = self.steps.entry(number).or_default();
                step.open = false;
                // The intent is taken back: nobody was asked.
                if event.data["error"]["code"] == "not_called" {
                    step.intents.pop();
                }
            }
            "tool.completed" | "tool.failed" => {
                self.settle(number, event.at_us)?;
            }
            // The intent is taken back: nothing had begun.
            "tool.resolved" => {
                let step = self.steps.get_mut(&number).context("an unknown step")?;
                step.open = false;
                step.intents.pop();
            }
            "step.resolved" => {
                let resolution = text(&event.data, "resolution");
                if resolution != "retry" {
                    self.settle(number, event.at_us)?;
                }
                let step = self.steps.get_mut(&number).context("an unknown step")?;
                step.open = false;
                ensure!(step.effect == "write", "only writes can be in doubt");
                step.resolutions.push(resolution);
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, number: u32) -> anyhow::Result<()> {
        let step = self.steps.entry(number).or_default();
        ensure!(step.ended_us.is_none(), "begun again after its outcome");
        if step.open {
            ensure!(
                step.intents.last() < Some(&self.epoch),
                "begun twice under one lease"
            );
            ensure!(
                step.effect != "write",
                "a write was repeated, and nobody said so"
            );
            self.repeats.entry(self.epoch).or_default().push(number);
        }
        step.open = true;
        step.intents.push(self.epoch);
        Ok(())
    }

    fn settle(&mut self, number: u32, at_us: i64) -> anyhow::Result<&mut Step> {
        let step = self
            .steps
            .get_mut(&number)
            .context("an outcome without a step")?;
        ensure!(!step.intents.is_empty(), "an outcome without an intent");
        step.open = false;
        ensure!(step.ended_us.replace(at_us).is_none(), "two outcomes");
        Ok(step)
    }
}

/// Whether a step, as `/steps` shows it, has its outcome: after a failed try of a model call another one may
/// follow.
pub(super) fn has_ended(step: &Value) -> bool {
    match step["status"].as_str() {
        Some("completed") => true,
        Some("failed") => step["kind"] != "model",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(seq: u64, kind: &str, data: Value) -> Event {
        let at_us = 1_000_000;
        Event {
            seq,
            kind: kind.to_owned(),
            at_us,
            data,
        }
    }

    /// A worker whose lease was over between an intent and its call: the checker took the failed try for the
    /// outcome, and the call of the next lease for a repetition of it.
    #[test]
    fn a_try_that_was_not_made_is_no_outcome_and_no_intent() {
        let not_called = json!({"step": 1, "error": {"code": "not_called"}});
        let events = vec![
            event(1, "task.submitted", json!({})),
            event(2, "task.leased", json!({"epoch": 1})),
            event(3, "model.started", json!({"step": 1})),
            event(4, "model.failed", not_called),
            event(5, "task.released", json!({})),
            event(6, "task.leased", json!({"epoch": 2})),
            event(7, "model.started", json!({"step": 1})),
        ];
        let history = fold(events).unwrap();
        assert_eq!(history.steps[&1].intents, [2]);
        assert!(history.repeats.is_empty());
        for (kind, status, ended) in [
            ("model", "failed", false),
            ("model", "started", false),
            ("model", "completed", true),
            ("tool", "failed", true),
            ("tool", "completed", true),
        ] {
            let step = json!({"kind": kind, "status": status});
            assert_eq!(has_ended(&step), ended, "{step}");
        }
    }
}
