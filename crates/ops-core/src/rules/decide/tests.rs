use proptest::prelude::*;

use super::*;
use crate::{
    event::{ChildEnd, EffectClass, Resolution, StepKind, StepMark, StepStatus, Usage},
    id::{SessionId, TaskId},
    retry::RetryPolicy,
    task::{Relations, StateName, TaskLimits, WaitRequest},
};

fn session() -> SessionId {
    SessionId::new(Micros(1), [1; 10])
}

fn fresh() -> Lifecycle {
    Lifecycle {
        id: TaskId::new(Micros(1), [9; 10]),
        state: State::Pending,
        attempt: 1,
        retry: RetryPolicy::default(),
        epoch: 0,
        seq: 1,
        lease_losses: 0,
        run_started: false,
        paused: false,
        timeout: None,
        start_by: None,
        waits_for_limits: false,
        external_pending: false,
        relations: Relations::default(),
        usage: Usage::default(),
        children_usage: Usage::default(),
        started_at: None,
        updated_at: Micros(0),
        completed_at: None,
        failure: None,
    }
}

fn leased() -> Lifecycle {
    decide(&fresh(), Cause::Claim { session: session() }, Micros(5))
        .unwrap()
        .after
}

fn outcome_event(status: StepStatus) -> NewEvent {
    NewEvent {
        kind: "tool.completed".into(),
        step: Some(StepMark {
            number: 1,
            kind: StepKind::Tool,
            status,
            effect: EffectClass::Write,
        }),
        usage: Usage {
            input_tokens: 3,
            output_tokens: 2,
            cost_micros: 1,
        },
        blobs: vec![],
        body: b"{}".to_vec().into(),
    }
}

fn append(life: &Lifecycle, next: Next) -> Cause {
    let events = vec![outcome_event(StepStatus::Completed)];
    Cause::Run(RunCommand::append(
        life.epoch,
        Append::new(life.seq, events, next),
    ))
}

fn asked(action: TaskAction) -> Cause {
    Cause::Task(action.by(Actor::Local))
}

fn release(life: &Lifecycle) -> Cause {
    Cause::Run(RunCommand::release(life.epoch))
}

fn failure() -> TaskError {
    TaskError {
        code: "model_unreachable".into(),
        message: "no connection".into(),
    }
}

#[test]
fn a_stale_writer_is_refused_by_epoch_and_by_sequence() {
    let life = leased();
    let lost = decide(&life, Cause::LoseLease, Micros(6)).unwrap().after;
    let again = decide(&lost, Cause::Claim { session: session() }, Micros(7))
        .unwrap()
        .after;
    assert_eq!(
        decide(&again, append(&life, Next::Continue), Micros(8)).unwrap_err(),
        Rejection::StaleEpoch {
            given: 1,
            current: 2
        }
    );
    let mut behind = again.clone();
    behind.seq -= 1;
    assert_eq!(
        decide(&again, append(&behind, Next::Continue), Micros(8)).unwrap_err(),
        Rejection::WrongSeq {
            given: again.seq - 1,
            current: again.seq
        }
    );
}

#[test]
fn retryable_failures_are_tried_again_and_then_dead_lettered() {
    let mut life = leased();
    for attempt in 2..=3 {
        let next = Next::Fail {
            error: failure(),
            retryable: true,
        };
        life = decide(&life, append(&life, next), Micros(10))
            .unwrap()
            .after;
        assert_eq!(life.attempt, attempt);
        let due = life.state.due().expect("a further attempt has a start");
        assert_eq!(
            decide(&life, Cause::Wake, Micros(0)).unwrap_err(),
            Rejection::NotDue
        );
        life = decide(&life, Cause::Wake, due).unwrap().after;
        life = decide(&life, Cause::Claim { session: session() }, due)
            .unwrap()
            .after;
    }
    let decision = decide(
        &life,
        append(
            &life,
            Next::Fail {
                error: failure(),
                retryable: true,
            },
        ),
        Micros(99),
    )
    .unwrap();
    assert_eq!(decision.after.state, State::Failed { dead_letter: true });
    assert_eq!(decision.outcome, Some(Outcome::Error(failure())));
}

