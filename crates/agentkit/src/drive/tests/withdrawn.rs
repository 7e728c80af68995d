//! Intents that are recorded and then taken back, because the effect may not begin after all.

use super::*;

/// A recorder that refuses the check of one number, and goes on after it.
struct Refusing {
    log: Dying,
    checks: AtomicUsize,
    refused: usize,
    with: RecordError,
}

impl Refusing {
    fn new(refused: usize, with: RecordError) -> Arc<Self> {
        Arc::new(Self {
            log: Dying {
                dies_at: usize::MAX,
                ..Dying::default()
            },
            checks: AtomicUsize::new(0),
            refused,
            with,
        })
    }
}

impl Recorder for Refusing {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        self.log.append(batch)
    }
    fn new_child(&self) -> Result<String, Failure> {
        self.log.new_child()
    }
    fn check(&self) -> Result<(), RecordError> {
        match self.checks.fetch_add(1, Ordering::SeqCst) {
            number if number == self.refused => Err(self.with.clone()),
            _ => Ok(()),
        }
    }
}

async fn go_on(agent: &Agent, recorder: &Arc<Refusing>) -> Result<Stop, DriveError> {
    let mut run = fold(&recorder.log.events.lock().unwrap());
    let blobs = Arc::new(MemoryRecorder::default());
    let recorder = Arc::clone(recorder) as _;
    let environment = DriveEnvironment::new(recorder, Arc::new(SystemClock), ".".into(), blobs);
    drive(agent, "count", &mut run, &environment).await
}

/// The writes of a run that is stopped at one of its checks and goes on; whether it was stopped.
async fn stopped_at(check: usize, with: RecordError) -> (Vec<StepId>, bool) {
    let model = Turns::new(vec![
        Ok(vec![("change", "{}"), ("look", "{}"), ("change", "{}")]),
        Ok(vec![("change", "{}")]),
    ]);
    let (look, _) = Counting::new("look", Effect::Pure);
    let (change, changes) = Counting::new("change", Effect::Write);
    let agent = Agent::builder(model).tool(look).tool(change);
    let agent = agent.build().unwrap();
    let recorder = Refusing::new(check, with.clone());
    let first = go_on(&agent, &recorder).await;
    let stopped = matches!(&first, Err(DriveError::Record(error)) if *error == with);
    if stopped {
        let run = fold(&recorder.log.events.lock().unwrap());
        assert!(run.in_doubt().is_empty(), "{check}: nothing had begun");
        let second = go_on(&agent, &recorder).await;
        assert_eq!(second.unwrap(), Stop::Completed(json!("done")));
    } else {
        assert_eq!(first.unwrap(), Stop::Completed(json!("done")));
    }
    let changes = changes.lock().unwrap().clone();
    (changes, stopped)
}

#[tokio::test]
async fn a_call_that_may_not_begin_after_all_is_not_in_doubt() {
    for with in [RecordError::Stopping, RecordError::LeaseLost] {
        for check in 0.. {
            let (changes, stopped) = stopped_at(check, with.clone()).await;
            assert_eq!(changes, [StepId(2), StepId(4), StepId(6)], "{check}");
            if !stopped {
                assert_eq!(check, 14, "each place is stopped at once");
                break;
            }
        }
    }
}

#[test]
fn what_a_person_approved_is_looked_at_again_before_it_runs() {
    let config = Agent::builder(Turns::new(vec![])).build().unwrap();
    let step = StepId(2);
    let run = fold(&[
        Event::RunStarted(RunStarted {
            goal: "go".into(),
            images: Vec::new(),
            config: config.config().clone(),
        }),
        Event::ToolCalled(ToolCalled {
            step,
            provider_id: "p".into(),
            name: "change".into(),
            input: json!({}),
            effect: Effect::Write,
            resources: None,
            key: None,
            initiator: Default::default(),
            purpose: None,
            decision: GateDecision::Ask {
                reason: "it changes things".into(),
                until_micros: None,
                tool_digest: None,
                escalation: None,
                preview: None,
            },
        }),
        Event::ToolApproved(crate::event::ToolApproved {
            step,
            input: None,
            by: None,
        }),
        Event::ToolStarted(ToolStarted {
            step,
            attempt: 1,
            key: None,
        }),
        Event::ToolResolved(ToolResolved {
            step,
            resolution: Resolution::Retry,
        }),
    ]);
    assert_eq!(run.call(step).unwrap().progress, Progress::Approved);
}

#[tokio::test]
async fn a_model_call_that_was_not_made_costs_nothing_and_is_no_failure() {
    let mut withdrawn = 0;
    for check in 0.. {
        let agent = Agent::builder(Turns::new(vec![Ok(vec![])]))
            .build()
            .unwrap();
        let recorder = Refusing::new(check, RecordError::Stopping);
        if go_on(&agent, &recorder).await.is_ok() {
            break;
        }
        let run = fold(&recorder.log.events.lock().unwrap());
        assert_eq!(run.model_failures(), 0, "{check}");
        assert_eq!(
            go_on(&agent, &recorder).await.unwrap(),
            Stop::Completed(json!("done"))
        );
        let events = recorder.log.events.lock().unwrap();
        let used = fold(&events);
        assert_eq!(
            used.charged_tokens(),
            used.usage().total_tokens(),
            "{check}"
        );
        let not_called = |event: &&Event| matches!(event, Event::ModelFailed(failed) if failed.error.code == "not_called");
        withdrawn += events.iter().filter(not_called).count();
    }
    assert_eq!(withdrawn, 1);
}
