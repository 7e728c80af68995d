//! What models are asked and what their words mean, in runs that die at any append.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::*;
use crate::{
    Agent, BoxFuture, Event, Usage,
    agent::AgentBuilder,
    drive::{
        Stop,
        tests::{Counting, Dying, fold, step},
    },
    event::PlanItemStatus,
    model::{DeltaSink, ModelError, ModelInfo, ResponseCall},
    planner::{PlanExecute, ReactText},
    run::Run,
    tool::Effect,
};

/// Says one text after the other; `look(..)` is a native call.
struct TextModel {
    name: &'static str,
    texts: Vec<&'static str>,
    info: Option<ModelInfo>,
    finish: FinishReason,
    requests: Mutex<Vec<Request>>,
}

impl TextModel {
    fn new(texts: &[&'static str]) -> Self {
        Self {
            name: "test/says",
            texts: texts.to_vec(),
            info: None,
            finish: FinishReason::Stop,
            requests: Mutex::default(),
        }
    }

    /// Role and words of what it was sent last.
    fn last_request(&self) -> Vec<(&'static str, String)> {
        let requests = self.requests.lock().unwrap();
        let words = |message: &Arc<Message>| match &**message {
            Message::System { content } => ("system", content.clone()),
            Message::User { content, .. } => ("user", content.clone()),
            Message::Assistant { content, .. } => ("assistant", content.clone()),
            Message::Tool { content, .. } => ("tool", content.clone()),
        };
        let last = requests.last().expect("it was asked");
        last.messages.iter().map(words).collect()
    }
}

impl Model for TextModel {
    fn name(&self) -> &str {
        self.name
    }

