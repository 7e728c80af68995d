//! The bytes of version 1 of the engine's events. They are in databases out there: a file here is
//! added, never changed.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::json;

use super::*;
use crate::schedule::ScheduleName;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events_v1")
}

/// What each file says.
fn events() -> Vec<(&'static str, TaskEvent)> {
    let error = |code: &str, message: &str| TaskError {
        code: code.into(),
        message: message.into(),
    };
    let other = "task_0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
    let used = Usage {
        input_tokens: 100,
        output_tokens: 20,
        cost_micros: 3,
    };
    let later = Micros(1_764_000_060_000_000);
    let resolved = |resolution| TaskEvent::Resolved {
        step: 7,
        resolution,
        by: None,
    };
    vec![
        (
            "task.submitted",
            TaskEvent::Submitted {
                task_type: "agent_run".into(),
                retry_of: None,
                parent: None,
                run_at: None,
            },
        ),
        (
            "task.submitted.retry_and_delay",
            TaskEvent::Submitted {
                task_type: "agent_run".into(),
                retry_of: Some("task_0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap()),
                parent: None,
                run_at: Some(later),
            },
        ),
        (
            "task.leased",
            TaskEvent::Leased {
                session: "session_0190163d-8694-739b-aea5-966c26f8ad92"
                    .parse()
                    .unwrap(),
                epoch: 3,
                attempt: 2,
            },
        ),
        ("task.released", TaskEvent::Released { epoch: 3 }),
        (
            "task.lease_lost",
            TaskEvent::LeaseLost {
                epoch: 3,
                losses: 1,
            },
        ),
        (
            "task.waiting.timer",
            TaskEvent::Waiting {
                wait: Wait::Timer {
                    until: later,
                    error: None,
                },
            },
        ),
        (
            "task.waiting.in_doubt",
            TaskEvent::Waiting {
                wait: Wait::InDoubt { steps: vec![2, 5] },
            },
        ),
        ("task.woken", TaskEvent::Woken {}),
        (
            "task.retry_scheduled",
            TaskEvent::RetryScheduled {
                attempt: 2,
                until: later,
                error: error("run_failed", "the model answered 529"),
            },
        ),
        (
            "task.submitted.child",
            TaskEvent::Submitted {
                task_type: "agent_run".into(),
                retry_of: None,
                parent: Some(other),
                run_at: None,
            },
        ),
        (
            "task.waiting.approval",
            TaskEvent::Waiting {
                wait: Wait::Approval {
                    steps: vec![4],
                    until: Some(later),
                },
            },
        ),
        (
            "task.waiting.signal",
            TaskEvent::Waiting {
                wait: Wait::Signal {
                    names: vec!["answer".into()],
                    until: None,
                },
            },
        ),
        (
            "task.waiting.child",
            TaskEvent::Waiting {
                wait: Wait::Child {
                    tasks: vec![other],
                    until: None,
                },
            },
        ),
        (
            "task.waiting.concurrency",
            TaskEvent::Waiting {
                wait: Wait::Concurrency {
                    key: "customer-7".into(),
                },
            },
        ),
        (
            "task.waiting.budget",
            TaskEvent::Waiting {
                wait: Wait::Budget {
                    limit: "max_tokens".into(),
                    message: "none are left".into(),
                    until: Some(later),
                },
            },
        ),
        (
            "task.limited",
            TaskEvent::Limited {
                limits: TaskLimits {
                    max_tokens: Some(9_000),
                    timeout_micros: Some(60_000_000),
                    ..TaskLimits::default()
                },
            },
        ),
        (
            "task.clock_corrected",
            TaskEvent::ClockCorrected {
                from: Micros(2_145_916_800_000_000),
                to: later,
            },
        ),
        ("task.paused", TaskEvent::Paused {}),
        ("task.resumed", TaskEvent::Resumed {}),
        (
            "task.signalled",
            TaskEvent::Signalled {
                name: "answer".into(),
                payload: json!({"colour": "red"}),
            },
        ),
        (
            "task.child_ended.completed",
            TaskEvent::ChildEnded(ChildEnd {
                child: other,
                state: StateName::Completed,
                result: Some(json!({"answer": "42"})),
                stored: None,
                error: None,
                used,
            }),
        ),
        (
            "task.child_ended.stored",
            TaskEvent::ChildEnded(ChildEnd {
                child: other,
                state: StateName::Completed,
                result: None,
                stored: Some(StoredResult {
                    digest: "ab".repeat(32),
                    bytes: 70_000,
                }),
                error: None,
                used,
            }),
        ),
        (
            "task.child_ended.failed",
            TaskEvent::ChildEnded(ChildEnd {
                child: other,
                state: StateName::Failed,
                result: None,
                stored: None,
                error: Some(error("timeout", "it took too long")),
                used,
            }),
        ),
        (
            "task.forked",
            TaskEvent::Forked {
                from: other,
                step: 4,
            },
        ),
        (
            "task.noted",
            TaskEvent::Noted {
                content: "use metric units".into(),
            },
        ),
        (
            "step.approved",
            TaskEvent::Approved {
                step: 7,
                input: None,
                by: None,
            },
        ),
        (
            "step.approved.edited",
            TaskEvent::Approved {
                step: 7,
                input: Some(json!({"path": "a.txt"})),
                by: Some("ann".into()),
            },
        ),
        (
            "step.denied",
            TaskEvent::Denied {
                step: 7,
                reason: "not on a Friday".into(),
                by: Some("ann".into()),
            },
        ),
        (
            "step.edited",
            TaskEvent::Edited {
                step: 7,
                input: json!({"path": "a.txt"}),
                by: None,
            },
        ),
        (
            "step.reset",
            TaskEvent::Reset {
                step: 7,
                input: Some(json!({"path": "b.txt"})),
            },
        ),
        ("task.cancel_requested", TaskEvent::CancelRequested {}),
        ("task.cancelled", TaskEvent::Cancelled {}),
        ("task.completed", TaskEvent::Completed {}),
        (
            "task.failed",
            TaskEvent::Failed {
                error: error("worker_lost", "5 workers were lost"),
                dead_letter: true,
            },
        ),
        (
            "step.resolved.done",
            resolved(Resolution::Done {
                output: json!({"n": [1, 2.5, null], "sent": true}),
            }),
        ),
        (
            "step.resolved.failed",
            resolved(Resolution::Failed {
                message: "the mail bounced".into(),
            }),
        ),
        ("step.resolved.retry", resolved(Resolution::Retry)),
        (
            "step.resolved.by",
            TaskEvent::Resolved {
                step: 7,
                resolution: Resolution::Retry,
                by: Some("ann".into()),
            },
        ),
    ]
}

#[test]
fn every_file_decodes_and_encodes_to_its_bytes() {
    for (name, event) in events() {
        let bytes = fs::read(folder().join(format!("{name}.json"))).unwrap();
        let decoded = TaskEvent::decode(&bytes).unwrap();
        assert_eq!(decoded, event, "{name}");
        let written = event.envelope().body;
        assert_eq!(
            String::from_utf8_lossy(&written),
            String::from_utf8_lossy(&bytes),
            "{name}"
        );
    }
}

/// Events that say who asked: the bytes are those of the event with one key more.
#[test]
fn actors_are_read_back_from_their_bytes() {
    let folder = folder().with_file_name("actors_v1");
    let nightly: ScheduleName = "nightly".parse().unwrap();
    for (name, event, actor) in [
        (
            "task.paused.key",
            TaskEvent::Paused {},
            Actor::Key("key_7f".parse().unwrap()),
        ),
        (
            "task.signalled.local",
            TaskEvent::Signalled {
                name: "go".into(),
                payload: json!(null),
            },
            Actor::Local,
        ),
        (
            "task.submitted.schedule",
            TaskEvent::Submitted {
                task_type: "agent_run".into(),
                retry_of: None,
                parent: None,
                run_at: None,
            },
            Actor::Schedule(nightly),
        ),
        (
            "task.cancelled.machine",
            TaskEvent::Cancelled {},
            Actor::Machine,
        ),
    ] {
        let bytes = fs::read(folder.join(format!("{name}.json"))).unwrap();
        assert_eq!(TaskEvent::decode(&bytes).unwrap(), event, "{name}");
        assert_eq!(TaskEvent::actor(&bytes), Some(actor.clone()), "{name}");
        assert_eq!(event.envelope_by(Some(&actor)).body, bytes, "{name}");
        assert_eq!(TaskEvent::actor(&event.envelope().body), None, "{name}");
    }
}

#[test]
fn every_type_and_every_file_is_covered() {
    let names: BTreeSet<String> = events()
        .into_iter()
        .map(|(name, _)| format!("{name}.json"))
        .collect();
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, files);
    let covered: BTreeSet<&str> = events().iter().map(|(_, event)| event.kind()).collect();
    assert_eq!(covered, TaskEvent::TYPES.into_iter().collect());
}

#[test]
fn unknown_fields_are_kept_out_of_the_way_and_unknown_types_are_named() {
    let newer = br#"{"v":1,"type":"task.released","epoch":3,"why":"a field of a newer release"}"#;
    assert_eq!(
        TaskEvent::decode(newer).unwrap(),
        TaskEvent::Released { epoch: 3 }
    );
    for (bytes, named) in [
        (
            &br#"{"v":1,"type":"task.teleported"}"#[..],
            "`task.teleported` version 1",
        ),
        (
            &br#"{"v":2,"type":"task.released","epoch":3}"#[..],
            "`task.released` version 2",
        ),
    ] {
        let error = TaskEvent::decode(bytes).unwrap_err();
        assert!(matches!(error, DecodeError::Unknown { .. }));
        assert!(error.to_string().contains(named), "{error}");
    }
    for bytes in [&b"{}"[..], b"", br#"{"v":1,"type":"task.released"}"#, b"[]"] {
        assert!(matches!(
            TaskEvent::decode(bytes),
            Err(DecodeError::Malformed(_))
        ));
    }
}
