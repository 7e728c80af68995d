//! Chains of models, and limits on cost: what a run does, seen from its log.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agentkit::{
    Agent, BoxFuture, Event, Goal, Model, Usage,
    agent::{BuildError, RunError},
    drive::{self, DriveEnvironment, DriveError, MemoryRecorder, RunClock as _, Stop, SystemClock},
    event::{FinishReason, Wait},
    model::{
        DeltaSink, Image, Message, ModelError, ModelErrorKind, ModelInfo, Prices, Request,
        Response, ResponseCall,
    },
    run::{Limits, Run},
    tool::{Effect, Tool, ToolContext, ToolOutput, ToolSpec},
};
use serde_json::{Value, json};

/// Answers what it is told, in turn, and remembers what it was asked.
pub(crate) struct CannedModel {
    name: &'static str,
    pub(crate) info: ModelInfo,
    answers: Mutex<Vec<Result<Response, ModelErrorKind>>>,
    pub(crate) asked: Mutex<Vec<Request>>,
    /// How long it asks to wait after a failure.
    pub(crate) retry_after: Duration,
}

impl CannedModel {
    pub(crate) fn new(
        name: &'static str,
        mut answers: Vec<Result<Response, ModelErrorKind>>,
    ) -> Arc<Self> {
        answers.reverse();
        Arc::new(Self {
            name,
            info: ModelInfo {
                context_tokens: Some(10_000),
                prices: vec![Prices {
                    up_to: None,
                    input: 1_000_000,
                    cached_input: None,
                    cache_write: None,
                    output: 2_000_000,
                }],
                ..ModelInfo::default()
            },
            answers: Mutex::new(answers),
            asked: Mutex::default(),
            // Otherwise a test would wait.
            retry_after: Duration::ZERO,
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Model for CannedModel {
    fn name(&self) -> &str {
        self.name
    }

    fn info(&self) -> Option<&ModelInfo> {
        Some(&self.info)
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        self.asked.lock().unwrap().push(request.clone());
        let answer = self.answers.lock().unwrap().pop();
        let answer = answer.unwrap_or(Err(ModelErrorKind::ServerError));
        Box::pin(std::future::ready(answer.map_err(|kind| ModelError {
            retry_after: Some(self.retry_after),
            maybe_charged: kind == ModelErrorKind::Timeout,
            ..ModelError::new(kind, "told to fail")
        })))
    }
}

pub(crate) fn said(content: &str) -> Response {
    Response {
        content: content.to_owned(),
        calls: Vec::new(),
        usage: Usage {
            input_tokens: 10,
            output_tokens: 5,
            cost_micros: 20,
            ..Usage::default()
        },
        finish: FinishReason::Stop,
        model: "told".to_owned(),
        parts: None,
        request_id: None,
    }
}

pub(crate) fn calls() -> Response {
    Response {
        calls: vec![ResponseCall {
            provider_id: "call_a".to_owned(),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
        }],
        parts: Some(json!({"model": "a/one", "json": "[1.0]"})),
        ..said("I look.")
    }
}

struct Look(ToolSpec);

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, agentkit::event::Failure>> {
        Box::pin(std::future::ready(Ok(json!("seen").into())))
    }
}

pub(crate) fn agent(models: &[&Arc<CannedModel>], limits: Limits) -> Agent {
    let spec = ToolSpec::new("look", "Looks.", json!({"type": "object"})).effect(Effect::Pure);
    let mut builder = Agent::builder(models[0].clone())
        .tool(Look(spec))
        .limits(limits)
        .model_tries(2);
    for model in &models[1..] {
        builder = builder.fallback((*model).clone());
    }
    builder.build().unwrap()
}

pub(crate) async fn run(agent: &Agent, log: &Arc<MemoryRecorder>) -> Stop {
    let mut run = Run::default();
    for event in log.events() {
        // What is stored are bytes.
        run.apply(&Event::decode(&event.encode()).unwrap()).unwrap();
    }
    let clock = Arc::new(SystemClock);
    let environment = DriveEnvironment::new(log.clone(), clock, std::env::temp_dir(), log.clone());
    drive::drive(agent, "go", &mut run, &environment)
        .await
        .unwrap()
}

/// The model of each call, and what a failed one said of the next.
fn story(log: &MemoryRecorder) -> Vec<String> {
    let events = log.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::ModelStarted(started) => Some(started.name),
            Event::ModelFailed(failed) => Some(match failed.fallback {
                Some(next) => format!("{} -> {next}", failed.error.code),
                None => failed.error.code,
            }),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_final_error_hands_over_at_once_and_the_log_says_so() {
    let one = CannedModel::new(
        "a/one",
        vec![Ok(calls()), Err(ModelErrorKind::QuotaExceeded)],
    );
    let two = CannedModel::new("b/two", vec![Ok(said("done"))]);
    let log = Arc::new(MemoryRecorder::default());
    let agent = agent(&[&one, &two], Limits::default());
    assert_eq!(run(&agent, &log).await, Stop::Completed(json!("done")));
    let expected = ["a/one", "a/one", "model_quota_exceeded -> b/two", "b/two"];
    assert_eq!(story(&log), expected);
    // The next model has the whole conversation.
    let asked = two.asked.lock().unwrap();
    let Message::Assistant { content, calls, .. } = &*asked[0].messages[1] else {
        panic!("{asked:?}")
    };
    assert_eq!((content.as_str(), calls.len()), ("I look.", 1));
}

#[tokio::test]
async fn a_passing_error_hands_over_once_its_tries_are_used_up() {
    let busy = || Err(ModelErrorKind::RateLimited);
    let one = CannedModel::new("a/one", vec![busy(), busy(), busy()]);
    let two = CannedModel::new("b/two", vec![busy(), Err(ModelErrorKind::NotFound)]);
    let three = CannedModel::new("c/three", vec![busy(), Ok(said("done"))]);
    let log = Arc::new(MemoryRecorder::default());
    let agent = agent(&[&one, &two, &three], Limits::default());
    assert_eq!(run(&agent, &log).await, Stop::Completed(json!("done")));
    let expected = [
        "a/one",
        "model_rate_limited",
        "a/one",
        "model_rate_limited -> b/two",
        "b/two",
        "model_rate_limited",
        "b/two",
        "model_not_found -> c/three",
        "c/three",
        "model_rate_limited",
        "c/three",
    ];
    assert_eq!(story(&log), expected);
}

#[tokio::test]
async fn the_end_of_the_chain_is_the_end() {
    let one = CannedModel::new("a/one", vec![Err(ModelErrorKind::Unauthorized)]);
    let two = CannedModel::new("b/two", vec![Err(ModelErrorKind::ContentFilter)]);
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one, &two], Limits::default()), &log).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("model_content_filter", false)
    );
    assert_eq!((one.asked(), two.asked()), (1, 1));
}