#[test]
fn a_final_failure_is_not_a_dead_letter() {
    let life = leased();
    let next = Next::Fail {
        error: failure(),
        retryable: false,
    };
    let after = decide(&life, append(&life, next), Micros(9)).unwrap().after;
    assert_eq!(after.state, State::Failed { dead_letter: false });
}

#[test]
fn five_losses_without_an_outcome_dead_letter_and_an_outcome_starts_the_count_anew() {
    let lose = |life: &Lifecycle| decide(life, Cause::LoseLease, Micros(9)).unwrap().after;
    let claim = |life: &Lifecycle| {
        decide(life, Cause::Claim { session: session() }, Micros(9))
            .unwrap()
            .after
    };
    let mut life = leased();
    for _ in 0..4 {
        life = claim(&lose(&life));
    }
    let progress = decide(&life, append(&life, Next::Continue), Micros(9))
        .unwrap()
        .after;
    assert_eq!(lose(&progress).state, State::Pending);
    let mut intent = append(&life, Next::Continue);
    if let Cause::Run(RunCommand {
        action: RunAction::Append(append),
        ..
    }) = &mut intent
    {
        append.events = vec![outcome_event(StepStatus::Started)];
    }
    let stuck = decide(&life, intent, Micros(9)).unwrap().after;
    assert_eq!(lose(&stuck).state, State::Failed { dead_letter: true });
}

#[test]
fn a_cancel_is_confirmed_by_the_worker_or_by_the_end_of_its_lease() {
    let life = decide(&leased(), asked(TaskAction::Cancel), Micros(9))
        .unwrap()
        .after;
    assert_eq!(life.state.name().as_str(), "cancelling");
    assert_eq!(
        decide(&life, append(&life, Next::Continue), Micros(9)).unwrap_err(),
        Rejection::Cancelling
    );
    let confirmed = decide(&life, append(&life, Next::Cancelled), Micros(9))
        .unwrap()
        .after;
    assert_eq!(confirmed.state, State::Cancelled);
    assert_eq!(
        decide(&life, Cause::LoseLease, Micros(9))
            .unwrap()
            .after
            .state,
        State::Cancelled
    );
    assert_eq!(
        decide(&life, release(&life), Micros(9))
            .unwrap()
            .after
            .state,
        State::Cancelled
    );
    assert_eq!(
        decide(&fresh(), asked(TaskAction::Cancel), Micros(9))
            .unwrap()
            .after
            .state,
        State::Cancelled
    );
}

#[test]
fn doubts_are_resolved_one_by_one() {
    let life = leased();
    let wait = Next::Wait(WaitRequest::InDoubt { steps: vec![4, 6] });
    let parked = decide(&life, append(&life, wait), Micros(9)).unwrap().after;
    assert_eq!(parked.state.session(), None);
    let resolve = |step| {
        asked(TaskAction::Resolve {
            step,
            resolution: Resolution::Retry,
            by: None,
        })
    };
    assert_eq!(
        decide(&parked, resolve(5), Micros(9)).unwrap_err(),
        Rejection::NotInDoubt(5)
    );
    let half = decide(&parked, resolve(4), Micros(9)).unwrap().after;
    assert_eq!(half.state, State::Waiting(Wait::InDoubt { steps: vec![6] }));
    assert_eq!(
        decide(&half, resolve(4), Micros(9)).unwrap_err(),
        Rejection::NotInDoubt(4)
    );
    let done = decide(&half, resolve(6), Micros(9)).unwrap().after;
    assert_eq!(done.state, State::Pending);
}

fn child(n: u8) -> TaskId {
    TaskId::new(Micros(1), [n; 10])
}

fn ended(n: u8) -> ChildEnd {
    ChildEnd {
        child: child(n),
        state: StateName::Completed,
        result: None,
        stored: None,
        error: None,
        used: Usage {
            input_tokens: 5,
            ..Usage::default()
        },
    }
}

fn apply(life: &Lifecycle, cause: Cause) -> Lifecycle {
    decide(life, cause, Micros(9)).unwrap().after
}

