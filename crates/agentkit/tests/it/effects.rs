//! The record of effects: an agent that has forgotten its calls is told what they changed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use agentkit::{
    Agent, BoxFuture, Event, Model, Usage,
    drive::{self, DriveEnvironment, MemoryRecorder, Stop, SystemClock},
    event::{Failure, FinishReason, Purpose},
    model::{DeltaSink, Message, ModelError, ModelInfo, Request, Response, ResponseCall},
    run::{Limits, MemoryConfig, Run},
    tool::{Effect, Resource, Resources, Tool, ToolContext, ToolOutput, ToolSpec},
};
use serde_json::{Value, json};

const CALLS: u32 = 40;

/// Asks for one write after the other, and keeps the last conversation that it was sent.
struct Writer {
    info: ModelInfo,
    calls: u32,
    seen: Mutex<Vec<Arc<Message>>>,
}

impl Model for Writer {
    fn name(&self) -> &'static str {
        "test/writer"
    }

    fn info(&self) -> Option<&ModelInfo> {
        Some(&self.info)
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let number = request.answers.unwrap_or(0) + 1;
        let is_summary = matches!(request.purpose, Purpose::Summary { .. });
        let writes = !is_summary && number <= self.calls;
        if !is_summary {
            *self.seen.lock().unwrap() = request.messages.clone();
        }
        let call = ResponseCall {
            provider_id: format!("p{number}"),
            name: "put".to_owned(),
            arguments: json!({"path": format!("part/f{number}.md")}).to_string(),
        };
        let response = Response {
            finish: match writes {
                true => FinishReason::ToolCalls,
                false => FinishReason::Stop,
            },
            content: match (is_summary, writes) {
                (true, _) => "Some files were written.".to_owned(),
                (false, true) => String::new(),
                (false, false) => "done".to_owned(),
            },
            calls: writes.then_some(call).into_iter().collect(),
            usage: Usage::default(),
            model: "writer".to_owned(),
            parts: None,
            request_id: None,
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// Writes a file at length; each tenth write fails.
struct Put(ToolSpec);

impl Tool for Put {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, arguments: &Value) -> Resources {
        Resources::writes([Resource::file(arguments["path"].as_str().unwrap_or("."))])
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let path = arguments["path"].as_str().unwrap_or_default();
        let result = match path.ends_with("0.md") {
            true => Err(Failure::last("disk_full", "word ".repeat(900))),
            false => Ok(Value::from("word ".repeat(900)).into()),
        };
        Box::pin(std::future::ready(result))
    }
}

async fn driven(calls: u32, memory: MemoryConfig) -> (Vec<Arc<Message>>, Run, Vec<Event>) {
    let model = Arc::new(Writer {
        info: ModelInfo {
            context_tokens: Some(12_000),
            ..ModelInfo::default()
        },
        calls,
        seen: Mutex::default(),
    });
    let schema = json!({
        "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"],
    });
    let put = ToolSpec::new("put", "writes a file", schema).effect(Effect::Idempotent);
    let agent = Agent::builder(Arc::clone(&model))
        .instructions("Write file after file.")
        .tool(Put(put))
        .memory(memory)
        .limits(Limits {
            max_steps: 10_000,
            max_output_tokens: Some(500),
            ..Limits::default()
        })
        .build()
        .unwrap();
    let recorder = Arc::new(MemoryRecorder::default());
    let mut run = Run::default();
    let environment = DriveEnvironment::new(
        Arc::clone(&recorder) as _,
        Arc::new(SystemClock),
        PathBuf::from("."),
        Arc::new(MemoryRecorder::default()),
    );
    let goal = "write, then say what you changed";
    let stop = drive::drive(&agent, goal, &mut run, &environment)
        .await
        .unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    let seen = model.seen.lock().unwrap().clone();
    (seen, run, recorder.events())
}

/// The records in a conversation.
fn records(messages: &[Arc<Message>]) -> Vec<&str> {
    let record = |message: &'_ Arc<Message>| matches!(&**message, Message::User { content, .. } if content.starts_with("[Record of this run"));
    let found = messages.iter().filter(|message| record(message));
    found
        .map(|message| match &**message {
            Message::User { content, .. } => content.as_str(),
            _ => "",
        })
        .collect()
}

