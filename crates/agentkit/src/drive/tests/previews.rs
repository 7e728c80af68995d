//! Approvals whose reviewer sees a preview, and that go to another group.

use std::{sync::atomic::AtomicI64, time::Duration};

use super::*;
use crate::{
    drive::{Approval, Preview},
    event::{CallPurpose, Escalation, Initiator, PreviewCall, ToolApproved, ToolEscalated},
    policy::{
        Action, ApprovalTerms, EscalationTerms, Permission, Policy, PolicyContext, Previewer,
    },
};

/// ChangeGuard about `change` under these terms.
struct ChangeGuard {
    terms: ApprovalTerms,
    look: Permission,
}

impl Policy for ChangeGuard {
    fn check_permissions(&self, action: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        match &*action.tool.name {
            "change" => Permission::Ask {
                reason: "it changes things".to_owned(),
                terms: self.terms.clone(),
            },
            "look" => self.look.clone(),
            _ => Permission::Allow,
        }
    }
}

fn preview() -> ApprovalTerms {
    let arguments = json!({"n": "{n}"});
    ApprovalTerms {
        preview: Some(Previewer {
            tool: "look".to_owned(),
            arguments: arguments.as_object().cloned().unwrap(),
        }),
        ..ApprovalTerms::default()
    }
}

struct FixedClock(AtomicI64);

impl RunClock for FixedClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A log and the approvals of its keeper, and a process that dies at an append.
struct Keeper {
    log: Dying,
    approvals: Mutex<Vec<Approval>>,
}

impl Keeper {
    fn new(events: Vec<Event>, dies_at: usize, commits: bool) -> Arc<Self> {
        let log = Dying {
            events: Mutex::new(events),
            dies_at,
            commits,
            ..Dying::default()
        };
        let approvals = Mutex::default();
        Arc::new(Self { log, approvals })
    }

    fn events(&self) -> Vec<Event> {
        self.log.events.lock().unwrap().clone()
    }
}

impl Recorder for Keeper {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        let dies = self.log.appends.load(Ordering::SeqCst) == self.log.dies_at;
        if !dies || self.log.commits {
            let asked = batch.commands.iter().filter_map(|command| match command {
                Command::RequestApproval(approval) => Some(approval.clone()),
                Command::Spawn(_) => None,
            });
            self.approvals.lock().unwrap().extend(asked);
        }
        self.log.append(batch)
    }

    fn new_child(&self) -> Result<String, Failure> {
        self.log.new_child()
    }

    fn check(&self) -> Result<(), RecordError> {
        self.log.check()
    }
}

/// An agent that looks if told so, and changes something with `n` = 7.
fn agent(
    terms: ApprovalTerms,
    look: Permission,
    effect: Effect,
) -> (Agent, Arc<Mutex<Vec<StepId>>>) {
    let (change, _) = Counting::new("change", Effect::Write);
    let (looker, looks) = Counting::new("look", effect);
    let turns = vec![Ok(vec![("change", "{\"n\": 7}")])];
    let agent = Agent::builder(Turns::new(turns))
        .tool(change)
        .tool(looker)
        .policy(Arc::new(ChangeGuard { terms, look }))
        .build()
        .unwrap();
    (agent, looks)
}

async fn go(agent: &Agent, keeper: &Arc<Keeper>, now: i64) -> Result<Stop, DriveError> {
    let mut run = fold(&keeper.events());
    let blobs = Arc::new(MemoryRecorder::default());
    let clock = Arc::new(FixedClock(AtomicI64::new(now)));
    let environment = DriveEnvironment::new(Arc::clone(keeper) as _, clock, ".".into(), blobs);
    let stop = drive(agent, "count", &mut run, &environment).await;
    if stop.is_ok() {
        assert_eq!(run, fold(&keeper.events()), "the fold is the run");
    }
    stop
}

fn waits(stop: &Stop) -> Option<i64> {
    let Stop::Waiting(Wait::Approval { until_micros, .. }) = stop else {
        panic!("{stop:?}")
    };
    *until_micros
}