#[tokio::test]
async fn a_resumed_run_stays_with_the_model_that_its_log_names() {
    let one = CannedModel::new("a/one", vec![Err(ModelErrorKind::NotFound)]);
    let two = CannedModel::new("b/two", vec![Err(ModelErrorKind::ServerError); 2]);
    let log = Arc::new(MemoryRecorder::default());
    let agent = agent(&[&one, &two], Limits::default());
    let stop = run(&agent, &log).await;
    assert!(
        matches!(&stop, Stop::Failed(failure) if failure.retryable),
        "{stop:?}"
    );
    // The task's next attempt.
    two.answers.lock().unwrap().push(Ok(said("done")));
    assert_eq!(run(&agent, &log).await, Stop::Completed(json!("done")));
    assert_eq!((one.asked(), two.asked()), (1, 3));
}

/// library/L1: the place in the chain was looked up by name, so a chain with two models of one name began again
/// and again, and the good one was never asked.
#[tokio::test]
async fn a_chain_that_names_a_model_twice_is_refused_and_names_of_their_own_are_taken() {
    let no = || vec![Err(ModelErrorKind::QuotaExceeded)];
    let (one, two) = (
        CannedModel::new("a/one", no()),
        CannedModel::new("b/two", no()),
    );
    let again = CannedModel::new("a/one", vec![Ok(said("done"))]);
    let twice = Agent::builder(one.clone()).fallback(two.clone());
    let refused = twice.clone().fallback(again.clone()).build();
    let refused = refused.err().unwrap();
    assert!(
        matches!(&refused, BuildError::DuplicateModel { name } if name == "a/one"),
        "{refused}"
    );

    let agent = twice
        .fallback(again.clone().named("a/one@eu"))
        .build()
        .unwrap();
    let log = Arc::new(MemoryRecorder::default());
    assert_eq!(run(&agent, &log).await, Stop::Completed(json!("done")));
    assert_eq!((one.asked(), two.asked(), again.asked()), (1, 1, 1));
    let indices = log.events().into_iter().filter_map(|event| match event {
        Event::ModelFailed(failed) => Some((failed.fallback, failed.fallback_index)),
        _ => None,
    });
    let named = |name: &str, index| (Some(name.to_owned()), Some(index));
    assert_eq!(
        indices.collect::<Vec<_>>(),
        [named("b/two", 1), named("a/one@eu", 2)]
    );
}

