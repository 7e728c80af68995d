//! Long conversations: what the model is sent, and what the log says of it.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentkit::{
    Agent, BoxFuture, Event, Model, StepId, Usage,
    drive::{
        self, Batch, DriveEnvironment, DriveError, MemoryRecorder, RecordError, Recorder, Stop,
        SystemClock,
    },
    event::{Failure, FinishReason, Purpose, SegmentChange},
    model::{
        DeltaSink, Message, ModelError, ModelErrorKind, ModelInfo, Request, Response, ResponseCall,
    },
    planner::PlanExecute,
    run::{Limits, MemoryConfig, Run},
    tool::{Effect, Tool, ToolContext, ToolOutput, ToolSpec},
};
use serde_json::{Value, json};

type Interception = Box<dyn Fn(&Request) -> Option<Result<String, ModelErrorKind>> + Send + Sync>;

/// Calls `read` until it has done so often enough, counts more tokens than one would guess, and
/// refuses what does not fit its context.
struct Reader {
    info: ModelInfo,
    /// How often to read.
    reads: u32,
    /// What it says of a request before it looks at it.
    word: Interception,
    asked: Mutex<Vec<(Purpose, u64)>>,
    summaries: AtomicUsize,
}

const CONTEXT: u64 = 8_000;
const ANSWER: u64 = 500;

impl Reader {
    fn new(reads: u32) -> Self {
        Self {
            info: ModelInfo {
                context_tokens: Some(CONTEXT),
                ..ModelInfo::default()
            },
            reads,
            word: Box::new(|_| None),
            asked: Mutex::default(),
            summaries: AtomicUsize::new(0),
        }
    }

    fn with(
        mut self,
        word: impl Fn(&Request) -> Option<Result<String, ModelErrorKind>> + Send + Sync + 'static,
    ) -> Self {
        self.word = Box::new(word);
        self
    }

    fn turns(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(purpose, _)| purpose.is_turn())
            .count()
    }
}

/// A third more than a token for every four bytes.
fn count(request: &Request) -> u64 {
    let messages: usize = request
        .messages
        .iter()
        .map(|message| serde_json::to_string(message).unwrap().len())
        .sum();
    let tools: usize = request
        .tools
        .iter()
        .map(|tool| tool.description.len() + tool.input_schema.to_string().len())
        .sum();
    (messages + tools) as u64 / 3
}

/// The number of the last read that the conversation tells of.
fn last_read(request: &Request) -> u32 {
    let read = |message: &Arc<Message>| match &**message {
        Message::Assistant { calls, .. } => calls.last()?.arguments.get("n")?.as_u64(),
        _ => None,
    };
    let last = request.messages.iter().rev().find_map(read);
    u32::try_from(last.unwrap_or(0)).unwrap()
}

fn is_whole(request: &Request) {
    let mut open = Vec::new();
    for message in &request.messages {
        match &**message {
            Message::Assistant { calls, .. } => {
                assert_eq!(open, [], "calls without results");
                open = calls.iter().map(|call| call.step).collect();
            }
            Message::Tool { step, .. } => {
                let place = open.iter().position(|open| open == step);
                open.remove(place.expect("a result without its call"));
            }
            Message::System { .. } | Message::User { .. } => {}
        }
    }
    assert_eq!(open, [], "calls without results");
}