/// A reviewer who comes once the run waits has the preview, whichever append the process died at.
#[tokio::test]
async fn a_preview_is_made_once_and_shown_whatever_a_crash_breaks_off() {
    let mut broken_off = 0;
    for commits in [false, true] {
        for dies_at in 0..6 {
            let (agent, looks) = agent(preview(), Permission::Allow, Effect::Pure);
            let first = Keeper::new(Vec::new(), dies_at, commits);
            let died = go(&agent, &first, 1).await.is_err();
            let before = looks.lock().unwrap().len();
            let second = Keeper::new(first.events(), usize::MAX, true);
            waits(&go(&agent, &second, 2).await.unwrap());
            let mut approvals = std::mem::take(&mut *first.approvals.lock().unwrap());
            approvals.append(&mut second.approvals.lock().unwrap());
            let [asked, shown] = approvals.as_slice() else {
                panic!("{dies_at} {commits}: {approvals:#?}")
            };
            let call = PreviewCall {
                tool: "look".to_owned(),
                input: json!({"n": 7}),
            };
            let pending = Preview {
                call: call.clone(),
                step: None,
                outcome: None,
            };
            assert_eq!(asked.preview, Some(pending));
            let step = Some(StepId(3));
            let outcome = Some(Ok(json!("counted")));
            let expected = Preview {
                call,
                step,
                outcome,
            };
            assert_eq!((shown.step, &shown.preview), (asked.step, &Some(expected)));
            // It is called twice only if its outcome was lost.
            let calls = looks.lock().unwrap().len();
            assert!(calls == 1 || calls == 2 && died && before == 1, "{calls}");
            broken_off += usize::from(calls == 2);

            // The call that was asked about runs, and the model saw nothing of the preview.
            let mut events = second.events();
            let called = events.iter().find_map(|event| match event {
                Event::ToolCalled(called) if called.name == "look" => Some(called),
                _ => None,
            });
            let called = called.unwrap();
            assert_eq!(called.initiator, Initiator::Machine);
            let of = StepId(2);
            assert_eq!(called.purpose, Some(CallPurpose::Preview { of }));
            events.push(Event::ToolApproved(ToolApproved {
                step: of,
                input: None,
                by: None,
            }));
            let third = Keeper::new(events, usize::MAX, true);
            let stop = go(&agent, &third, 3).await.unwrap();
            assert_eq!(stop, Stop::Completed(json!("done")));
            let run = fold(&third.events());
            assert!(!format!("{:?}", run.memory()).contains("look\""));
        }
    }
    assert!(broken_off > 0, "no death hit a preview in flight");
}

/// Neither a failure nor a refusal of the preview holds the reviewer up.
#[tokio::test]
async fn a_preview_that_cannot_be_made_is_shown_and_blocks_nothing() {
    let denied = Permission::Deny {
        reason: "nobody looks".to_owned(),
    };
    let asked = Permission::Ask {
        reason: "hm".to_owned(),
        terms: ApprovalTerms::default(),
    };
    let gone = ApprovalTerms {
        preview: Some(Previewer {
            tool: "lok".to_owned(),
            arguments: serde_json::Map::new(),
        }),
        ..ApprovalTerms::default()
    };
    let wrong = ApprovalTerms {
        preview: Some(Previewer {
            tool: "look".to_owned(),
            arguments: json!({"n": "seven"}).as_object().cloned().unwrap(),
        }),
        ..ApprovalTerms::default()
    };
    for (terms, look, effect, code) in [
        (preview(), denied, Effect::Pure, "denied"),
        (preview(), asked, Effect::Pure, "denied"),
        (preview(), Permission::Allow, Effect::Write, "denied"),
        (gone, Permission::Allow, Effect::Pure, "unknown_tool"),
        (wrong, Permission::Allow, Effect::Pure, "invalid_arguments"),
    ] {
        let (agent, looks) = agent(terms, look, effect);
        let keeper = Keeper::new(Vec::new(), usize::MAX, true);
        waits(&go(&agent, &keeper, 1).await.unwrap());
        // Driven again, it is not made again.
        waits(&go(&agent, &keeper, 2).await.unwrap());
        let approvals = keeper.approvals.lock().unwrap();
        let [_, shown] = approvals.as_slice() else {
            panic!("{approvals:#?}")
        };
        let outcome = shown
            .preview
            .as_ref()
            .and_then(|preview| preview.outcome.clone());
        let failure = outcome.unwrap().unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(looks.lock().unwrap().is_empty());
    }
}

/// A call that leaves the same state however often it runs may still write.
#[tokio::test]
async fn a_preview_that_would_write_is_not_made() {
    let (change, _) = Counting::new("change", Effect::Write);
    let (mut saver, saves) = Counting::new("look", Effect::Idempotent);
    let written = crate::tool::Resource::file("a.txt");
    saver.resources = Some(Resources::writes([written]));
    let turns = vec![Ok(vec![("change", "{\"n\": 7}")])];
    let agent = Agent::builder(Turns::new(turns))
        .tool(change)
        .tool(saver)
        .policy(Arc::new(ChangeGuard {
            terms: preview(),
            look: Permission::Allow,
        }))
        .build()
        .unwrap();
    let keeper = Keeper::new(Vec::new(), usize::MAX, true);
    waits(&go(&agent, &keeper, 1).await.unwrap());
    assert!(saves.lock().unwrap().is_empty(), "the preview wrote");
}

