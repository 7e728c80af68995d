//! What a row of the first Opspawn becomes here. Pure.

use std::collections::BTreeMap;

use ops_core::{
    Actor, Json, Micros, TaskId, TenantId,
    code::Code,
    event::TaskError,
    ports::{NewTask, TaskRecord},
    retry::RetryPolicy,
    rules::submit::MAX_NAME_BYTES,
    task::{Status, Task, TaskLimits},
};

use super::{OldTask, QUEUE};

/// The label that holds the id of a workflow.
const WORKFLOW: &str = "workflow_id";

/// How a task has ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Completed(Json),
    Failed(TaskError),
    Cancelled,
}

/// A task that is to be stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) new: NewTask,
    /// The time of the submit's event.
    pub(super) submitted: Micros,
    pub(super) started: Option<Micros>,
    pub(super) ended: Micros,
    pub(super) end: End,
    /// Changes, for the report.
    pub(super) changed: Vec<String>,
}

/// The plan for a row, or why the row is left out.
pub(super) fn plan(old: &OldTask) -> Result<Plan, String> {
    let id: TaskId = old
        .task_id
        .parse()
        .map_err(|_| "its id is not `task_` and a UUID".to_owned())?;
    let mut changed = Vec::new();
    let end = end(old)?;
    if old.task_type.is_empty() || old.task_type.len() > MAX_NAME_BYTES {
        return Err(format!(
            "its task type is empty or longer than {MAX_NAME_BYTES} bytes"
        ));
    }
    let created = Micros(old.created_at.ok_or("it has no time of its creation")?);
    // The times of a log do not run backwards.
    let scheduled = old.scheduled_at.map(Micros);
    let submitted = created.max(scheduled.unwrap_or(created));
    let started = old.started_at.map(Micros).map(|at| at.max(submitted));
    let last = started.unwrap_or(submitted);
    let ended = old.completed_at.or(old.updated_at).map_or(last, Micros);
    let ended = ended.max(last);
    let text = old.input_data.as_deref().unwrap_or("{}");
    let input = json(text).map_err(|why| format!("its input is not JSON: {why}"))?;
    let input = match input.as_str().trim_start().starts_with('{') {
        true => input,
        false if input.as_str() == "null" => Json::from(&serde_json::json!({})),
        false => return Err("its input is not an object".to_owned()),
    };
    let short = |what: &str, text: &Option<String>, changed: &mut Vec<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty())?;
        if text.len() <= MAX_NAME_BYTES {
            return Some(text.to_owned());
        }
        changed.push(format!("its {what} is cut to {MAX_NAME_BYTES} bytes"));
        Some(text[..text.floor_char_boundary(MAX_NAME_BYTES)].to_owned())
    };
    let name = short("name", &old.name, &mut changed);
    let agent_id = short("agent_id", &old.agent_id, &mut changed);
    let workflow = short("workflow_id", &old.workflow_id, &mut changed);
    if workflow.is_some() {
        changed.push(format!("its workflow is the label `{WORKFLOW}`"));
    }
    if started.is_none() && !matches!(end, End::Cancelled) {
        changed.push("it has no time of its start, and gets that of its end".to_owned());
    }
    let labels: BTreeMap<String, String> = workflow
        .map(|workflow| (WORKFLOW.to_owned(), workflow))
        .into_iter()
        .collect();
    Ok(Plan {
        new: NewTask {
            task: Task {
                id,
                tenant: TenantId::DEFAULT,
                task_type: old.task_type.clone(),
                name,
                agent_id,
                agent_digest: None,
                input,
                labels,
                limits: TaskLimits::default(),
                priority: 0,
                queue: QUEUE.to_owned(),
                concurrency_key: None,
                retry_of: None,
                parent: None,
                created_at: created,
                run_at: scheduled,
            },
            actor: Actor::Local,
            retry: RetryPolicy::default(),
            idempotency: None,
            fork: None,
        },
        submitted,
        started,
        ended,
        end,
        changed,
    })
}

fn end(old: &OldTask) -> Result<End, String> {
    match old.status.as_str() {
        "completed" => {
            let text = old.result.as_deref().unwrap_or("null");
            let result = json(text).map_err(|why| format!("its result is not JSON: {why}"))?;
            Ok(End::Completed(result))
        }
        "failed" => Ok(End::Failed(TaskError {
            code: Code::RunFailed.as_str().to_owned(),
            message: old
                .error_message
                .clone()
                .unwrap_or_else(|| "the first Opspawn gives no reason".to_owned()),
        })),
        "cancelled" => Ok(End::Cancelled),
        "pending" | "running" => Err(format!(
            "it is {} and has not ended: let the first Opspawn end or cancel it, and run this command again",
            old.status
        )),
        other => Err(format!(
            "its status `{}` is unknown",
            other.chars().take(40).collect::<String>()
        )),
    }
}