fn wait(life: &Lifecycle, wait: WaitRequest) -> Lifecycle {
    apply(life, append(life, Next::Wait(wait)))
}

fn signal(name: &str) -> Cause {
    asked(TaskAction::Signal {
        name: name.into(),
        payload: serde_json::json!("yes"),
    })
}

#[test]
fn a_paused_task_stands_still_wherever_it_was() {
    let paused = apply(&fresh(), asked(TaskAction::Pause));
    assert_eq!(paused.state, State::Paused);
    assert_eq!(
        decide(&paused, Cause::Claim { session: session() }, Micros(9)).unwrap_err(),
        Rejection::WrongState(StateName::Paused)
    );
    assert_eq!(
        apply(&paused, asked(TaskAction::Resume)).state,
        State::Pending
    );
    assert!(
        decide(&paused, asked(TaskAction::Pause), Micros(9))
            .unwrap()
            .events
            .is_empty()
    );

    // A worker ends its step and gives it back.
    let running = apply(&leased(), asked(TaskAction::Pause));
    assert!(running.paused && running.state.session().is_some());
    let released = apply(&running, release(&running));
    assert_eq!(released.state, State::Paused);
    assert_eq!(apply(&running, Cause::LoseLease).state, State::Paused);
    assert!(
        apply(&running, asked(TaskAction::Resume))
            .state
            .session()
            .is_some()
    );

    // One that waits goes on waiting, and stands still when its wait is over.
    let waiting = wait(&leased(), WaitRequest::Timer { until: Micros(8) });
    let waiting = apply(&waiting, asked(TaskAction::Pause));
    assert_eq!(waiting.state.name(), StateName::Waiting);
    assert_eq!(apply(&waiting, Cause::Wake).state, State::Paused);
}

#[test]
fn a_signal_wakes_who_waits_for_it_and_is_logged_for_everybody_else() {
    let names = vec!["answer".to_owned()];
    let waiting = wait(&leased(), WaitRequest::Signal { names, until: None });
    assert_eq!(apply(&waiting, signal("other")).state, waiting.state);
    assert_eq!(apply(&waiting, signal("answer")).state, State::Pending);
    assert_eq!(apply(&fresh(), signal("answer")).seq, fresh().seq + 1);
}

#[test]
fn what_is_heard_while_a_worker_runs_ends_a_wait_that_comes_after_it() {
    let names = vec!["answer".to_owned()];
    let external_pending = apply(&leased(), signal("answer"));
    let woken = wait(
        &external_pending,
        WaitRequest::Signal { names, until: None },
    );
    assert_eq!(woken.state, State::Pending);
    // The next holder reads the log and has heard everything.
    let again = apply(&woken, Cause::Claim { session: session() });
    let names = vec!["answer".to_owned()];
    assert_eq!(
        wait(&again, WaitRequest::Signal { names, until: None })
            .state
            .name(),
        StateName::Waiting
    );
    // What a provider asks for is waited for all the same.
    assert_eq!(
        wait(&external_pending, WaitRequest::Timer { until: Micros(99) })
            .state
            .due(),
        Some(Micros(99))
    );
}

#[test]
fn other_limits_wake_who_waits_for_them_and_are_logged_for_everybody_else() {
    let limits = asked(TaskAction::Limit(TaskLimits {
        max_steps: Some(9),
        ..TaskLimits::default()
    }));
    let used_up = || WaitRequest::Budget {
        limit: "max_steps".into(),
        message: "all are used".into(),
        until: None,
    };
    let waiting = wait(&leased(), used_up());
    assert_eq!(apply(&waiting, limits.clone()).state, State::Pending);
    assert_eq!(apply(&waiting, signal("go")).state, waiting.state);
    let running = apply(&leased(), limits.clone());
    assert_eq!(running.state, leased().state);
    assert_eq!(
        wait(&running, used_up()).state,
        State::Pending,
        "it was heard"
    );
    let timer = wait(&leased(), WaitRequest::Timer { until: Micros(99) });
    assert_eq!(apply(&timer, limits).state, timer.state);
}