/// Each call with its line in a record, and the calls before the last segment.
fn expected(events: &[Event]) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut before) = (Vec::new(), 0);
    let mut paths = std::collections::BTreeMap::new();
    for event in events {
        match event {
            Event::ToolCalled(called) => {
                paths.insert(
                    called.step,
                    called.input["path"].as_str().unwrap().to_owned(),
                );
            }
            Event::ToolCompleted(completed) => {
                let (step, path) = (completed.step, &paths[&completed.step]);
                lines.push(format!("- {step} put on file {path}: done"));
            }
            Event::ToolFailed(failed) => {
                let (step, path) = (failed.step, &paths[&failed.step]);
                lines.push(format!("- {step} put on file {path}: failed (disk_full)"));
            }
            Event::SegmentOpened(_) => before = lines.len(),
            _ => {}
        }
    }
    let after = lines.split_off(before);
    (lines, after)
}

#[tokio::test]
async fn after_five_compactions_an_agent_is_given_all_that_it_changed() {
    for summarise in [true, false] {
        let memory = MemoryConfig {
            summarise,
            ..MemoryConfig::default()
        };
        let (seen, run, events) = driven(CALLS, memory).await;
        let opened = events
            .iter()
            .filter(|event| matches!(event, Event::SegmentOpened(_)));
        assert!(
            opened.count() >= 5,
            "the conversation was made smaller often enough"
        );
        let (before, after) = expected(&events);
        assert_eq!(before.len() + after.len(), CALLS as usize);
        // The conversation has one record, with all that came before its segment; the calls since are there themselves.
        let records = records(&seen);
        let [record] = records[..] else {
            panic!("{} records", records.len())
        };
        let told: Vec<&str> = record.lines().skip(1).collect();
        assert_eq!(told, before);
        let visible: Vec<String> = seen
            .iter()
            .filter_map(|message| match &**message {
                Message::Assistant { calls, .. } => Some(calls),
                _ => None,
            })
            .flatten()
            .map(|call| call.arguments["path"].as_str().unwrap().to_owned())
            .collect();
        for line in after {
            let path = line.split(' ').nth(5).unwrap().trim_end_matches(':');
            assert!(visible.iter().any(|one| one == path), "{line}: {visible:?}");
        }
        // The record is data of the run, and the run the fold of its log.
        assert_eq!(run.effects().count(), u64::from(CALLS));
        let mut folded = Run::default();
        for event in &events {
            folded
                .apply(&Event::decode(&event.encode()).unwrap())
                .unwrap();
        }
        assert_eq!(folded, run);
    }
}

#[tokio::test]
async fn the_record_of_a_long_run_is_bounded_and_counts_every_call() {
    let (seen, run, events) = driven(400, MemoryConfig::default()).await;
    let records = records(&seen);
    let [record] = records[..] else {
        panic!("{} records", records.len())
    };
    assert!(record.len() < 6_000, "{}", record.len());
    let (before, _) = expected(&events);
    let counted: usize = record
        .lines()
        .skip(1)
        .map(|line| match line.strip_prefix("- call_") {
            Some(_) => 1,
            None => line[2..].split(' ').next().unwrap().parse().unwrap(),
        })
        .sum();
    assert_eq!(counted, before.len(), "{record}");
    assert_eq!(run.effects().count(), 400);
    assert!(run.effects().calls().len() <= 128);
}

/// The segments of earlier releases began without a record, and are sent as they were.
#[tokio::test]
async fn a_log_of_an_earlier_release_is_told_as_it_was() {
    let (_, run, events) = driven(CALLS, MemoryConfig::default()).await;
    let mut folded = Run::default();
    for event in &events {
        let mut event = event.clone();
        if let Event::SegmentOpened(opened) = &mut event {
            opened.effects = false;
            let stored = String::from_utf8_lossy(&Event::SegmentOpened(opened.clone()).encode())
                .into_owned();
            assert!(!stored.contains("effects"), "{stored}");
        }
        folded.apply(&event).unwrap();
    }
    assert_eq!(records(folded.memory().messages()), Vec::<&str>::new());
    assert_eq!(folded.effects(), run.effects());
}