    fn info(&self) -> Option<&ModelInfo> {
        self.info.as_ref()
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        self.requests.lock().unwrap().push(request.clone());
        let turn = request.answers.expect("a drive says it") as usize;
        let text = self.texts.get(turn).or(self.texts.last());
        let text = *text.expect("it has something to say");
        let arguments = text
            .strip_prefix("look")
            .filter(|rest| rest.starts_with('{'));
        let calls = arguments.map(|arguments| ResponseCall {
            provider_id: String::new(),
            name: "look".into(),
            arguments: arguments.into(),
        });
        let response = Response {
            content: if calls.is_some() {
                String::new()
            } else {
                text.into()
            },
            calls: calls.into_iter().collect(),
            usage: Usage {
                input_tokens: 10,
                output_tokens: 5,
                ..Usage::default()
            },
            finish: self.finish,
            model: self.name.into(),
            parts: None,
            request_id: None,
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

fn sum_schema() -> Value {
    json!({
        "type": "object",
        "properties": {"sum": {"type": "integer"}},
        "required": ["sum"],
        "additionalProperties": false,
    })
}

async fn driven(agent: &Agent) -> (Stop, Run, Vec<Event>) {
    let log = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let (stop, run) = step(agent, log.clone()).await;
    let events = log.events.lock().unwrap().clone();
    (stop.unwrap(), run, events)
}

/// Drives the agent, dying at each append once, before and after the commit; the run must end the
/// same each time.
async fn however_it_dies(
    build: impl Fn(Arc<TextModel>) -> AgentBuilder,
    texts: &[&'static str],
) -> Run {
    let agent = build(Arc::new(TextModel::new(texts))).build().unwrap();
    let (wanted, whole, _) = driven(&agent).await;
    let deaths = AtomicUsize::new(0);
    for commits in [false, true] {
        for dies_at in 0.. {
            let agent = build(Arc::new(TextModel::new(texts))).build().unwrap();
            let first = Arc::new(Dying {
                dies_at,
                commits,
                ..Dying::default()
            });
            let _ = step(&agent, first.clone()).await;
            if !first.dead.load(Ordering::SeqCst) {
                break;
            }
            deaths.fetch_add(1, Ordering::SeqCst);
            let second = Arc::new(Dying {
                events: Mutex::new(first.events.lock().unwrap().clone()),
                dies_at: usize::MAX,
                ..Dying::default()
            });
            let (stop, run) = step(&agent, second.clone()).await;
            assert_eq!(stop.unwrap(), wanted, "{commits} {dies_at}");
            assert_eq!(
                run,
                fold(&second.events.lock().unwrap()),
                "the fold is the run"
            );
            assert_eq!(run.usage(), whole.usage(), "each answer is counted once");
            assert_eq!(run.memory(), whole.memory(), "{commits} {dies_at}");
        }
    }
    assert!(deaths.load(Ordering::SeqCst) > 4);
    whole
}

fn looking(model: Arc<TextModel>) -> AgentBuilder {
    let (look, _) = Counting::new("look", Effect::Pure);
    Agent::builder(model).tool(look)
}

#[tokio::test]
async fn an_answer_is_json_of_its_schema_with_tools_in_between() {
    let texts = [
        "look{\"n\":1}",
        "The sum is 4.",
        "{\"sum\": \"4\"}",
        "```json\n{\"sum\": 4}\n```",
    ];
    let build = |model| looking(model).output_schema(sum_schema());
    let run = however_it_dies(build, &texts).await;
    assert_eq!(
        run.outcome(),
        Some(&crate::run::Outcome::Completed(json!({"sum": 4})))
    );
    assert_eq!(run.refused(), None);

    let model = Arc::new(TextModel::new(&texts));
    let (_, run, _) = driven(&build(model.clone()).build().unwrap()).await;
    // The model saw its last failure and no other, and nothing of it stays in the conversation.
    let sent = model.last_request();
    let roles: Vec<_> = sent.iter().map(|(role, _)| *role).collect();
    assert_eq!(
        roles,
        ["system", "user", "assistant", "tool", "assistant", "user"]
    );
    assert_eq!(sent[4].1, "{\"sum\": \"4\"}");
    assert!(
        sent[5]
            .1
            .contains("at `/sum`: \"4\" is not of type \"integer\""),
        "{}",
        sent[5].1
    );
    assert_eq!(run.memory().messages().len(), 4);
    let requests = model.requests.lock().unwrap();
    for request in &*requests {
        assert_eq!(
            request.response_schema.as_ref().unwrap().schema,
            sum_schema()
        );
    }
}

/// security/S1: the errors of all alternatives filled the memory before any of them was told.
#[tokio::test]
async fn one_wrong_leaf_deep_in_an_answer_is_told_and_asked_again() {
    let operation = |name: &str| {
        json!({
            "type": "object",
            "properties": {"op": {"const": name}, "left": {"$ref": "#"}, "right": {"$ref": "#"}},
            "required": ["op", "left", "right"],
        })
    };
    let schema = json!({
        "anyOf": [operation("add"), operation("sub"), operation("mul"), {"type": "number"}],
    });
    let expression = |leaf: Value| {
        (0..30).fold(
            leaf,
            |left, _| json!({"op": "mul", "left": left, "right": 1}),
        )
    };
    let (wrong, right) = (expression(json!("x")), expression(json!(2)));
    let text = |value: &Value| -> &'static str { value.to_string().leak() };
    let model = Arc::new(TextModel::new(&[text(&wrong), text(&right)]));
    let agent = Agent::builder(model.clone()).output_schema(schema);
    let (stop, _, _) = driven(&agent.build().unwrap()).await;
    assert_eq!(stop, Stop::Completed(right));
    let told = model.last_request().pop().unwrap().1;
    let place = "/left".repeat(30);
    let wanted = format!("at `{place}`: \"x\" is not of types \"number\", \"object\"");
    assert!(told.contains(&wanted), "{told}");
    assert!(told.len() < 4_000, "{}", told.len());
}

#[tokio::test]
async fn an_answer_that_is_too_costly_to_check_ends_the_run_with_its_code() {
    // Each item is asked about a thousand times.
    let others = (0..1_000).map(|n| json!({"required": [format!("a{n}")]}));
    let schema = json!({"items": {"anyOf": others.chain([json!({})]).collect::<Vec<_>>()}});
    let answer: &str = Value::Array(vec![json!({}); 50_000]).to_string().leak();
    let agent = Agent::builder(Arc::new(TextModel::new(&[answer])))
        .output_schema(schema)
        .max_reasks(0);
    let (stop, _, _) = driven(&agent.build().unwrap()).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(failure.code, "schema_too_costly", "{failure}");
    assert!(failure.message.contains("million steps"), "{failure}");
}

#[tokio::test]
async fn a_schema_that_no_model_can_satisfy_ends_after_the_bounded_tries() {
    for (reasks, asked) in [(2, 3), (0, 1)] {
        let model = Arc::new(TextModel::new(&["{\"sum\": 4}"]));
        let never = json!({"allOf": [{"type": "object"}, {"type": "string"}]});
        let agent = Agent::builder(model.clone())
            .output_schema(never)
            .max_reasks(reasks);
        let (stop, _, _) = driven(&agent.build().unwrap()).await;
        let Stop::Failed(failure) = stop else {
            panic!("{stop:?}")
        };
        assert_eq!(
            (&*failure.code, failure.retryable),
            ("output_mismatch", false)
        );
        assert!(
            failure.message.contains("is not of type \"string\""),
            "{failure}"
        );
        assert_eq!(model.requests.lock().unwrap().len(), asked);
    }
    let wrong =
        Agent::builder(Arc::new(TextModel::new(&["x"]))).output_schema(json!({"type": "sum"}));
    let error = wrong.build().err().unwrap().to_string();
    assert!(
        error.starts_with("the output schema is not a valid JSON Schema: at `/type`"),
        "{error}"
    );
    let remote = Agent::builder(Arc::new(TextModel::new(&["x"])))
        .output_schema(json!({"$ref": "https://example.com/s.json"}));
    assert!(remote.build().is_err(), "nothing is fetched");
}

#[tokio::test]
async fn only_a_model_that_cannot_be_held_to_a_schema_is_told_it_in_words() {
    for (response_schema, told) in [(None, false), (Some(false), true)] {
        let mut model = TextModel::new(&["{\"sum\": 4}"]);
        model.info = Some(ModelInfo {
            response_schema,
            ..ModelInfo::default()
        });
        let model = Arc::new(model);
        let agent = Agent::builder(model.clone())
            .output_schema(sum_schema())
            .build()
            .unwrap();
        let (stop, _, _) = driven(&agent).await;
        assert_eq!(stop, Stop::Completed(json!({"sum": 4})));
        assert_eq!(model.last_request()[0].0 == "system", told);
    }
}

#[tokio::test]
async fn a_model_without_tools_calls_them_in_words() {
    let texts = [
        "Thought: I have to look.",
        "Action: look\nAction Input: {'n': 1,}\nObservation: made up",
        "Thought: I know.\nFinal Answer: counted",
    ];
    let run = however_it_dies(|model| looking(model).planner(Arc::new(ReactText)), &texts).await;
    assert_eq!(
        run.outcome(),
        Some(&crate::run::Outcome::Completed(json!("counted")))
    );

    // The same where the model table says so.
    let mut model = TextModel::new(&texts);
    model.info = Some(ModelInfo {
        tools: Some(false),
        ..ModelInfo::default()
    });
    let model = Arc::new(model);
    let (stop, _, events) = driven(&looking(model.clone()).build().unwrap()).await;
    assert_eq!(stop, Stop::Completed(json!("counted")));
    let sent = model.last_request();
    assert!(sent[0].1.contains("- look: counts"), "{sent:?}");
    assert_eq!(
        sent[2..],
        [
            (
                "assistant",
                "Action: look\nAction Input: {'n': 1,}".to_owned()
            ),
            ("user", "Observation (look): counted".to_owned()),
        ]
    );
    assert!(
        model
            .requests
            .lock()
            .unwrap()
            .iter()
            .all(|request| request.tools.is_empty())
    );
    // The gate and the log know them as any other.
    let called = events.iter().find_map(|event| match event {
        Event::ToolCalled(called) => Some(&called.input),
        _ => None,
    });
    assert_eq!(called, Some(&json!({"n": 1})));
}

#[tokio::test]
async fn words_that_stay_unreadable_end_the_run() {
    let model = Arc::new(TextModel::new(&["Thought: hm"]));
    let agent = looking(model.clone())
        .planner(Arc::new(ReactText))
        .build()
        .unwrap();
    let (stop, _, _) = driven(&agent).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(failure.code, "model_unusable");
    assert_eq!(model.requests.lock().unwrap().len(), 4);
    assert_eq!(
        model.last_request().len(),
        4,
        "only the last failure is shown"
    );
}

#[tokio::test]
async fn a_plan_is_made_carried_out_and_made_anew_where_it_fails() {
    let texts = [
        "I would look and tell.",
        "{\"steps\": [\"look\", \"swim\"]}",
        "look{\"n\":1}",
        "I saw the sea.",
        "FAILED: it is too cold",
        "1. walk",
        "I walked.",
        "{\"sum\": 7}",
    ];
    let build = |model| {
        looking(model)
            .planner(Arc::new(PlanExecute))
            .output_schema(sum_schema())
    };
    let run = however_it_dies(build, &texts).await;
    assert_eq!(
        run.outcome(),
        Some(&crate::run::Outcome::Completed(json!({"sum": 7})))
    );
    let plan = run.plan().unwrap();
    let items: Vec<_> = plan
        .output
        .iter()
        .map(|item| (&*item.title, item.status))
        .collect();
    assert_eq!(
        items,
        [
            ("look", PlanItemStatus::Done),
            ("walk", PlanItemStatus::Done)
        ]
    );
    assert_eq!(plan.revision, 2);

    let (_, _, events) = driven(&build(Arc::new(TextModel::new(&texts))).build().unwrap()).await;
    let purposes: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::ModelStarted(started) => Some(started.purpose.clone()),
            _ => None,
        })
        .collect();
    use Purpose::{Answer, Execute, Plan};
    assert_eq!(
        purposes,
        [Plan, Plan, Execute, Execute, Execute, Plan, Execute, Answer]
    );
    let failed = events.iter().any(|event| match event {
        Event::PlanUpdated(updated) => updated.plan.error.is_some(),
        _ => false,
    });
    assert!(failed, "the log says what failed");
}

#[tokio::test]
async fn plans_that_go_on_failing_end_the_run() {
    let texts = [
        "1. swim",
        "FAILED: cold",
        "1. swim",
        "FAILED: cold",
        "1. swim",
        "FAILED: cold",
        "1. swim",
        "FAILED: cold",
    ];
    let model = Arc::new(TextModel::new(&texts));
    let agent = looking(model.clone())
        .planner(Arc::new(PlanExecute))
        .build()
        .unwrap();
    let (stop, _, _) = driven(&agent).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(failure.code, "plan_failed");
    assert!(
        failure
            .message
            .contains("4 plans failed; of the last one, step 1 (swim) failed: cold"),
        "{failure}"
    );
    assert_eq!(model.requests.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn an_answer_that_is_withheld_goes_to_the_next_model() {
    let withholds = || {
        let mut model = TextModel::new(&["Sorry"]);
        (model.name, model.finish) = ("test/first", FinishReason::ContentFilter);
        Arc::new(model)
    };
    let chain = Agent::builder(withholds()).fallback(Arc::new(TextModel::new(&["no", "yes"])));
    let (stop, run, events) = driven(&chain.build().unwrap()).await;
    assert_eq!(stop, Stop::Completed(json!("no")));
    let failed = events.iter().find_map(|event| match event {
        Event::ModelFailed(failed) => Some(failed),
        _ => None,
    });
    let failed = failed.expect("the first model failed");
    assert_eq!(failed.error.code, "model_content_filter");
    assert_eq!(failed.fallback.as_deref(), Some("test/says"));
    assert_eq!(failed.charged_tokens, 15, "what was used is charged");
    assert_eq!(run.charged_tokens(), 30);

    let (stop, _, _) = driven(&Agent::builder(withholds()).build().unwrap()).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(failure.code, "model_content_filter");
}
