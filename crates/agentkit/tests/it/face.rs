//! The crate as a library: agents, typed tools and answers, and the run as a stream.

use std::sync::{Arc, Mutex};

use agentkit::{
    Agent, BoxFuture, JsonSchema, Model,
    agent::{RunError, RunEvent},
    model::{
        DeltaSink, ModelError, ModelErrorKind, Request, Response,
        client::{Client, ConfigError},
        scripted::Scripted,
    },
    tool::{Effect, Registry, Tool, ToolContext, function, function_in},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
struct Pair {
    a: i64,
    b: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Sum {
    sum: i64,
}

async fn add(Pair { a, b }: Pair) -> Result<Sum, String> {
    let sum = a.checked_add(b).ok_or("the sum is too large")?;
    Ok(Sum { sum })
}

fn agent(script: &str) -> Agent {
    let add = function("add", "Adds.", add).effect(Effect::Pure);
    let model = Scripted::parse(script).unwrap();
    Agent::builder(model).tool(add).build().unwrap()
}

const SCRIPT: &str = r#"
[[turn]]
calls = [
    { tool = "add", arguments = { a = 1, b = 2 } },
    { tool = "add", arguments = { a = 9223372036854775807, b = 2 } },
    { tool = "add", arguments = { a = "1", b = 2 } },
]
[[turn]]
answer = "{{ last }}"
"#;

#[tokio::test]
async fn a_function_is_a_tool_with_the_schema_of_its_argument() {
    let answer = agent(SCRIPT).run("add").await.unwrap();
    let text = answer.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["{\"sum\":3}", "the sum is too large"]);
    assert!(
        lines[2].contains("\"1\" is not of type \"integer\""),
        "{text}"
    );
    assert_eq!(answer.output, json!(text));
    assert!(answer.usage.total_tokens() > 0);
}

#[tokio::test]
async fn a_function_may_know_its_call_and_files_are_gone_with_the_run() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let places = Arc::clone(&seen);
    let note = function_in("note", "Notes.", move |context: ToolContext, sum: Sum| {
        places.lock().unwrap().push(context.workspace.clone());
        async move {
            std::fs::write(context.workspace.join("note"), sum.sum.to_string())?;
            Ok::<_, std::io::Error>(context.step.to_string())
        }
    });
    let script = "[[turn]]\ncalls = [{ tool = 'note', arguments = { sum = 3 } }]\n[[turn]]\nanswer = '{{ last }}'";
    let model = || Scripted::parse(script).unwrap();
    let agent = Agent::builder(model()).tool(note).build().unwrap();
    assert_eq!(agent.run("note").await.unwrap().output, "call_2");
    let folder = seen.lock().unwrap()[0].clone();
    assert!(!folder.exists(), "{}", folder.display());

    let kept = std::env::temp_dir().join(format!("agentkit-face-{}", std::process::id()));
    agent.run("note").workspace(&kept).await.unwrap();
    assert_eq!(std::fs::read_to_string(kept.join("note")).unwrap(), "3");
    std::fs::remove_dir_all(kept).unwrap();
}

#[tokio::test]
async fn an_answer_has_a_type() {
    let script = "[[turn]]\nanswer = 'three'\n[[turn]]\nanswer = '{\"sum\": 3}'";
    let sum: Sum = agent(script).run("add").typed().await.unwrap();
    assert_eq!(sum, Sum { sum: 3 });

    let open = "[[turn]]\nanswer = '{\"sum\": 3, \"note\": \"\"}'\n[[turn]]\nanswer = 'no'";
    let model = Scripted::parse(open).unwrap();
    let agent = Agent::builder(model).output::<Sum>().max_reasks(1).build();
    let error = agent.unwrap().run("add").await.unwrap_err();
    let RunError::Failed(failure) = error else {
        panic!("{error}")
    };
    assert_eq!(failure.code, "output_mismatch");
}

#[tokio::test]
async fn a_stream_tells_everything_in_order_and_then_ends() {
    let mut run = agent(SCRIPT).run("add").stream();
    let (mut words, mut kinds, mut answer) = (String::new(), Vec::new(), None);
    while let Some(event) = run.next().await {
        assert_eq!(answer, None, "nothing follows the answer");
        match event.unwrap() {
            RunEvent::Text { delta, .. } => words.push_str(&delta),
            RunEvent::Withdrawn { .. } => panic!("no call broke off"),
            RunEvent::Event(event) => kinds.push(event.kind()),
            RunEvent::Answer(last) => answer = Some(last.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answer, Some(words));
    assert_eq!(
        (kinds[0], *kinds.last().unwrap()),
        ("run.started", "run.completed")
    );
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "tool.called").count(),
        3
    );
    assert!(run.next().await.is_none());

    let mut failed = agent("[[turn]]\nerror = \"unauthorized\"")
        .run("add")
        .stream();
    let mut last = None;
    while let Some(event) = failed.next().await {
        last = Some(event);
    }
    assert!(
        matches!(last, Some(Err(RunError::Failed(failure))) if failure.code == "model_unauthorized")
    );
}

#[test]
fn what_cannot_be_built_says_why() {
    let tool = || function("add", "Adds.", add);
    let model = || Scripted::parse(SCRIPT).unwrap();
    let twice = Agent::builder(model()).tool(tool()).tool(tool()).build();
    assert_eq!(
        twice.err().unwrap().to_string(),
        "two tools are named `add`: rename one or leave it out"
    );
    let text = function("shout", "Shouts.", |text: String| async move {
        Ok::<_, String>(text)
    });
    let wrong = Agent::builder(model()).tool(text).build();
    assert_eq!(
        wrong.err().unwrap().to_string(),
        "the input_schema of tool `shout` must say \"type\": \"object\""
    );
    for name in ["gpt-5", "watson/gpt-5"] {
        assert!(matches!(
            Client::from_env(name),
            Err(ConfigError::Provider { .. })
        ));
    }
}