/// library/L1: the log of an earlier release, whose chain has one model twice, comes to its end.
#[tokio::test]
async fn an_older_log_with_one_name_twice_comes_to_the_end_of_its_chain() {
    let no = || Err(ModelErrorKind::QuotaExceeded);
    let (one, two) = (
        CannedModel::new("a/one", vec![no(), no(), no()]),
        CannedModel::new("b/two", vec![no()]),
    );
    let agent = agent(&[&one, &two], Limits::default());
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent, &log).await;
    assert!(matches!(stop, Stop::Failed(_)), "{stop:?}");
    // The same run with a third entry, which has the name of the first.
    let mut fold = Run::default();
    for event in log.events() {
        let mut body: Value = serde_json::from_slice(&event.encode()).unwrap();
        if let Some(chain) = body
            .pointer_mut("/config/models")
            .and_then(Value::as_array_mut)
        {
            chain.push(chain[0].clone());
        }
        if let Some(body) = body.as_object_mut() {
            body.remove("fallback_index");
        }
        let event = Event::decode(&serde_json::to_vec(&body).unwrap()).unwrap();
        if !matches!(event, Event::RunFailed(_)) {
            fold.apply(&event).unwrap();
        }
    }
    assert_eq!((fold.model(), fold.model_index()), ("b/two", 1));
    let stop = drive_again(&agent, fold).await.unwrap();
    assert!(matches!(stop, Stop::Failed(_)), "{stop:?}");
    assert_eq!((one.asked(), two.asked()), (2, 2));
}

/// library/L1: a run that goes on with an agent which lacks its model went silently to the first one.
#[tokio::test]
async fn a_run_whose_model_the_agent_lacks_says_so() {
    let one = CannedModel::new("a/one", vec![Err(ModelErrorKind::ServerError); 2]);
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one], Limits::default()), &log).await;
    assert!(
        matches!(&stop, Stop::Failed(failure) if failure.retryable),
        "{stop:?}"
    );
    let mut fold = Run::default();
    let events = log.events();
    events.iter().for_each(|event| fold.apply(event).unwrap());
    let other = CannedModel::new("b/two", vec![Ok(said("done"))]);
    let error = drive_again(&agent(&[&other], Limits::default()), fold).await;
    let Err(error @ DriveError::NoModel { .. }) = error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("`a/one`"), "{error}");
    assert!(error.to_string().contains("`b/two`"), "{error}");
    assert_eq!(other.asked(), 0);
}

async fn drive_again(agent: &Agent, mut run: Run) -> Result<Stop, DriveError> {
    let log = Arc::new(MemoryRecorder::default());
    let clock = Arc::new(SystemClock);
    let environment = DriveEnvironment::new(log.clone(), clock, std::env::temp_dir(), log);
    drive::drive(agent, "", &mut run, &environment).await
}

