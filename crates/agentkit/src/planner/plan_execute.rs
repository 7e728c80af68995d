//! Plan and execute: the model makes a plan, carries out its items one by one with the agent's tools, and
//! answers at the end. Where an item cannot be done, the model makes another plan for the rest.
//!
//! Wang et al., "Plan-and-Solve Prompting", 2023.

use std::{fmt::Write as _, sync::Arc};

use serde_json::{Value, json};

use super::{
    PlanStep, Planner, Prompt, Reading,
    lenient::{self, Unread},
    output::{self, UNREADABLE},
    react, thoughts,
};
use crate::{
    event::{Failure, Plan, PlanItem, PlanItemStatus, Purpose},
    model::{Message, ResponseSchema},
    run::Run,
};

/// The most items of a plan.
const MAX_ITEMS: usize = 50;
/// The longest title of an item, in bytes.
const MAX_TITLE_BYTES: usize = 2_000;
/// The most bytes of the titles of a plan. Each item that is done writes the whole plan again.
const MAX_PLAN_BYTES: usize = 20_000;
/// The most plans of a run.
const MAX_PLANS: u32 = 4;
/// How an answer begins that says that an item cannot be done.
const FAILED: &str = "FAILED";

/// Makes a plan and carries it out. The plan is in the log, as `plan.updated`.
#[derive(Debug, Clone, Copy)]
pub struct PlanExecute;

impl Planner for PlanExecute {
    fn name(&self) -> &'static str {
        "plan_execute"
    }

    fn plan(&self, run: &Run) -> PlanStep {
        let failed = run.plan().and_then(|plan| {
            let error = plan.error.as_ref()?;
            (plan.revision >= MAX_PLANS).then_some((plan, error))
        });
        match failed {
            Some((plan, error)) => PlanStep::Error {
                error: Failure::last(
                    "plan_failed",
                    format!(
                        "{} plans failed; of the last one, {}. Look at `plan.updated` in the task's \
                         events; ask for less, or give the agent the tools that it lacks",
                        plan.revision, error.message
                    ),
                ),
            },
            None => react::plan(run),
        }
    }

    fn prompt(&self, run: &Run) -> Prompt {
        let stage = stage(run);
        Prompt {
            closing_message: match run.plan() {
                None => Some(first_plan()),
                Some(plan) => out_of_sight(plan, run),
            },
            schema: match stage {
                Stage::Plan => Some(plan_schema()),
                Stage::Execute => None,
                Stage::Answer => output::response_schema(run),
            },
            purpose: match stage {
                Stage::Plan => Purpose::Plan,
                Stage::Execute => Purpose::Execute,
                Stage::Answer => Purpose::Answer,
            },
        }
    }

    fn read(&self, run: &Run, text: &str) -> Reading {
        match (stage(run), run.plan()) {
            (Stage::Plan, plan) => match items(text) {
                Ok(titles) => Reading::Plan(next_plan(plan, titles)),
                Err(error) => Reading::Refused(error),
            },
            (Stage::Execute, Some(plan)) => Reading::Plan(worked_off(plan, text)),
            (Stage::Execute | Stage::Answer, _) => output::read(run, text),
        }
    }
}

/// The message about the plan, if the conversation has been made smaller since and lacks the message.
fn out_of_sight(plan: &Plan, run: &Run) -> Option<String> {
    let said = plan_message(plan, run.goal());
    let is_it = |message: &Arc<Message>| matches!(&**message, Message::User { content, .. } if *content == said);
    let messages = run.memory().messages();
    (!messages.iter().rev().any(is_it)).then_some(said)
}

/// The next act of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Plan,
    Execute,
    Answer,
}

fn stage(run: &Run) -> Stage {
    match run.plan() {
        None => Stage::Plan,
        Some(plan) if plan.error.is_some() => Stage::Plan,
        Some(plan) if plan.active().is_some() => Stage::Execute,
        Some(_) => Stage::Answer,
    }
}

fn plan_schema() -> ResponseSchema {
    ResponseSchema {
        name: "plan".to_owned(),
        schema: json!({
            "type": "object",
            "properties": {"steps": {"type": "array", "items": {"type": "string"}}},
            "required": ["steps"],
            "additionalProperties": false,
        }),
    }
}

const FORM: &str = "Answer with JSON alone, in the form {\"steps\": [\"...\", \"...\"]}: few steps, each \
                    a sentence that says what to do and what must come of it.";

fn first_plan() -> String {
    format!(
        "Do not carry out anything yet. First make a plan of the steps to get there. {FORM} If the \
         goal needs no steps, answer {{\"steps\": []}}."
    )
}

