use ops_core::{
    Actor, Lifecycle, Micros, SessionId, TaskId, Wait,
    approval::NewApproval,
    event::Usage,
    retry::RetryPolicy,
    rules::{self, Cause, Transition, decide},
    task::{LifeRow, StateName, StateRow},
};
use serde_json::{Value, json};

use super::*;

/// A task that a worker holds, or that waits.
fn life(wait: Option<Value>) -> Lifecycle {
    let wait: Option<Wait> = wait.map(|wait| serde_json::from_value(wait).unwrap());
    let row = LifeRow {
        id: TaskId::new(Micros(1), [1; 10]),
        state: StateRow {
            name: match wait {
                Some(_) => StateName::Waiting,
                None => StateName::Running,
            },
            session: Some(SessionId::new(Micros(1), [2; 10])),
            due: None,
            wait,
            dead_letter: false,
        },
        attempt: 1,
        retry: RetryPolicy::default(),
        epoch: 1,
        seq: 2,
        lease_losses: 0,
        run_started: true,
        flags: 0,
        timeout: None,
        start_by: None,
        usage: Usage::default(),
        children_usage: Usage::default(),
        started_at: None,
        updated_at: Micros(1),
        completed_at: None,
        failure: None,
    };
    Lifecycle::from_row(row).unwrap()
}

/// Whether the writer finds each large body packed that a transition has; there must be one.
fn is_ready(transition: &Transition, values: &Values) -> bool {
    let mut large = transition
        .events
        .iter()
        .filter(|event| event.body.len() > INLINE)
        .peekable();
    assert!(large.peek().is_some());
    large.all(|event| values.find(&event.body).is_some())
}

#[tokio::test]
async fn external_events_are_packed_before_the_writer_sees_them() {
    let large = || Value::from("x".repeat(1 << 20));
    let signal = TaskAction::Signal {
        name: "news".into(),
        payload: large(),
    };
    let in_doubt = json!({"on": "in_doubt", "steps": [2]});
    let resolve = |resolution| TaskAction::Resolve {
        step: 2,
        resolution,
        by: Some("ann".into()),
    };
    let failed = Resolution::Failed {
        message: "x".repeat(1 << 20),
    };
    for (action, wait) in [
        (signal, None),
        (
            resolve(Resolution::Done { output: large() }),
            Some(in_doubt.clone()),
        ),
        (resolve(failed), Some(in_doubt)),
    ] {
        let request = action.by(Actor::Local);
        let values = command(&request, 1 << 30).await.unwrap();
        let transition = decide(&life(wait), Cause::Task(request), Micros(2)).unwrap();
        assert!(is_ready(&transition, &values));
    }
}

#[tokio::test]
async fn edited_arguments_are_packed_before_the_writer_sees_them() {
    let input = json!({"text": "x".repeat(1 << 20)});
    let request = NewApproval {
        step: 2,
        tool: "send".into(),
        tool_digest: String::new(),
        agent_digest: String::new(),
        input: input.clone(),
        input_digest: String::new(),
        input_schema: json!({}),
        reason: String::new(),
        expires_at: None,
        details: Default::default(),
    };
    let mut open = rules::approval::create(request, TaskId::new(Micros(1), [1; 10]), Micros(1));
    open.revision = 2;
    let edit = ApprovalAction::Edit {
        input,
        digest: String::new(),
    };
    for action in [edit, ApprovalAction::Approve] {
        let request = ApprovalDecision {
            actor: Actor::Local,
            step: 2,
            action,
            revision: Some(2),
            by: Some("ann".into()),
        };
        let values = decision(&request, Some(open.clone()), 1 << 30)
            .await
            .unwrap();
        let waiting = life(Some(json!({"on": "approval", "steps": [2]})));
        let decided = rules::approval::decide_approval(&open, &waiting, request, Micros(2));
        let (_, transition) = decided.unwrap();
        assert!(is_ready(&transition, &values));
    }
}

/// Bodies are found by what is in them: neither their place in the append nor what a rule puts before
/// them matters.
#[tokio::test]
async fn values_are_found_by_their_content_alone() {
    let body = |byte: u8| Bytes::from(vec![byte; INLINE + 1]);
    let event = |body: Bytes| ops_core::NewEvent {
        kind: "t".into(),
        step: None,
        usage: Usage::default(),
        blobs: Vec::new(),
        body,
    };
    let small = Bytes::from_static(b"{}");
    let events = [small.clone(), body(1), body(2)].map(event).to_vec();
    let append = Append::new(2, events, Next::Continue);
    let values = run(&RunCommand::append(1, append), Vec::new(), 1 << 30)
        .await
        .unwrap();
    let digest = |byte| values.find(&body(byte));
    assert!(digest(1).is_some() && digest(2).is_some());
    assert_ne!(digest(1), digest(2));
    assert_eq!((digest(3), values.find(&small)), (None, None));
}