/// library/L2: a second question to a run that had ended got the answer of the first.
#[tokio::test]
async fn a_run_that_has_begun_takes_no_other_goal() {
    let one = CannedModel::new("a/one", vec![Ok(said("4")), Ok(said("6"))]);
    let agent = agent(&[&one], Limits::default());
    let log = Arc::new(MemoryRecorder::default());
    let environment = DriveEnvironment::new(
        log.clone(),
        Arc::new(SystemClock),
        std::env::temp_dir(),
        log,
    );
    let mut run = Run::default();
    let answer = agent.run_in("2 + 2?", &mut run, &environment).await;
    assert_eq!(answer.unwrap(), "4");
    for other in [
        Goal::new("3 + 3?"),
        Goal::new("2 + 2?").image(Image::parse("https://example.com/sum.png").unwrap()),
    ] {
        let error = agent
            .run_in(other, &mut run, &environment)
            .await
            .unwrap_err();
        assert!(
            matches!(error, RunError::Drive(DriveError::OtherGoal)),
            "{error}"
        );
    }
    // The goal that it began with, or none, gives what the run gave.
    for same in ["2 + 2?", ""] {
        let answer = agent.run_in(same, &mut run, &environment).await;
        assert_eq!(answer.unwrap(), "4");
    }
    assert_eq!(one.asked(), 1);
}

#[tokio::test]
async fn the_next_attempt_waits_as_long_as_the_provider_asked() {
    let mut one = CannedModel::new("a/one", vec![Err(ModelErrorKind::RateLimited); 2]);
    let two = CannedModel::new("b/two", vec![Ok(said("done"))]);
    Arc::get_mut(&mut one).unwrap().retry_after = Duration::from_secs(3_600);
    let log = Arc::new(MemoryRecorder::default());
    let single = Agent::builder(one.clone()).model_tries(1).build().unwrap();
    let stop = run(&single, &log).await;
    assert!(
        matches!(&stop, Stop::Failed(failure) if failure.retryable),
        "{stop:?}"
    );
    // The task's next attempt comes within seconds.
    let now = SystemClock.now_micros();
    let stop = run(&single, &log).await;
    let Stop::Waiting(Wait::Timer { until_micros }) = stop else {
        panic!("{stop:?}")
    };
    assert!(until_micros > now + 3_500_000_000, "{until_micros}");
    assert_eq!(one.asked(), 1);

    // It is said of one model alone.
    let log = Arc::new(MemoryRecorder::default());
    let chain = Agent::builder(one.clone())
        .fallback(two.clone())
        .model_tries(1)
        .build()
        .unwrap();
    assert_eq!(run(&chain, &log).await, Stop::Completed(json!("done")));
}