impl Model for Reader {
    fn name(&self) -> &'static str {
        "test/reader"
    }

    fn info(&self) -> Option<&ModelInfo> {
        Some(&self.info)
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let tokens = count(request);
        self.asked
            .lock()
            .unwrap()
            .push((request.purpose.clone(), tokens));
        let fail = |kind| {
            let error = ModelError {
                retry_after: Some(std::time::Duration::ZERO),
                ..ModelError::new(kind, "it does not")
            };
            Box::pin(std::future::ready(Err(error))) as BoxFuture<'a, _>
        };
        let (content, read) = match (self.word)(request) {
            Some(Err(kind)) => return fail(kind),
            Some(Ok(text)) => (text, None),
            None if tokens > CONTEXT - ANSWER => return fail(ModelErrorKind::ContextOverflow),
            None => match request.purpose {
                Purpose::Summary { .. } => {
                    let number = self.summaries.fetch_add(1, Ordering::SeqCst) + 1;
                    (format!("summary {number}"), None)
                }
                Purpose::Turn | Purpose::Plan | Purpose::Execute | Purpose::Answer => {
                    is_whole(request);
                    match last_read(request) {
                        last if last < self.reads => (String::new(), Some(last + 1)),
                        last => (format!("read {last}"), None),
                    }
                }
            },
        };
        let calls = read.map(|n| ResponseCall {
            provider_id: format!("p{n}"),
            name: "read".to_owned(),
            arguments: json!({ "n": n }).to_string(),
        });
        let response = Response {
            finish: match calls {
                Some(_) => FinishReason::ToolCalls,
                None => FinishReason::Stop,
            },
            content,
            calls: calls.into_iter().collect(),
            usage: Usage {
                input_tokens: tokens,
                output_tokens: 10,
                ..Usage::default()
            },
            model: "reader".to_owned(),
            parts: Some(json!({"model": "test/reader", "json": "[1]"})),
            request_id: None,
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// Gives text of a length that depends on the number, and remembers what it gave.
struct Read(ToolSpec, Arc<Mutex<Vec<u64>>>);

impl Read {
    fn new() -> (Self, Arc<Mutex<Vec<u64>>>) {
        let schema = json!({
            "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        });
        let given = Arc::new(Mutex::default());
        let spec = ToolSpec::new("read", "reads a page", schema).effect(Effect::Write);
        (Self(spec, Arc::clone(&given)), given)
    }
}

impl Tool for Read {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let n = arguments["n"].as_u64().unwrap_or(0);
        self.1.lock().unwrap().push(n);
        let words = 40 + usize::try_from(n % 7).unwrap_or(0) * 40;
        let text = format!("page {n}: {}", "word ".repeat(words));
        Box::pin(std::future::ready(Ok(Value::from(text).into())))
    }
}

fn agent(model: &Arc<Reader>, memory: MemoryConfig) -> (Agent, Arc<Mutex<Vec<u64>>>) {
    let (tool, given) = Read::new();
    let agent = Agent::builder(Arc::clone(model))
        .instructions("Read page after page.")
        .tool(tool)
        .memory(memory)
        .limits(limits())
        .build()
        .unwrap();
    (agent, given)
}

fn limits() -> Limits {
    Limits {
        max_steps: 10_000,
        max_output_tokens: Some(ANSWER),
        ..Limits::default()
    }
}

fn environment(recorder: Arc<dyn Recorder>) -> DriveEnvironment {
    let blobs = Arc::new(MemoryRecorder::default());
    DriveEnvironment::new(recorder, Arc::new(SystemClock), PathBuf::from("."), blobs)
}

async fn driven(agent: &Agent) -> (Stop, Run, Vec<Event>) {
    let recorder = Arc::new(MemoryRecorder::default());
    let mut run = Run::default();
    let environment = environment(Arc::clone(&recorder) as _);
    let stop = drive::drive(agent, "read", &mut run, &environment)
        .await
        .unwrap();
    (stop, run, recorder.events())
}

fn fold(events: &[Event]) -> Run {
    let mut run = Run::default();
    for event in events {
        let stored = Event::decode(&event.encode()).unwrap();
        run.apply(&stored).unwrap();
    }
    run
}

fn changes(events: &[Event]) -> Vec<&SegmentChange> {
    let mut changes = Vec::new();
    for event in events {
        if let Event::SegmentOpened(opened) = event {
            changes.push(&opened.change);
        }
    }
    changes
}

fn failure(stop: &Stop) -> &Failure {
    match stop {
        Stop::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_run_of_two_thousand_steps_stays_within_the_context() {
    let model = Arc::new(Reader::new(1_000));
    let (agent, given) = agent(&model, MemoryConfig::default());
    let (stop, run, events) = driven(&agent).await;
    assert_eq!(stop, Stop::Completed(json!("read 1000")));
    assert!(run.last_step() > StepId(2_000), "{}", run.last_step());
    assert_eq!(
        *given.lock().unwrap(),
        (1..=1_000).collect::<Vec<_>>(),
        "each page once"
    );

    let asked = model.asked.lock().unwrap();
    let most = asked.iter().map(|(_, tokens)| *tokens).max().unwrap();
    assert!(most <= CONTEXT - ANSWER, "{most}");
    assert!(most > CONTEXT / 2, "the context is made use of: {most}");
    let changes = changes(&events);
    let cleared = changes
        .iter()
        .filter(|change| ***change == SegmentChange::Cleared)
        .count();
    let summarised = changes
        .iter()
        .filter(|change| ***change == SegmentChange::Summarised)
        .count();
    assert!(cleared >= 5, "{cleared}");
    assert!(summarised >= 5, "{summarised}");
    assert_eq!(cleared + summarised, changes.len());
    assert_eq!(run.memory().segment() as usize, changes.len());
    assert_eq!(model.summaries.load(Ordering::SeqCst), summarised);
    // Neither what is kept nor what is sent grows with the run.
    assert!(run.memory().messages().len() < 200);
    assert!(serde_json::to_vec(&run).unwrap().len() < 100_000);
    // Every call was paid, the summaries too.
    let sent: u64 = asked.iter().map(|(_, tokens)| tokens + 10).sum();
    assert_eq!(run.charged_tokens(), sent);
    assert_eq!(run, fold(&events), "the run is the fold of its log");
}

#[tokio::test]
async fn what_the_provider_counts_corrects_the_estimate() {
    let model = Arc::new(Reader::new(3));
    let (agent, _) = agent(&model, MemoryConfig::default());
    let (_, run, events) = driven(&agent).await;
    let asked = model.asked.lock().unwrap();
    let (_, last) = asked.last().unwrap();
    // The reserved tokens are those of the prompt and the answer.
    let reserved: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::ModelStarted(started) => Some(started.reserved_tokens - ANSWER),
            _ => None,
        })
        .collect();
    assert!(reserved[3].abs_diff(*last) < 20, "{reserved:?} {asked:?}");
    assert!(
        run.prompt_tokens() > run.memory().tokens() * 5 / 4,
        "four bytes are more than a token"
    );
}

/// A log that survives, and a process that dies with the n-th append, before or after the commit.
struct Dying {
    events: Mutex<Vec<Event>>,
    left: AtomicUsize,
    commits: bool,
}

impl Recorder for Dying {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        let dies = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if !dies || self.commits {
            self.events.lock().unwrap().extend_from_slice(batch.events);
        }
        let result = if dies {
            Err(RecordError::LeaseLost)
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }

    fn new_child(&self) -> Result<String, Failure> {
        Err(Failure::last("no_children", "a test without children"))
    }
}

#[tokio::test]
async fn killed_at_any_append_a_run_that_compacts_goes_on() {
    let mut summaries_again = 0;
    for commits in [false, true] {
        for dies_at in 1.. {
            let model = Arc::new(Reader::new(50));
            let (agent, given) = agent(&model, MemoryConfig::default());
            let recorder = Arc::new(Dying {
                events: Mutex::default(),
                left: AtomicUsize::new(dies_at),
                commits,
            });
            let environment = environment(Arc::clone(&recorder) as _);
            let first = drive::drive(&agent, "read", &mut Run::default(), &environment).await;
            if !matches!(first, Err(DriveError::Record(RecordError::LeaseLost))) {
                assert!(matches!(first, Ok(Stop::Completed(_))), "{first:?}");
                break;
            }
            let mut events = recorder.events.lock().unwrap().clone();
            let mut run = fold(&events);
            if !run.in_doubt().is_empty() {
                // Somebody says that it did not happen.
                for step in run.in_doubt() {
                    let call = &run.call(step).unwrap().call;
                    assert_eq!(call.name, "read");
                    let retry = Event::ToolResolved(agentkit::event::ToolResolved {
                        step,
                        resolution: agentkit::event::Resolution::Retry,
                    });
                    events.push(retry);
                }
                run = fold(&events);
                *recorder.events.lock().unwrap() = events;
            }
            let stop = drive::drive(&agent, "read", &mut run, &environment)
                .await
                .unwrap();
            assert_eq!(
                stop,
                Stop::Completed(json!("read 50")),
                "{dies_at} {commits}"
            );
            let events = recorder.events.lock().unwrap().clone();
            assert_eq!(run, fold(&events), "{dies_at} {commits}");

            let changes = changes(&events);
            let recorded = changes
                .iter()
                .filter(|c| ***c == SegmentChange::Summarised)
                .count();
            let made = model.summaries.load(Ordering::SeqCst);
            assert!(recorded >= 1 && changes.len() >= 3, "{changes:?}");
            assert!(made <= recorded + 1, "at most one is made again");
            summaries_again += made - recorded;
            let reads = given.lock().unwrap().len();
            assert!(reads <= 51, "{reads}");
            let calls = model.turns();
            assert!(calls <= 52, "{calls}");
        }
    }
    assert!(summaries_again > 0, "no death lost a summary");
}

fn is_summary(request: &Request) -> bool {
    !request.purpose.is_turn()
}

#[tokio::test]
async fn a_summary_that_cannot_be_had_does_not_stop_the_run() {
    for kind in [
        ModelErrorKind::InvalidRequest,
        ModelErrorKind::ContentFilter,
        ModelErrorKind::ContextOverflow,
        ModelErrorKind::MalformedResponse,
    ] {
        let word = move |request: &Request| is_summary(request).then_some(Err(kind));
        let model = Arc::new(Reader::new(60).with(word));
        let (agent, _) = agent(&model, MemoryConfig::default());
        let (stop, run, events) = driven(&agent).await;
        assert_eq!(stop, Stop::Completed(json!("read 60")), "{kind}");
        let changes = changes(&events);
        assert!(
            changes.contains(&&SegmentChange::Dropped),
            "{kind} {changes:?}"
        );
        assert!(!changes.contains(&&SegmentChange::Summarised), "{kind}");
        let turns = model.turns();
        let tries = model.asked.lock().unwrap().len() - turns;
        let dropped = changes
            .iter()
            .filter(|c| ***c == SegmentChange::Dropped)
            .count();
        let each = if kind.is_retryable() { 5 } else { 1 };
        assert_eq!(tries, dropped * each, "{kind}");
        assert_eq!(run, fold(&events));
    }
}

#[tokio::test]
async fn an_empty_summary_is_none_and_a_long_one_is_cut() {
    let word = |request: &Request| is_summary(request).then(|| Ok(" \n".to_owned()));
    let model = Arc::new(Reader::new(60).with(word));
    let (quiet, _) = agent(&model, MemoryConfig::default());
    let (stop, _, events) = driven(&quiet).await;
    assert_eq!(stop, Stop::Completed(json!("read 60")));
    assert!(!changes(&events).contains(&&SegmentChange::Summarised));

    let word = |request: &Request| is_summary(request).then(|| Ok("much ".repeat(20_000)));
    let model = Arc::new(Reader::new(60).with(word));
    let (wordy, _) = agent(&model, MemoryConfig::default());
    let (stop, run, events) = driven(&wordy).await;
    assert_eq!(stop, Stop::Completed(json!("read 60")));
    assert!(changes(&events).contains(&&SegmentChange::Summarised));
    let cut = |message: &&Arc<Message>| matches!(&***message, Message::User { content, .. } if content.ends_with("[cut here]"));
    assert_eq!(run.memory().messages().iter().filter(cut).count(), 1);
    let asked = model.asked.lock().unwrap();
    assert!(asked.iter().all(|(_, tokens)| *tokens <= CONTEXT - ANSWER));
}

#[tokio::test]
async fn words_of_a_refusal_are_no_summary() {
    let word = |request: &Request| is_summary(request).then(|| Ok("I cannot do that.".to_owned()));
    let model = Withholding(Arc::new(Reader::new(60).with(word)));
    let (tool, _) = Read::new();
    let agent = Agent::builder(model)
        .tool(tool)
        .limits(limits())
        .build()
        .unwrap();
    let (stop, run, events) = driven(&agent).await;
    assert_eq!(stop, Stop::Completed(json!("read 60")));
    assert!(changes(&events).contains(&&SegmentChange::Dropped));
    assert!(!format!("{:?}", run.memory()).contains("I cannot"));
}

#[tokio::test]
async fn the_plan_stays_in_sight_when_the_older_part_goes() {
    for summarise in [true, false] {
        let word = |request: &Request| match request.purpose {
            Purpose::Plan => Some(Ok(r#"{"steps": ["read it", "tell of it"]}"#.to_owned())),
            Purpose::Execute => {
                let is_told = |message: &Arc<Message>| matches!(&**message, Message::User { content, .. } if content.contains("Carry out step"));
                assert!(
                    request.messages.iter().any(is_told),
                    "the model does not know which step it is at: {:?}",
                    request.messages
                );
                None
            }
            Purpose::Answer => Some(Ok("told".to_owned())),
            Purpose::Turn | Purpose::Summary { .. } => None,
        };
        let model = Arc::new(Reader::new(60).with(word));
        let (tool, _) = Read::new();
        let agent = Agent::builder(Arc::clone(&model))
            .tool(tool)
            .planner(PlanExecute)
            .memory(MemoryConfig {
                summarise,
                ..MemoryConfig::default()
            })
            .limits(limits())
            .build()
            .unwrap();
        let (stop, _, events) = driven(&agent).await;
        assert_eq!(stop, Stop::Completed(json!("told")));
        assert!(changes(&events).len() > 2, "{summarise}");
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_waited_for_and_nothing_is_dropped() {
    let word = |request: &Request| is_summary(request).then_some(Err(ModelErrorKind::ServerError));
    let model = Arc::new(Reader::new(60).with(word));
    let (agent, _) = agent(&model, MemoryConfig::default());
    let (stop, run, events) = driven(&agent).await;
    let failure = failure(&stop);
    assert!(failure.retryable, "{failure}");
    assert_eq!(failure.code, "model_server_error");
    assert!(!changes(&events).contains(&&SegmentChange::Dropped));
    assert!(run.outcome().is_none());
}

#[tokio::test]
async fn without_summaries_the_older_part_is_left_out() {
    let model = Arc::new(Reader::new(200));
    let memory = MemoryConfig {
        summarise: false,
        ..MemoryConfig::default()
    };
    let (agent, _) = agent(&model, memory);
    let (stop, _, events) = driven(&agent).await;
    assert_eq!(stop, Stop::Completed(json!("read 200")));
    assert_eq!(model.summaries.load(Ordering::SeqCst), 0);
    let changes = changes(&events);
    assert!(changes.contains(&&SegmentChange::Cleared));
    assert!(changes.contains(&&SegmentChange::Dropped));
}

#[tokio::test]
async fn an_overflow_that_the_provider_reports_is_mended_once() {
    // Its context is smaller than one is told.
    let word = |request: &Request| {
        (count(request) > 3_000).then_some(Err(ModelErrorKind::ContextOverflow))
    };
    let model = Arc::new(Reader::new(100).with(word));
    let (fitting, _) = agent(&model, MemoryConfig::default());
    let (stop, run, events) = driven(&fitting).await;
    assert_eq!(stop, Stop::Completed(json!("read 100")));
    let refused = events
        .iter()
        .filter(|event| matches!(event, Event::ModelFailed(_)))
        .count();
    assert!(
        (1..=3).contains(&refused),
        "what was learned is kept: {refused}"
    );
    assert_eq!(run, fold(&events));

    // It refuses everything from a point on.
    let word = |request: &Request| {
        (last_read(request) >= 9).then_some(Err(ModelErrorKind::ContextOverflow))
    };
    let model = Arc::new(Reader::new(100).with(word));
    let (hopeless, _) = agent(&model, MemoryConfig::default());
    let (stop, _, events) = driven(&hopeless).await;
    assert_eq!(failure(&stop).code, "model_context_overflow");
    let refused = |event: &&Event| matches!(event, Event::ModelFailed(failed) if failed.error.code == "model_context_overflow");
    assert_eq!(
        events.iter().filter(refused).count(),
        2,
        "one more try, and no loop"
    );
}

#[tokio::test]
async fn a_goal_that_never_fits_fails_before_a_call() {
    let model = Arc::new(Reader::new(1));
    let (agent, _) = agent(&model, MemoryConfig::default());
    let mut run = Run::default();
    let environment = environment(Arc::new(MemoryRecorder::default()));
    let goal = "word ".repeat(8_000);
    let stop = drive::drive(&agent, &goal, &mut run, &environment)
        .await
        .unwrap();
    let failure = failure(&stop);
    assert_eq!(failure.code, "context_too_small");
    assert!(
        failure.message.contains("limits.context_tokens"),
        "{failure}"
    );
    assert_eq!(model.turns(), 0);
}

#[tokio::test]
async fn another_model_of_the_chain_begins_a_segment() {
    let word =
        |request: &Request| (last_read(request) >= 2).then_some(Err(ModelErrorKind::QuotaExceeded));
    let first = Arc::new(Reader::new(9).with(word));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let parts = Arc::clone(&seen);
    let second = Arc::new(Reader::new(3).with(move |request: &Request| {
        let has = |message: &Arc<Message>| {
            matches!(&**message, Message::Assistant { parts: Some(_), .. })
        };
        parts
            .lock()
            .unwrap()
            .push(request.messages.iter().filter(|m| has(m)).count());
        None
    }));
    let (tool, _) = Read::new();
    let agent = Agent::builder(first)
        .fallback(Arc::new(Named(second)))
        .tool(tool);
    let (stop, run, events) = driven(&agent.build().unwrap()).await;
    assert_eq!(stop, Stop::Completed(json!("read 3")));
    assert_eq!(
        *seen.lock().unwrap(),
        [0, 1],
        "parts of the first model stay behind"
    );
    assert_eq!(run.memory().segment(), 1);
    assert_eq!(run, fold(&events));
}

/// The same under another name.
struct Named(Arc<Reader>);

impl Model for Named {
    fn name(&self) -> &'static str {
        "test/second"
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        self.0.call(request, deltas)
    }
}

/// Its provider withholds every summary.
struct Withholding(Arc<Reader>);

impl Model for Withholding {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn info(&self) -> Option<&ModelInfo> {
        self.0.info()
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(async move {
            let mut answer = self.0.call(request, deltas).await;
            if let Ok(response) = &mut answer
                && is_summary(request)
            {
                response.finish = FinishReason::ContentFilter;
            }
            answer
        })
    }
}