fn json(text: &str) -> Result<Json, String> {
    Json::parse(text).map_err(|error| error.to_string())
}

impl Plan {
    /// The first difference between a stored task and the plan, by its name.
    pub(super) fn difference(&self, record: &TaskRecord) -> Option<&'static str> {
        let (task, planned) = (&record.task, &self.new.task);
        let (status, result, error) = match &self.end {
            End::Completed(result) => (Status::Completed, Some(result), None),
            End::Failed(error) => (Status::Failed, None, Some(error)),
            End::Cancelled => (Status::Cancelled, None, None),
        };
        let started = match self.end {
            End::Cancelled => self.started,
            End::Completed(_) | End::Failed(_) => self.started.or(Some(self.ended)),
        };
        [
            ("queue", task.queue == planned.queue),
            ("task_type", task.task_type == planned.task_type),
            ("name", task.name == planned.name),
            ("agent_id", task.agent_id == planned.agent_id),
            ("labels", task.labels == planned.labels),
            ("input_data", task.input == planned.input),
            ("created_at", task.created_at == planned.created_at),
            ("scheduled_at", task.run_at == planned.run_at),
            ("status", record.life.status() == status),
            ("result", record.result.as_ref() == result),
            ("error_message", record.life.error() == error),
            ("started_at", record.life.started_at == started),
            ("completed_at", record.life.completed_at == Some(self.ended)),
        ]
        .into_iter()
        .find_map(|(name, same)| (!same).then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> OldTask {
        OldTask {
            task_id: "task_6ba7b810-9dad-41d1-80b4-00c04fd430c8".into(),
            task_type: "agent_run".into(),
            status: "completed".into(),
            input_data: Some(r#"{"prompt":"p"}"#.into()),
            result: Some("[1]".into()),
            created_at: Some(10),
            updated_at: Some(40),
            started_at: Some(20),
            completed_at: Some(30),
            ..OldTask::default()
        }
    }

    #[test]
    fn an_ended_task_keeps_its_id_its_times_and_its_result() {
        let plan = plan(&old()).unwrap();
        assert_eq!(plan.new.task.id.to_string(), old().task_id);
        assert_eq!((plan.submitted, plan.ended), (Micros(10), Micros(30)));
        assert_eq!(plan.started, Some(Micros(20)));
        assert_eq!(plan.end, End::Completed(Json::parse("[1]").unwrap()));
        assert!(plan.changed.is_empty(), "{:?}", plan.changed);
    }

    #[test]
    fn a_task_that_cannot_come_is_left_out_with_the_reason() {
        type Change = fn(&mut OldTask);
        let changed: [(Change, &str); 8] = [
            (|old| old.status = "running".into(), "has not ended"),
            (|old| old.status = "pending".into(), "has not ended"),
            (|old| old.status = "odd".into(), "`odd` is unknown"),
            (|old| old.task_id = "7".into(), "its id"),
            (|old| old.created_at = None, "creation"),
            (|old| old.input_data = Some("[]".into()), "not an object"),
            (|old| old.input_data = Some("{".into()), "not JSON"),
            (|old| old.result = Some("oh".into()), "not JSON"),
        ];
        for (change, expected) in changed {
            let mut old = old();
            change(&mut old);
            let why = plan(&old).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn odd_rows_are_changed_and_the_changes_are_told() {
        let mut old = old();
        old.name = Some("ü".repeat(200));
        old.workflow_id = Some("w-1".into());
        old.started_at = Some(5);
        old.completed_at = None;
        old.input_data = None;
        let plan = plan(&old).unwrap();
        assert_eq!(plan.started, Some(Micros(10)), "no time runs backwards");
        assert_eq!(plan.ended, Micros(40), "the last change is the end");
        assert_eq!(plan.new.task.input.as_str(), "{}");
        assert_eq!(plan.new.task.name.as_ref().map(String::len), Some(256));
        assert_eq!(plan.new.task.labels["workflow_id"], "w-1");
        assert_eq!(plan.changed.len(), 2, "{:?}", plan.changed);
    }
}
