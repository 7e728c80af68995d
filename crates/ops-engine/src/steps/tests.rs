use ops_core::event::{NewEvent, StepMark};
use serde_json::json;

use super::*;

/// The steps of a log that consists of a call of a tool and what the engine logged of it.
fn fold(told: &[TaskEvent]) -> Vec<Step> {
    let called = NewEvent {
        kind: "tool.called".into(),
        step: Some(StepMark {
            number: 2,
            kind: StepKind::Tool,
            status: StepStatus::Waiting,
            effect: EffectClass::Write,
        }),
        usage: Usage::default(),
        blobs: Vec::new(),
        body: br#"{"name": "send", "input": {"n": 1}}"#.to_vec().into(),
    };
    let mut fold = Fold::new(0, 10, 1_000);
    let events = std::iter::once(called).chain(told.iter().map(TaskEvent::envelope));
    for (event, seq) in events.zip(1..) {
        let at = Micros(i64::try_from(seq).unwrap());
        fold.add(&StoredEvent { seq, at, event });
    }
    fold.steps
}

#[test]
fn a_denied_step_has_failed_and_says_why() {
    let denied = TaskEvent::Denied {
        step: 2,
        reason: "not on a Friday".into(),
        by: Some("ann".into()),
    };
    let steps = fold(&[denied]);
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].status, StepState::Failed);
    assert_eq!(steps[0].name, "send");
    let error = json!({"code": "denied", "message": "not on a Friday", "retryable": false});
    assert_eq!(steps[0].error, Some(error));
    assert_eq!(steps[0].ended_at, Some(Micros(2)));
}

#[test]
fn a_step_says_who_asked_for_it() {
    let event = |seq, kind, body: &'static str| StoredEvent {
        seq,
        at: Micros(1),
        event: NewEvent {
            kind: "tool.called".into(),
            step: Some(StepMark {
                number: u32::try_from(seq).unwrap(),
                kind,
                status: StepStatus::Started,
                effect: EffectClass::Idempotent,
            }),
            usage: Usage::default(),
            blobs: Vec::new(),
            body: body.as_bytes().to_vec().into(),
        },
    };
    let mut fold = Fold::new(0, 10, 1_000);
    let own = r#"{"name": "http_fetch", "initiator": "machine"}"#;
    fold.add(&event(1, StepKind::Model, "{}"));
    fold.add(&event(2, StepKind::Tool, r#"{"name": "http_request"}"#));
    fold.add(&event(3, StepKind::Tool, own));
    let seen: Vec<_> = fold
        .steps
        .iter()
        .map(|step| (step.kind, step.initiator))
        .collect();
    assert_eq!(
        seen,
        [
            ("model", None),
            ("tool", Some(Initiator::Model)),
            ("tool", Some(Initiator::Machine)),
        ]
    );
}

#[test]
fn a_step_that_somebody_resolved_as_failed_says_why() {
    let resolved = TaskEvent::Resolved {
        step: 2,
        resolution: Resolution::Failed {
            message: "it bounced".into(),
        },
        by: None,
    };
    let steps = fold(&[resolved]);
    assert_eq!(steps[0].status, StepState::Failed);
    let error = json!({"code": "resolved_failed", "message": "it bounced", "retryable": false});
    assert_eq!(steps[0].error, Some(error));
}

/// engine/E10
#[test]
fn the_delay_between_two_attempts_is_a_wait_with_the_failure_before_it() {
    let error = ops_core::event::TaskError {
        code: "model_server_error".into(),
        message: "500".into(),
    };
    let retry = TaskEvent::RetryScheduled {
        attempt: 2,
        until: Micros(70),
        error,
    };
    let waits = fold(std::slice::from_ref(&retry));
    assert_eq!(waits.len(), 2);
    let wait = &waits[1];
    assert_eq!((wait.kind, wait.name.as_str()), ("wait", "retry"));
    assert_eq!((wait.status, wait.number), (StepState::Started, None));
    assert_eq!((wait.until, wait.ended_at), (Some(Micros(70)), None));
    assert_eq!(wait.input, Some(json!({"on": "retry", "attempt": 2})));
    let error = json!({"code": "model_server_error", "message": "500", "retryable": true});
    assert_eq!(wait.error, Some(error));

    let waited = fold(&[retry, TaskEvent::Woken {}]);
    assert_eq!(waited[1].status, StepState::Completed);
    assert_eq!(waited[1].ended_at, Some(Micros(3)));
}

/// engine/E10
#[test]
fn the_time_of_a_wait_is_a_time() {
    let wait = serde_json::from_value(json!({"on": "timer", "until": 50})).unwrap();
    let steps = fold(&[TaskEvent::Waiting { wait }]);
    assert_eq!(steps[1].until, Some(Micros(50)));
    assert_eq!(steps[1].input, Some(json!({"on": "timer"})));
}
