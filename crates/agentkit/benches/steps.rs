//! What a turn of a long run costs the driver: one model call and one tool call, with a model that
//! answers at once and a log that keeps nothing. It should not grow with the run.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentkit::{
    Agent, BoxFuture, Model, Tool, ToolSpec, Usage,
    drive::{Batch, DriveEnvironment, MemoryRecorder, RecordError, Recorder, SystemClock, drive},
    event::{Failure, FinishReason},
    model::{DeltaSink, ModelError, Request, Response, ResponseCall},
    run::{Limits, Run},
    tool::{Effect, ToolContext, ToolOutput},
};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};

/// The lengths of run that a turn is measured at, in turns of two steps.
const LENGTHS: [u64; 3] = [10, 500, 5_000];
/// Turns that are measured in one go.
const TURNS: u64 = 100;

struct Calls;

impl Model for Calls {
    fn name(&self) -> &'static str {
        "bench/calls"
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        black_box(request.messages.len());
        let response = Response {
            content: String::new(),
            calls: vec![ResponseCall {
                provider_id: "p".into(),
                name: "look".into(),
                arguments: "{}".into(),
            }],
            usage: Usage::default(),
            finish: FinishReason::ToolCalls,
            model: "calls".into(),
            parts: None,
            request_id: None,
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

struct Look(ToolSpec, Arc<AtomicU64>);

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        // As long as a small page: the window is full after some thousand of them.
        Box::pin(std::future::ready(Ok(json!("x".repeat(100)).into())))
    }
}

/// Keeps nothing, and stops the run after so many turns.
struct Nothing(Arc<AtomicU64>, u64);

impl Recorder for Nothing {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        black_box(batch.events.len());
        Box::pin(std::future::ready(Ok(())))
    }

    fn check(&self) -> Result<(), RecordError> {
        match self.0.load(Ordering::Relaxed) < self.1 {
            true => Ok(()),
            false => Err(RecordError::Stopping),
        }
    }

    fn new_child(&self) -> Result<String, Failure> {
        Err(Failure::last("no_children", "a benchmark"))
    }
}

/// Drives a run for so many more turns.
async fn turns(run: &mut Run, count: u64) -> Duration {
    let looked = Arc::new(AtomicU64::new(0));
    let spec = ToolSpec::new("look", "looks", json!({"type": "object"})).effect(Effect::Pure);
    let limits = Limits {
        max_steps: u32::MAX,
        ..Limits::default()
    };
    let agent = Agent::builder(Arc::new(Calls))
        .tool(Look(spec, Arc::clone(&looked)))
        .limits(limits)
        .build()
        .expect("the tool is valid");
    let environment = DriveEnvironment::new(
        Arc::new(Nothing(Arc::clone(&looked), count)),
        Arc::new(SystemClock),
        std::env::temp_dir(),
        Arc::new(MemoryRecorder::default()),
    );
    let start = Instant::now();
    let stopped = drive(&agent, "look", run, &environment).await;
    let took = start.elapsed();
    assert!(stopped.is_err(), "only the recorder stops it");
    assert_eq!(looked.load(Ordering::Relaxed), count);
    took
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("turn");
    for length in LENGTHS {
        let mut base = Run::default();
        runtime.block_on(turns(&mut base, length));
        group.bench_function(format!("after {length}"), |bencher| {
            bencher.iter_custom(|count| {
                let mut took = Duration::ZERO;
                for first in (0..count).step_by(TURNS as usize) {
                    let mut run = base.clone();
                    took += runtime.block_on(turns(&mut run, TURNS.min(count - first)));
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