#[tokio::test]
async fn a_budget_asks_for_no_longer_answer_than_the_model_gives() {
    let limits = |max_tokens, max_output_tokens| Limits {
        max_tokens: Some(max_tokens),
        max_output_tokens,
        ..Limits::default()
    };
    let unknown = ModelInfo::default();
    let known = ModelInfo {
        context_tokens: Some(10_000),
        max_output_tokens: Some(1_000),
        ..ModelInfo::default()
    };
    let no_longest = ModelInfo {
        max_output_tokens: None,
        ..known.clone()
    };
    for (info, limits, asked, reserved) in [
        // It would be refused, and a try that is lost would use the budget up.
        (&known, limits(1_000_000, None), None, 1_000..1_100),
        (
            &known,
            limits(1_000_000, Some(5_000)),
            Some(1_000),
            1_000..1_100,
        ),
        (&known, limits(1_000_000, Some(700)), Some(700), 700..800),
        (&no_longest, limits(1_000_000, None), None, 10_000..10_001),
        (&unknown, limits(1_000_000, None), None, 100_000..100_001),
        (&unknown, limits(9_000, None), None, 9_000..9_001),
    ] {
        let mut one = CannedModel::new("a/one", vec![Ok(said("done"))]);
        Arc::get_mut(&mut one).unwrap().info = info.clone();
        let log = Arc::new(MemoryRecorder::default());
        drop(run(&agent(&[&one], limits.clone()), &log).await);
        let request = &one.asked.lock().unwrap()[0];
        assert_eq!(request.max_output_tokens, asked, "{info:?} {limits:?}");
        let events = log.events();
        let Some(Event::ModelStarted(started)) = events.get(1) else {
            panic!("{events:?}")
        };
        assert!(
            reserved.contains(&started.reserved_tokens),
            "{info:?} {limits:?} {started:?}"
        );
    }
    // What is left is less than the model could give.
    let one = CannedModel::new("a/one", vec![Ok(said("done"))]);
    drop(run(&agent(&[&one], limits(500, None)), &Arc::default()).await);
    let asked = one.asked.lock().unwrap()[0].max_output_tokens.unwrap();
    assert!((400..500).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_lost_try_does_not_use_up_a_large_budget() {
    let mut one = CannedModel::new(
        "a/one",
        vec![
            Err(ModelErrorKind::Timeout),
            Ok(calls()),
            Err(ModelErrorKind::Timeout),
            Ok(said("done")),
        ],
    );
    Arc::get_mut(&mut one).unwrap().info.max_output_tokens = Some(1_000);
    let limits = Limits {
        max_tokens: Some(50_000),
        max_cost_micros: Some(1_000_000),
        ..Limits::default()
    };
    let stop = run(&agent(&[&one], limits), &Arc::default()).await;
    assert_eq!(stop, Stop::Completed(json!("done")));
}

fn with_cost(max_cost_micros: u64) -> Limits {
    Limits {
        max_cost_micros: Some(max_cost_micros),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_limit_on_cost_is_kept_before_each_call() {
    let one = CannedModel::new(
        "a/one",
        vec![Ok(calls()), Ok(calls()), Ok(calls()), Ok(calls())],
    );
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one], with_cost(90)), &log).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(failure.code, "cost_limit", "{failure}");
    assert!(
        failure.message.contains("of 0.000090 are used"),
        "{failure}"
    );
    assert!(failure.message.contains("limits.max_cost_usd"), "{failure}");
    let asked = one.asked.lock().unwrap();
    assert!(!asked.is_empty() && asked.len() < 4, "{}", asked.len());
    // No answer may be longer than what is left pays for: two micro-USD a token.
    for (index, request) in asked.iter().enumerate() {
        let left = 90 - 20 * index as u64;
        assert!(
            request.max_output_tokens.unwrap() <= left / 2,
            "{request:?}"
        );
    }
    for event in log.events() {
        if let Event::ModelStarted(started) = event {
            assert!(
                (1..=90).contains(&started.reserved_cost_micros),
                "{started:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_limit_on_cost_without_a_price_is_a_clear_failure() {
    let mut one = CannedModel::new("a/one", vec![Ok(said("done"))]);
    Arc::get_mut(&mut one).unwrap().info.prices.clear();
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one], with_cost(1_000_000)), &log).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!((failure.code.as_str(), one.asked()), ("unknown_price", 0));
    assert!(failure.message.contains("[models.\"a/one\"]"), "{failure}");
}

#[tokio::test]
async fn a_try_whose_outcome_is_unknown_is_paid_from_the_money_too() {
    let one = CannedModel::new("a/one", vec![]);
    let log = Arc::new(MemoryRecorder::default());
    let agent = agent(&[&one], with_cost(1_000));
    drop(run(&agent, &log).await);
    // The process died with the call in flight.
    let mut events = log.events();
    let started = events
        .iter()
        .position(|event| matches!(event, Event::ModelStarted(_)));
    events.truncate(started.unwrap() + 1);
    let mut fold = Run::default();
    events.iter().for_each(|event| fold.apply(event).unwrap());
    let Some(Event::ModelStarted(lost)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(fold.charged_cost_micros(), 0);
    fold.apply(&Event::ModelStarted(lost.clone())).unwrap();
    assert_eq!(fold.charged_cost_micros(), lost.reserved_cost_micros);
}
