//! Claims of providers beyond the usage that a call can have, and beyond the length that a wait can have.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use agentkit::{
    Agent, BoxFuture, Event, Model, Usage,
    drive::{
        self, Batch, CallBudget, DriveEnvironment, MemoryRecorder, RecordError, Recorder, RunClock,
        Stop, SystemClock,
    },
    event::{Failure, FinishReason, ModelCompleted, Wait},
    model::{
        DeltaSink, MAX_RETRY_AFTER, ModelError, ModelErrorKind, ModelInfo, Prices, Request,
        Response, ResponseCall,
    },
    run::{Limits, Run},
    tool::{Effect, function},
};
use serde_json::json;

/// Asks for a call, and then answers. Its first answer claims this usage.
struct Boasting {
    info: ModelInfo,
    claims: Usage,
    asked: Mutex<Vec<Option<u64>>>,
}

impl Boasting {
    fn new(claims: Usage) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo {
                prices: vec![Prices {
                    up_to: None,
                    input: 1_000_000,
                    cached_input: None,
                    cache_write: None,
                    output: 1_000_000,
                }],
                ..ModelInfo::default()
            },
            claims,
            asked: Mutex::default(),
        })
    }
}

impl Model for Boasting {
    fn name(&self) -> &'static str {
        "test/boasts"
    }

    fn info(&self) -> Option<&ModelInfo> {
        Some(&self.info)
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(request.max_output_tokens);
        let first = asked.len() == 1;
        let call = first.then(|| ResponseCall {
            provider_id: "p".to_owned(),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
        });
        let honest = Usage {
            input_tokens: 80,
            output_tokens: 20,
            cost_micros: 100,
            ..Usage::default()
        };
        Box::pin(std::future::ready(Ok(Response {
            content: if first {
                String::new()
            } else {
                "done".to_owned()
            },
            calls: call.into_iter().collect(),
            usage: if first { self.claims } else { honest },
            finish: FinishReason::Stop,
            model: "boasts".to_owned(),
            parts: None,
            request_id: None,
        })))
    }
}

/// A log in memory, of a run under a budget.
#[derive(Default)]
struct Budgeted(MemoryRecorder);

impl Recorder for Budgeted {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        self.0.append(batch)
    }

    fn check(&self) -> Result<(), RecordError> {
        self.0.check()
    }

    fn new_child(&self) -> Result<String, Failure> {
        self.0.new_child()
    }

    fn budget(&self) -> Option<CallBudget> {
        Some(CallBudget { money: true })
    }
}

fn usage(input_tokens: u64, output_tokens: u64, cost_micros: u64) -> Usage {
    Usage {
        input_tokens,
        output_tokens,
        cost_micros,
        ..Usage::default()
    }
}

/// The reservation and the outcome of the first call of a run that may use up so much.
async fn first_call(claims: Usage) -> (u64, u64, ModelCompleted) {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Nothing {}
    let look = |_: Nothing| async { Ok::<_, String>("seen") };
    let agent = Agent::builder(Boasting::new(claims))
        .tool(function("look", "Looks.", look).effect(Effect::Pure))
        .limits(Limits {
            max_tokens: Some(1_000_000),
            max_cost_micros: Some(1_000_000),
            ..Limits::default()
        })
        .build()
        .unwrap();
    let (log, blobs) = (Arc::<Budgeted>::default(), Arc::<MemoryRecorder>::default());
    let recorder = Arc::clone(&log) as _;
    let environment = DriveEnvironment::new(recorder, Arc::new(SystemClock), PathBuf::new(), blobs);
    let mut run = Run::default();
    let stop = drive::drive(&agent, "go", &mut run, &environment).await;
    // The limits are not used up by the claim.
    assert_eq!(stop.unwrap(), Stop::Completed(json!("done")), "{claims:?}");
    let mut reserved = None;
    for event in log.0.events() {
        match event {
            Event::ModelStarted(started) => {
                reserved.get_or_insert((started.reserved_tokens, started.reserved_cost_micros));
            }
            Event::ModelCompleted(completed) => {
                let (tokens, cost) = reserved.unwrap();
                return (tokens, cost, completed);
            }
            _ => {}
        }
    }
    panic!("no call was made");
}

/// P20: a server that errs ended every task of a budget without a window.
#[tokio::test]
async fn a_count_that_no_call_can_have_had_costs_what_was_reserved() {
    let absurd = 1_000_000_000_000;
    for claims in [
        usage(absurd, 20, absurd),
        usage(80, absurd, absurd),
        usage(80, 20, absurd),
        usage(u64::MAX, u64::MAX, u64::MAX),
        usage(600_000, 200_000, 800_000),
    ] {
        let (tokens, cost, completed) = first_call(claims).await;
        assert_eq!(completed.claimed_usage, Some(claims));
        let usage = completed.usage;
        assert!(usage.total_tokens() <= tokens, "{usage:?} of {tokens}");
        assert!(usage.cost_micros <= cost, "{usage:?} of {cost}");
        assert!(usage.input_tokens > 0 && usage.output_tokens > 0);
    }
}

#[tokio::test]
async fn a_count_that_a_call_can_have_had_is_recorded_as_it_came() {
    for claims in [
        usage(0, 0, 0),
        usage(80, 20, 100),
        // A prompt of the provider's own, and thoughts beyond the ceiling.
        usage(9_000, 9_000, 18_000),
    ] {
        let (_, _, completed) = first_call(claims).await;
        assert_eq!(completed.usage, claims);
        assert_eq!(completed.claimed_usage, None);
    }
}

/// Fails once, and asks to wait.
struct Throttled(Duration, Mutex<u32>);

impl Model for Throttled {
    fn name(&self) -> &'static str {
        "test/patient"
    }

    fn call<'a>(
        &'a self,
        _: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        *self.1.lock().unwrap() += 1;
        let mut limited = ModelError::new(ModelErrorKind::RateLimited, "come back later");
        limited.retry_after = Some(self.0);
        Box::pin(std::future::ready(Err(limited)))
    }
}

/// P7: a wrong header held a task for thirty days, and longer with a model that is not behind HTTP.
#[tokio::test]
async fn a_wait_of_more_than_a_day_is_a_day() {
    let day = i64::try_from(MAX_RETRY_AFTER.as_micros()).unwrap();
    for asked in [MAX_RETRY_AFTER * 30, Duration::MAX] {
        let agent = Agent::builder(Throttled(asked, Mutex::default()));
        let agent = agent.build().unwrap();
        let log = Arc::<MemoryRecorder>::default();
        let (recorder, blobs) = (Arc::clone(&log) as _, Arc::clone(&log) as _);
        let environment =
            DriveEnvironment::new(recorder, Arc::new(SystemClock), PathBuf::new(), blobs);
        let before = SystemClock.now_micros();
        let stop = drive::drive(&agent, "go", &mut Run::default(), &environment).await;
        let Ok(Stop::Waiting(Wait::Timer { until_micros })) = stop else {
            panic!("{stop:?}")
        };
        // And up to a quarter more, so that clients do not come back together.
        let waits = until_micros - before;
        assert!(
            (day..=day + day / 4 + 60_000_000).contains(&waits),
            "{waits}"
        );
        let events = log.events();
        let Some(Event::ModelFailed(failed)) = events
            .iter()
            .find(|event| matches!(event, Event::ModelFailed(_)))
        else {
            panic!("{events:?}")
        };
        assert!(failed.retry_at_micros.unwrap() - before <= day + 60_000_000);
    }
}
