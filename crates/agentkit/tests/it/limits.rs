//! Limits of the policy on calls: how many run at once, over all runs of a process.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use agentkit::{
    BoxFuture, StepId, Tool, ToolSpec,
    event::Failure,
    policy::PolicyFile,
    tool::{Effect, Gate, Registry, ToolContext, ToolOutput},
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Counts how many of its calls run, and ends them when it is told.
struct Counted {
    spec: ToolSpec,
    running: AtomicUsize,
    most: AtomicUsize,
    end: Notify,
}

impl Tool for Counted {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let running = self.running.fetch_add(1, SeqCst) + 1;
            self.most.fetch_max(running, SeqCst);
            self.end.notified().await;
            self.running.fetch_sub(1, SeqCst);
            Ok(json!("done").into())
        })
    }
}

fn context(gate: &Gate, cancel: &CancellationToken) -> ToolContext {
    ToolContext {
        cancel: cancel.clone(),
        policy: gate.policy_check("counted", "a"),
        ..ToolContext::outside_of_runs(StepId(1), Effect::Pure, std::env::temp_dir())
    }
}

#[tokio::test]
async fn calls_wait_for_their_places_and_a_cancelled_one_leaves() {
    let tool = Arc::new(Counted {
        spec: ToolSpec::new("counted", "", json!({"type": "object"})).effect(Effect::Pure),
        running: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        end: Notify::new(),
    });
    let file = PolicyFile::parse("[[limit]]\ntool = 'c*'\nconcurrency = 2\n").unwrap();
    // Two agents have the tool, each behind a gate of its own.
    let gates: Vec<Gate> = (0..2)
        .map(|_| {
            let registry = Registry::new([Arc::clone(&tool) as Arc<dyn Tool>]).unwrap();
            Gate::new(registry, Arc::new(file.policy(["counted"])))
        })
        .collect();
    let cancel = CancellationToken::new();
    let begin = |index: usize, cancel: &CancellationToken| {
        let gate = gates[index % 2].clone();
        let context = context(&gate, cancel);
        tokio::spawn(async move { gate.run("counted", json!({}), context).await })
    };
    let calls: Vec<_> = (0..5)
        .map(|index| begin(index, &CancellationToken::new()))
        .collect();
    let cancelled = begin(0, &cancel);
    while tool.running.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    let error = cancelled.await.unwrap().unwrap_err();
    assert_eq!(error.code, "cancelled", "{error:?}");
    for call in calls {
        // Whichever runs is ended, so that the next one has its place.
        while !call.is_finished() {
            tool.end.notify_one();
            tokio::task::yield_now().await;
        }
        assert_eq!(call.await.unwrap().unwrap().output, "done");
    }
    assert_eq!(tool.most.load(SeqCst), 2);
}