/// library/L2: of a registry and tools beside it, the tools were dropped in silence.
#[tokio::test]
async fn a_registry_and_tools_beside_it_are_all_there() {
    let tool = |name: &str| function(name, "Adds.", add).effect(Effect::Pure);
    let registry = Registry::new([Arc::new(tool("one")) as Arc<dyn Tool>]).unwrap();
    let model = || Scripted::parse("[[turn]]\nanswer = 'x'").unwrap();
    let builder = Agent::builder(model()).registry(registry.clone());
    let agent = builder.tool(tool("two")).build().unwrap();
    let names: Vec<_> = agent
        .config()
        .tools
        .iter()
        .map(|tool| &*tool.name)
        .collect();
    assert_eq!(names, ["one", "two"]);
    let builder = Agent::builder(model()).tool(tool("one"));
    let error = builder.registry(registry).build().err().unwrap();
    assert!(
        error.to_string().contains("two tools are named `one`"),
        "{error}"
    );
}

/// library/L2: `max_reasks` said nothing unless the schema was there before it.
#[tokio::test]
async fn the_number_of_reasks_holds_wherever_it_is_said() {
    let script = "[[turn]]\nanswer = 'no sum'\n[[turn]]\nanswer = 'no sum'\n[[turn]]\nanswer = '{\"sum\": 3}'";
    let builder = || Agent::builder(Scripted::parse(script).unwrap());
    let before = builder().max_reasks(0).output::<Sum>().build().unwrap();
    let after = builder().output::<Sum>().max_reasks(0).build().unwrap();
    for agent in [before, after] {
        assert_eq!(agent.config().output.as_ref().unwrap().max_reasks, 0);
        let error = agent.run("add").await.unwrap_err();
        assert!(matches!(error, RunError::Failed(_)), "{error}");
    }
    let none = builder().max_reasks(0).build().unwrap();
    let error = none.run("add").typed::<Sum>().await.unwrap_err();
    assert!(matches!(error, RunError::Failed(_)), "{error}");
    let usual = builder().build().unwrap();
    assert_eq!(
        usual.run("add").typed::<Sum>().await.unwrap(),
        Sum { sum: 3 }
    );
}

/// Speaks and breaks off, and then answers.
struct Breaks(Mutex<u32>);

impl Model for Breaks {
    fn name(&self) -> &str {
        "test/breaks"
    }

    fn call<'a>(
        &'a self,
        _: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        deltas.text("It is");
        let answer = match *calls {
            1 => Err(ModelError {
                retry_after: Some(std::time::Duration::ZERO),
                ..ModelError::new(ModelErrorKind::ServerError, "the stream broke off")
            }),
            _ => Ok(crate::chain::said("It is 4.")),
        };
        deltas.text(" 4.");
        Box::pin(std::future::ready(answer))
    }
}

/// library/L5: after a stream that broke off the words came twice, and nothing said that the first are withdrawn.
#[tokio::test]
async fn words_of_a_try_that_broke_off_are_withdrawn() {
    let agent = Agent::builder(Breaks(Mutex::new(0))).build().unwrap();
    let mut stream = agent.run("2 + 2?").stream();
    let (mut words, mut withdrawn) = (String::new(), 0);
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            RunEvent::Text { attempt, delta, .. } => {
                assert_eq!(attempt, withdrawn + 1);
                words.push_str(&delta);
            }
            RunEvent::Withdrawn { attempt, .. } => {
                withdrawn += 1;
                assert_eq!(attempt, withdrawn);
                words.clear();
            }
            _ => {}
        }
    }
    assert_eq!((words.as_str(), withdrawn), ("It is 4.", 1));
}

/// library/L8: a model whose tool runs another agent was told of `drive::drive` and of Rust's debug text.
#[tokio::test]
async fn a_wait_is_told_in_words_that_a_model_understands() {
    let script = "[[turn]]\ncalls = [{ tool = 'ask_human', arguments = { question = 'which?' } }]";
    let asks =
        Agent::builder(Scripted::parse(script).unwrap()).tools(agentkit::tool::control::all());
    let error = asks.build().unwrap().run("ask").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the run waits for a signal or an answer, which it cannot be given here"
    );
}

/// G9: a tool behind an `Arc` or a `Box` is a tool.
#[tokio::test]
async fn a_tool_behind_a_pointer_is_a_tool() {
    let shared: Arc<dyn Tool> = Arc::new(function("one", "Adds.", add).effect(Effect::Pure));
    let boxed: Box<dyn Tool> = Box::new(function("two", "Adds.", add).effect(Effect::Pure));
    let script = "[[turn]]\ncalls = [{ tool = 'one', arguments = { a = 1, b = 2 } }, \
                  { tool = 'two', arguments = { a = 3, b = 4 } }]\n[[turn]]\nanswer = '{{ last }}'";
    let builder = Agent::builder(Scripted::parse(script).unwrap());
    let agent = builder.tool(shared).tool(boxed).build().unwrap();
    let answer = agent.run("add").await.unwrap().to_string();
    assert!(answer.contains("3") && answer.contains("7"), "{answer}");
}
