use proptest::prelude::*;

use super::*;
use crate::{
    event::{EffectClass, Resolution, StepKind, StepMark, Usage},
    id::{SessionId, TaskId},
    retry::RetryPolicy,
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
        usage: Usage::default(),
        started_at: None,
        updated_at: Micros(0),
        completed_at: None,
    }
}

fn leased() -> Lifecycle {
    decide(&fresh(), Command::Claim { session: session() }, Micros(5))
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
        body: b"{}".to_vec(),
    }
}

fn append(life: &Lifecycle, next: Next) -> Command {
    Command::Append(Append {
        epoch: life.epoch,
        expected_seq: life.seq,
        events: vec![outcome_event(StepStatus::Completed)],
        next,
    })
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
    let lost = decide(&life, Command::LoseLease, Micros(6)).unwrap().after;
    let again = decide(&lost, Command::Claim { session: session() }, Micros(7))
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
            decide(&life, Command::Wake, Micros(0)).unwrap_err(),
            Rejection::NotDue
        );
        life = decide(&life, Command::Wake, due).unwrap().after;
        life = decide(&life, Command::Claim { session: session() }, due)
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
    let lose = |life: &Lifecycle| decide(life, Command::LoseLease, Micros(9)).unwrap().after;
    let claim = |life: &Lifecycle| {
        decide(life, Command::Claim { session: session() }, Micros(9))
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
    if let Command::Append(append) = &mut intent {
        append.events = vec![outcome_event(StepStatus::Started)];
    }
    let stuck = decide(&life, intent, Micros(9)).unwrap().after;
    assert_eq!(lose(&stuck).state, State::Failed { dead_letter: true });
}

#[test]
fn a_cancel_is_confirmed_by_the_worker_or_by_the_end_of_its_lease() {
    let life = decide(&leased(), Command::Cancel, Micros(9)).unwrap().after;
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
        decide(&life, Command::LoseLease, Micros(9))
            .unwrap()
            .after
            .state,
        State::Cancelled
    );
    let released = Command::Release { epoch: life.epoch };
    assert_eq!(
        decide(&life, released, Micros(9)).unwrap().after.state,
        State::Cancelled
    );
    assert_eq!(
        decide(&fresh(), Command::Cancel, Micros(9))
            .unwrap()
            .after
            .state,
        State::Cancelled
    );
}

#[test]
fn doubts_are_resolved_one_by_one() {
    let life = leased();
    let wait = Next::Wait(Wait::InDoubt { steps: vec![4, 6] });
    let parked = decide(&life, append(&life, wait), Micros(9)).unwrap().after;
    assert_eq!(parked.state.session(), None);
    let resolve = |step| Command::Resolve {
        step,
        resolution: Resolution::Retry,
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

fn any_command() -> impl Strategy<Value = Command> {
    let step_status = prop_oneof![
        Just(StepStatus::Queued),
        Just(StepStatus::Started),
        Just(StepStatus::Completed),
        Just(StepStatus::Failed),
    ];
    let wait = prop_oneof![
        any::<i64>().prop_map(|until| Wait::Timer {
            until: Micros(until)
        }),
        prop::collection::vec(0_u32..4, 0..3).prop_map(|steps| Wait::InDoubt { steps }),
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
    prop_oneof![
        6 => Just(Command::Claim { session: session() }),
        6 => (0_u64..6, 0_u64..4, prop::collection::vec(step_status, 0..3), next).prop_map(
            |(epoch, behind, statuses, next)| Command::Append(Append {
                epoch,
                expected_seq: behind,
                events: statuses.into_iter().map(outcome_event).collect(),
                next,
            })
        ),
        1 => (0_u64..6).prop_map(|epoch| Command::Release { epoch }),
        1 => Just(Command::LoseLease),
        4 => Just(Command::Wake),
        1 => Just(Command::Cancel),
        4 => (0_u32..4, resolution).prop_map(|(step, resolution)| Command::Resolve { step, resolution }),
    ]
}

proptest! {
    /// No sequence of commands leaves a terminal state, numbers are gapless, every event applies
    /// and gives the same lifecycle when the log is folded, and nothing panics at any time.
    #[test]
    fn every_history_is_lawful(
        commands in prop::collection::vec((any_command(), any::<i64>(), 0_u8..8), 0..60),
    ) {
        let start = fresh();
        let mut life = start.clone();
        let mut log: Vec<(NewEvent, Micros)> = Vec::new();
        for (mut command, now, luck) in commands {
            // Most appends come from a writer that knows the lease and the last event.
            if let (Command::Append(append), true) = (&mut command, luck > 0) {
                append.epoch = life.epoch;
                append.expected_seq = life.seq;
            }
            let before = life.clone();
            match decide(&before, command, Micros(now)) {
                Ok(decision) => {
                    prop_assert!(!before.state.name().is_terminal());
                    prop_assert_eq!(decision.after.seq, before.seq + decision.events.len() as u64);
                    prop_assert!(decision.after.epoch >= before.epoch);
                    prop_assert!(decision.after.updated_at >= before.updated_at);
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