/// The items of a plan as a model writes it: JSON, or else a numbered list.
fn items(text: &str) -> Result<Vec<String>, Failure> {
    let unreadable = |what: &str| Failure::last(UNREADABLE, format!("{what}. {FORM}"));
    let is_plan = |value: &Value| value.get("steps").is_some();
    let titles = match lenient::whole(text, is_plan) {
        Ok(Value::Object(object)) => object.get("steps").and_then(titles),
        Ok(list @ Value::Array(_)) => titles(&list),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => None,
        // Which of several plans is meant, nothing says; a numbered list may hold values of its own.
        Err(Unread::Nothing | Unread::Several) => None,
        Err(Unread::TooMany) => return Err(unreadable("is far too long for a plan")),
    };
    let titles = titles.or_else(|| numbered(&thoughts::blanked(text)));
    let Some(titles) = titles else {
        return Err(unreadable("is not a plan"));
    };
    if titles.len() > MAX_ITEMS {
        let what = format!("is a plan of {} steps, more than {MAX_ITEMS}", titles.len());
        return Err(unreadable(&what));
    }
    let longest = titles.iter().map(String::len).max().unwrap_or(0);
    if longest > MAX_TITLE_BYTES {
        let what = format!("is a plan with a step of {longest} bytes, more than {MAX_TITLE_BYTES}");
        return Err(unreadable(&what));
    }
    let whole: usize = titles.iter().map(String::len).sum();
    if whole > MAX_PLAN_BYTES {
        let what = format!("is a plan of {whole} bytes, more than {MAX_PLAN_BYTES}");
        return Err(unreadable(&what));
    }
    Ok(titles)
}

