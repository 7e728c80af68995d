//! Snapshots of a run while it runs.

use std::sync::Arc;

use agentkit::{
    Agent, BoxFuture, Event, Tool, ToolSpec,
    event::Failure,
    model::scripted::{Script, Scripted},
    run::{FOLD_VERSION, Limits, Run},
    tool::{ToolContext, ToolOutput},
};
use ops_core::{StoredEvent, event::TaskEvent, task::StateName};
use serde_json::{Value, json};

use crate::world::{Faults, Left, run_and_read};

struct Nothing(ToolSpec);

impl Tool for Nothing {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async { Ok(json!("nothing").into()) })
    }
}

/// Runs an agent that calls a tool so many times and then answers.
async fn run(turns: u32, faults: Faults) -> Left {
    let script = format!(
        "repeat_from = 1\n[[turn]]\n[[turn.case]]\nwhen = 'turn > {turns}'\nanswer = 'done'\n\
         [[turn.case]]\ncalls = [{{ tool = 'nothing', arguments = {{}} }}]"
    );
    let model = Arc::new(Scripted::new(Arc::new(Script::parse(&script).unwrap())));
    let nothing = ToolSpec::new("nothing", "Does nothing.", json!({"type": "object"}));
    let limits = Limits {
        max_steps: turns * 2 + 2,
        ..Limits::default()
    };
    let agent = Agent::builder(model).tool(Nothing(nothing)).limits(limits);
    let left = run_and_read(agent.build().unwrap(), faults).await;
    assert_eq!(left.record.life.state.name(), StateName::Completed);
    left
}

#[tokio::test]
async fn a_long_run_is_kept_while_it_runs_as_the_fold_of_its_log_so_far() {
    let Left { snapshot, log, .. } = run(300, Faults::default()).await;
    assert!(log.len() > 1_200, "{}", log.len());
    let snapshot = snapshot.expect("a run of 1,200 events has a snapshot");
    assert_eq!(snapshot.version, FOLD_VERSION);
    // A resume would have folded less than two thirds of the log.
    let last = log.len() as u64;
    assert!((last / 3..last).contains(&snapshot.seq), "{}", snapshot.seq);
    let mut fold = Run::default();
    for stored in log.iter().filter(|event| event.seq <= snapshot.seq) {
        if !TaskEvent::is_engine(&stored.event.kind) {
            fold.apply(&Event::decode(&stored.event.body).unwrap())
                .unwrap();
        }
    }
    let kept: Run = serde_json::from_slice(&snapshot.body).unwrap();
    assert_eq!(kept, fold);
}

#[tokio::test]
async fn a_short_run_has_no_snapshot() {
    assert_eq!(run(20, Faults::default()).await.snapshot, None);
}

#[tokio::test]
async fn what_happened_before_the_start_costs_no_snapshot() {
    let faults = Faults {
        signal: Some(("early", json!("bird"))),
        ..Faults::default()
    };
    let left = run(300, faults).await;
    let snapshot = left.snapshot.expect("a run of 1,200 events has a snapshot");
    let kept: Value = serde_json::from_slice(&snapshot.body).unwrap();
    assert_eq!(kept["signals"], json!({"early": ["bird"]}));
}

#[tokio::test]
async fn a_run_that_lacks_something_of_its_log_is_not_kept() {
    let faults = Faults {
        answer: Some(("meanwhile", json!("bird"))),
        ..Faults::default()
    };
    let Left { snapshot, log, .. } = run(300, faults).await;
    let signalled = |event: &StoredEvent| event.event.kind == "task.signalled";
    assert!(log.iter().any(signalled), "the signal came");
    assert_eq!(snapshot, None, "the run has not heard the signal");
}