const HOUR: i64 = 3_600_000_000;

fn escalates(then: Option<u64>) -> ApprovalTerms {
    ApprovalTerms {
        timeout: then.map(|hours| Duration::from_secs(hours * 3_600)),
        escalation: Some(EscalationTerms {
            after: Duration::from_secs(3_600),
            to: "on-call".to_owned(),
        }),
        preview: None,
    }
}

#[tokio::test]
async fn an_unanswered_approval_goes_to_another_group_and_then_expires() {
    let (agent, _) = agent(escalates(Some(3)), Permission::Allow, Effect::Pure);
    let keeper = Keeper::new(Vec::new(), usize::MAX, true);
    let until = waits(&go(&agent, &keeper, 0).await.unwrap());
    assert_eq!(until, Some(HOUR), "it wakes to escalate");
    let at_micros = HOUR;
    let to = "on-call".to_owned();
    let escalation = Some(Escalation { at_micros, to });
    assert_eq!(keeper.approvals.lock().unwrap()[0].escalation, escalation);

    // Woken too early, it escalates nothing.
    assert_eq!(
        waits(&go(&agent, &keeper, HOUR - 1).await.unwrap()),
        Some(HOUR)
    );
    let until = waits(&go(&agent, &keeper, HOUR).await.unwrap());
    assert_eq!(until, Some(3 * HOUR));
    let until = waits(&go(&agent, &keeper, HOUR + 1).await.unwrap());
    assert_eq!(until, Some(3 * HOUR));
    let escalated: Vec<_> = keeper
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::ToolEscalated(_)))
        .collect();
    let (step, to) = (StepId(2), "on-call".to_owned());
    assert_eq!(
        escalated,
        [Event::ToolEscalated(ToolEscalated { step, to })]
    );

    let mut expired = keeper.events();
    let _ = go(&agent, &keeper, 3 * HOUR).await.unwrap();
    let events = keeper.events();
    let failed = events.iter().find_map(|event| match event {
        Event::ToolFailed(failed) => Some(failed.error.code.as_str()),
        _ => None,
    });
    assert_eq!(failed, Some("approval_expired"));

    // The other group approves, and an escalation that comes after its word changes nothing.
    expired.push(Event::ToolApproved(ToolApproved {
        step,
        input: None,
        by: Some("ann".to_owned()),
    }));
    expired.push(escalated[0].clone());
    let keeper = Keeper::new(expired, usize::MAX, true);
    let stop = go(&agent, &keeper, 2 * HOUR).await.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
}

/// A server that was away for all of the time records both, and one that escalates for ever stays open.
#[tokio::test]
async fn an_escalation_that_was_missed_is_recorded_late() {
    let (away, _) = agent(escalates(Some(3)), Permission::Allow, Effect::Pure);
    let keeper = Keeper::new(Vec::new(), usize::MAX, true);
    waits(&go(&away, &keeper, 0).await.unwrap());
    let _ = go(&away, &keeper, 9 * HOUR).await.unwrap();
    let kinds: Vec<_> = keeper.events().iter().map(Event::kind).collect();
    let at = |kind| kinds.iter().position(|found| *found == kind).unwrap();
    assert!(at("tool.escalated") < at("tool.failed"), "{kinds:?}");

    let (open, _) = agent(escalates(None), Permission::Allow, Effect::Pure);
    let keeper = Keeper::new(Vec::new(), usize::MAX, true);
    assert_eq!(waits(&go(&open, &keeper, 0).await.unwrap()), Some(HOUR));
    assert_eq!(waits(&go(&open, &keeper, HOUR).await.unwrap()), None);
}

/// A clock that was ahead for a while moves the date of the escalation as well.
#[tokio::test]
async fn a_corrected_clock_escalates_in_time() {
    let (agent, _) = agent(escalates(Some(3)), Permission::Allow, Effect::Pure);
    let keeper = Keeper::new(Vec::new(), usize::MAX, true);
    waits(&go(&agent, &keeper, 90 * HOUR).await.unwrap());
    let mut run = fold(&keeper.events());
    run.clock_corrected(90 * HOUR, 10 * HOUR);
    let Some(Wait::Approval { until_micros, .. }) = run.wait() else {
        panic!("{run:?}")
    };
    assert_eq!(until_micros, Some(11 * HOUR));
}