/// The texts of a list, each as it is or as the one text of an object.
fn titles(list: &Value) -> Option<Vec<String>> {
    let title = |item: &Value| {
        let text = match item {
            Value::Object(object) => ["step", "title", "description", "task"]
                .iter()
                .find_map(|key| object.get(*key)?.as_str()),
            item => item.as_str(),
        };
        text.map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    list.as_array()?.iter().map(title).collect()
}

/// The lines that begin with a number.
fn numbered(text: &str) -> Option<Vec<String>> {
    let title = |line: &str| {
        let line = line.trim_start_matches(|c: char| c.is_whitespace() || "*#".contains(c));
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest = rest
            .strip_prefix(['.', ')'])
            .filter(|_| rest.len() < line.len())?;
        let title = rest.trim_matches(|c: char| c.is_whitespace() || c == '*');
        (!title.is_empty()).then(|| title.to_owned())
    };
    let titles: Vec<String> = text.lines().filter_map(title).collect();
    (!titles.is_empty()).then_some(titles)
}

/// A new plan: the items that were done stay in the plan, and the first of the new items is next.
fn next_plan(last: Option<&Plan>, titles: Vec<String>) -> Plan {
    let done = last.into_iter().flat_map(|plan| &plan.output);
    let done = done.filter(|item| item.status == PlanItemStatus::Done);
    let mut plan = Plan {
        revision: last.map_or(0, |plan| plan.revision) + 1,
        output: done.cloned().collect(),
        error: None,
    };
    plan.output.extend(titles.into_iter().map(|title| PlanItem {
        title,
        status: PlanItemStatus::Pending,
    }));
    activate_next(&mut plan);
    plan
}

fn activate_next(plan: &mut Plan) {
    let pending = |item: &&mut PlanItem| item.status == PlanItemStatus::Pending;
    if let Some(next) = plan.output.iter_mut().find(pending) {
        next.status = PlanItemStatus::Active;
    }
}

/// The plan after the model's word on the item that it worked on.
fn worked_off(plan: &Plan, text: &str) -> Plan {
    let mut plan = plan.clone();
    let Some((number, _)) = plan.active() else {
        return plan;
    };
    let text = thoughts::blanked(text);
    let words = text.trim_start_matches(|c: char| c.is_whitespace() || "*_#`".contains(c));
    let reason = words.strip_prefix(FAILED);
    match reason {
        Some(reason) => {
            plan.output[number - 1].status = PlanItemStatus::Failed;
            let reason = reason.trim_matches(|c: char| c.is_whitespace() || ":*_-.".contains(c));
            let reason = &reason[..reason.floor_char_boundary(500)];
            let title = &plan.output[number - 1].title;
            let message = format!("step {number} ({title}) failed: {reason}");
            plan.error = Some(Failure::last("plan_step_failed", message));
        }
        None => {
            plan.output[number - 1].status = PlanItemStatus::Done;
            activate_next(&mut plan);
        }
    }
    plan
}

/// The message to the model about a changed plan.
pub(crate) fn plan_message(plan: &Plan, goal: &str) -> String {
    if let Some(error) = &plan.error {
        return format!(
            "{} Make another plan, for what is left to be done; what is done stays done. {FORM}",
            error.message
        );
    }
    let mut text = "The plan:\n".to_owned();
    for (number, item) in (1..).zip(&plan.output) {
        let mark = match item.status {
            PlanItemStatus::Done => "done",
            PlanItemStatus::Active => "now",
            PlanItemStatus::Pending => "later",
            PlanItemStatus::Failed => "failed",
        };
        // A string takes all that is written to it.
        let _ = writeln!(text, "{number}. [{mark}] {}", item.title);
    }
    match plan.active() {
        Some((number, item)) => text.push_str(&format!(
            "Carry out step {number} now, and no other: {} Use the tools as you need. Once it is \
             done, say what came of it, with everything that later steps need. If it cannot be \
             done, answer `{FAILED}: ` and why.",
            item.title
        )),
        None if plan.output.is_empty() => text = format!("Now give the answer: {goal}"),
        None => text.push_str(&format!("Every step is done. Now give the answer: {goal}")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(titles: &[&str]) -> Plan {
        next_plan(
            None,
            titles.iter().map(|title| (*title).to_owned()).collect(),
        )
    }

    #[test]
    fn plans_are_read_as_models_write_them() {
        for text in [
            r#"{"steps": ["look", "tell"]}"#,
            "The plan:\n```json\n{'steps': ['look', 'tell',]}\n```",
            r#"["look", {"step": "tell"}]"#,
            "1. look\n2. **tell**\n",
            "I would:\n 1) look\n 2) tell",
            // tools/T5: a draft within a thought was the plan.
            "<think>{\"steps\": [\"fly\"]}</think>{\"steps\": [\"look\", \"tell\"]}",
            "<think>1. fly</think>\n1. look\n2. tell",
            "As in [1]:\n{\"steps\": [\"look\", \"tell\"]}",
        ] {
            assert_eq!(
                items(text),
                Ok(vec!["look".to_owned(), "tell".to_owned()]),
                "{text}"
            );
        }
        assert_eq!(items("{\"steps\": []}"), Ok(Vec::new()));
        for text in [
            "I look, then I tell.",
            r#"{"steps": "look"}"#,
            r#"{"steps": [7]}"#,
            r#"{"steps": ["look"]} or {"steps": ["tell"]}"#,
            "",
            "1.",
        ] {
            assert_eq!(items(text).unwrap_err().code, UNREADABLE, "{text}");
        }
        let long = json!({"steps": vec!["x"; 51]}).to_string();
        assert!(
            items(&long)
                .unwrap_err()
                .message
                .contains("51 steps, more than 50")
        );
    }

    /// A plan is written again with each of its items.
    #[test]
    fn the_titles_of_a_plan_are_bounded() {
        for (count, bytes, problem) in [
            (1, 2_001, "a step of 2001 bytes, more than 2000"),
            (50, 401, "a plan of 20050 bytes, more than 20000"),
        ] {
            let titles = vec!["x".repeat(bytes); count];
            let json = json!({"steps": titles}).to_string();
            let lines: String = titles.iter().map(|title| format!("1. {title}\n")).collect();
            for text in [json, lines] {
                let error = items(&text).unwrap_err();
                assert_eq!(error.code, UNREADABLE);
                assert!(error.message.contains(problem), "{error}");
            }
        }
        let full = json!({"steps": vec!["x".repeat(400); 50]}).to_string();
        assert_eq!(items(&full).unwrap().len(), 50);
    }

    #[test]
    fn items_are_worked_off_in_order() {
        let first = plan(&["look", "tell"]);
        assert_eq!(first.active().map(|(number, _)| number), Some(1));
        let second = worked_off(&first, "I saw the sea.");
        assert_eq!(second.active().map(|(number, _)| number), Some(2));
        assert!(
            plan_message(&second, "g")
                .starts_with("The plan:\n1. [done] look\n2. [now] tell\nCarry out step 2")
        );
        let done = worked_off(&second, "It FAILED not.");
        assert_eq!((done.active(), &done.error), (None, &None));
        assert!(
            plan_message(&done, "the goal")
                .ends_with("Every step is done. Now give the answer: the goal")
        );
    }

    #[test]
    fn what_is_done_stays_in_the_plan_that_replaces_a_failed_one() {
        let plan = worked_off(&plan(&["look", "swim", "tell"]), "seen");
        let failed = worked_off(&plan, "<think>Too cold?</think>**FAILED**: too cold.");
        let error = failed.error.clone().unwrap();
        assert_eq!(error.message, "step 2 (swim) failed: too cold");
        assert!(plan_message(&failed, "g").contains("Make another plan"));
        let next = next_plan(Some(&failed), vec!["walk".into()]);
        let titles: Vec<_> = next
            .output
            .iter()
            .map(|item| (&*item.title, item.status))
            .collect();
        assert_eq!(
            titles,
            [
                ("look", PlanItemStatus::Done),
                ("walk", PlanItemStatus::Active)
            ]
        );
        assert_eq!((next.revision, next.error), (2, None));
    }
}
