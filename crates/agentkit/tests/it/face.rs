//! The crate as a library: agents, typed tools and answers, and the run as a stream.

use std::sync::{Arc, Mutex};

use agentkit::{
    Agent, JsonSchema,
    agent::{RunError, RunEvent},
    model::{
        client::{Client, ConfigError},
        scripted::Scripted,
    },
    tool::{Effect, ToolContext, function, function_in},
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
            RunEvent::Event(event) => kinds.push(event.kind()),
            RunEvent::Answer(last) => answer = Some(last.to_string()),
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