#[test]
fn a_parent_is_woken_by_the_last_child_that_it_waits_for() {
    let tasks = vec![child(1), child(2)];
    let waiting = wait(&leased(), WaitRequest::Child { tasks, until: None });
    let one = apply(&waiting, Cause::ChildEnded(ended(1)));
    assert_eq!(
        one.state,
        State::Waiting(Wait::Child {
            tasks: vec![child(2)],
            until: None
        })
    );
    let other = apply(&one, Cause::ChildEnded(ended(3)));
    assert_eq!(other.state, one.state);
    let both = apply(&other, Cause::ChildEnded(ended(2)));
    assert_eq!(both.state, State::Pending);
    assert_eq!(both.children_usage.input_tokens, 15);
}

#[test]
fn leave_wakes_the_step_that_asked_and_an_edit_does_not() {
    let steps = vec![3, 5];
    let waiting = wait(
        &leased(),
        WaitRequest::Approval {
            steps,
            until: Some(Micros(50)),
        },
    );
    let decide_approval = |step, decided| Cause::ApprovalDecided {
        actor: Actor::Local,
        step,
        decided,
        by: Some("ann".into()),
    };
    let edit = decide_approval(
        3,
        DecidedApproval::Edited {
            input: serde_json::json!({}),
        },
    );
    assert_eq!(apply(&waiting, edit).state, waiting.state);
    let approve = decide_approval(5, DecidedApproval::Approved { input: None });
    assert_eq!(apply(&waiting, approve).state, State::Pending);
    let deny = decide_approval(
        3,
        DecidedApproval::Denied {
            reason: "no".into(),
        },
    );
    assert_eq!(apply(&waiting, deny).state, State::Pending);
    assert_eq!(
        decide(&waiting, Cause::Wake, Micros(49)).unwrap_err(),
        Rejection::NotDue
    );
    assert_eq!(
        decide(&waiting, Cause::Wake, Micros(50))
            .unwrap()
            .after
            .state,
        State::Pending
    );
}

#[test]
fn a_taken_key_blocks_and_a_free_one_unblocks() {
    let blocked = apply(&fresh(), Cause::Block { key: "k".into() });
    assert_eq!(
        blocked.state,
        State::Waiting(Wait::Concurrency { key: "k".into() })
    );
    assert_eq!(apply(&blocked, Cause::Unblock).state, State::Pending);
    // Nobody rang while it stood still: it asks again.
    let paused = apply(&blocked, asked(TaskAction::Pause));
    assert_eq!(
        apply(&paused, asked(TaskAction::Resume)).state,
        State::Pending
    );
}

fn any_cause() -> impl Strategy<Value = Cause> {
    let step_status = prop_oneof![
        Just(StepStatus::Queued),
        Just(StepStatus::Started),
        Just(StepStatus::Completed),
        Just(StepStatus::Failed),
    ];
    let wait = prop_oneof![
        any::<i64>().prop_map(|until| WaitRequest::Timer {
            until: Micros(until)
        }),
        prop::collection::vec(0_u32..4, 0..3).prop_map(|steps| WaitRequest::InDoubt { steps }),
        (prop::collection::vec(0_u32..4, 1..3), any::<Option<i64>>()).prop_map(|(steps, until)| {
            WaitRequest::Approval {
                steps,
                until: until.map(Micros),
            }
        }),
        any::<Option<i64>>().prop_map(|until| WaitRequest::Signal {
            names: vec!["go".into()],
            until: until.map(Micros),
        }),
        any::<Option<i64>>().prop_map(|until| WaitRequest::Budget {
            limit: "max_steps".into(),
            message: String::new(),
            until: until.map(Micros),
        }),
        (1_u8..4).prop_map(|n| WaitRequest::Child {
            tasks: (0..n).map(child).collect(),
            until: None
        }),
    ];
    let next = prop_oneof![
        3 => Just(Next::Continue),
        1 => Just(Next::Complete { result: Json::null() }),
        2 => any::<bool>().prop_map(|retryable| Next::Fail { error: failure(), retryable }),
        2 => wait.prop_map(Next::Wait),
        1 => Just(Next::Cancelled),
    ];
    let resolution = prop_oneof![
        Just(Resolution::Retry),
        Just(Resolution::Failed {
            message: "no".into()
        }),
        Just(Resolution::Done {
            output: serde_json::Value::Null
        }),
    ];
    let decided = prop_oneof![
        Just(DecidedApproval::Approved { input: None }),
        Just(DecidedApproval::Denied {
            reason: "no".into()
        }),
        Just(DecidedApproval::Edited {
            input: serde_json::Value::Null
        }),
    ];
    prop_oneof![
        6 => Just(Cause::Claim { session: session() }),
        6 => (0_u64..6, 0_u64..4, prop::collection::vec(step_status, 0..3), next).prop_map(
            |(epoch, behind, statuses, next)| {
                let events = statuses.into_iter().map(outcome_event).collect();
                Cause::Run(RunCommand::append(epoch, Append::new(behind, events, next)))
            }
        ),
        1 => (0_u64..6).prop_map(|epoch| Cause::Run(RunCommand::release(epoch))),
        1 => Just(Cause::LoseLease),
        1 => Just(asked(TaskAction::Pause)),
        2 => Just(asked(TaskAction::Resume)),
        1 => Just(asked(TaskAction::Limit(TaskLimits::default()))),
        1 => Just(Cause::Block { key: "k".into() }),
        1 => Just(Cause::Unblock),
        2 => any::<bool>().prop_map(|go| signal(if go { "go" } else { "stop" })),
        2 => (0_u8..4).prop_map(|n| Cause::ChildEnded(ended(n))),
        2 => (0_u32..4, decided).prop_map(|(step, decided)| Cause::ApprovalDecided {
            actor: Actor::Local,
            step,
            decided,
            by: None,
        }),
        4 => Just(Cause::Wake),
        1 => Just(Cause::Expire),
        1 => Just(Cause::CorrectClock),
        1 => Just(Cause::ParentStopped),
        1 => Just(asked(TaskAction::Cancel)),
        4 => (0_u32..4, resolution).prop_map(|(step, resolution)| asked(TaskAction::Resolve { step, resolution, by: None })),
    ]
}

proptest! {
    /// No sequence of causes leaves a terminal state, numbers are gapless, every event applies
    /// and gives the same lifecycle when the log is folded, and nothing panics at any time.
    #[test]
    fn every_history_is_lawful(
        causes in prop::collection::vec((any_cause(), any::<i64>(), 0_u8..8), 0..60),
    ) {
        let start = fresh();
        let mut life = start.clone();
        let mut log: Vec<(NewEvent, Micros)> = Vec::new();
        for (mut cause, now, luck) in causes {
            // Most appends come from a writer that knows the lease and the last event.
            if let (Cause::Run(run), true) = (&mut cause, luck > 0) {
                run.epoch = life.epoch;
                if let RunAction::Append(append) = &mut run.action {
                    append.expected_seq = life.seq;
                }
            }
            let before = life.clone();
            match decide(&before, cause, Micros(now)) {
                Ok(decision) => {
                    prop_assert!(!before.state.name().is_terminal());
                    prop_assert_eq!(decision.after.seq, before.seq + decision.events.len() as u64);
                    prop_assert!(decision.after.epoch >= before.epoch);
                    let is_correction =
                        |event: &NewEvent| event.kind == "task.clock_corrected";
                    let corrected = decision.events.iter().any(is_correction);
                    prop_assert!(corrected || decision.after.updated_at >= before.updated_at);
                    let at = decision.after.updated_at;
                    log.extend(decision.events.into_iter().map(|event| (event, at)));
                    life = decision.after;
                    prop_assert_eq!(life.completed_at.is_some(), life.state.name().is_terminal());
                }
                Err(_) => prop_assert_eq!(&before, &life),
            }
        }
        let mut folded = start;
        for (event, at) in &log {
            folded = if TaskEvent::is_engine(&event.kind) {
                folded.apply(&TaskEvent::decode(&event.body).unwrap(), *at)
            } else {
                folded.apply_run(event, *at)
            };
        }
        prop_assert_eq!(folded, life);
    }
}
