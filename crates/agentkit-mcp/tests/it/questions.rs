//! Tools as agents have them: the wait for a server that starts, and questions in the middle of a call.

use std::sync::Arc;

use agentkit::{
    Tool,
    event::{CallWait, Failure, StepId},
    tool::{Effect, FollowUp, Resumed, ToolContext, ToolOutput},
};
use agentkit_mcp::{HostSettings, Questions};
use serde_json::{Value, json};

use crate::world::{World, listed, stub, with_effect};

/// The proxy of a world whose calls ask the questions of their servers.
fn asking(servers: &Value) -> (World, Arc<dyn Tool>) {
    let settings = HostSettings {
        answers: Arc::new(Questions::default()),
        ..HostSettings::default()
    };
    let world = World::with(servers, settings);
    let mut tools = world.host.proxy_tools().into_iter();
    let proxy = tools.find(|tool| tool.spec().name == "mcp_proxy_tool");
    (world, proxy.unwrap())
}

async fn call(
    proxy: &Arc<dyn Tool>,
    server: &str,
    tool: &str,
    resumed: Option<Resumed>,
) -> Result<ToolOutput, Failure> {
    let mut context = ToolContext::outside_of_runs(StepId(7), Effect::Write, "/nonexistent".into());
    context.resumed = resumed;
    let arguments = json!({"server_name": server, "tool_name": tool, "arguments": {}});
    proxy.call(&context, arguments).await
}

/// What the call wants to know again.
fn asked(output: ToolOutput) -> Value {
    let Some(FollowUp::Wait(CallWait::Signal { prompt, resume, .. })) = output.follow_up else {
        panic!("it does not ask: {output:?}");
    };
    let question = prompt.unwrap()["question"].to_string();
    assert!(question.contains("What is your name?"), "{question}");
    resume.unwrap()
}

fn answered(state: Value) -> Option<Resumed> {
    let answer = json!("Ada");
    Some(Resumed { state, answer })
}

/// ahead-tools/28: the call is open at a server of the older era while a person is asked.
#[tokio::test]
async fn a_question_in_a_call_is_answered_in_the_same_call() {
    let legacy = stub(&json!({"era": "legacy"}));
    let (world, proxy) = asking(&json!({
        "write": legacy, "pure": with_effect(legacy.clone(), Effect::Pure),
    }));
    for name in ["write", "pure"] {
        let server = world.ready(name).await;
        let state = asked(call(&proxy, name, "ask", None).await.unwrap());
        let output = call(&proxy, name, "ask", answered(state.clone())).await;
        assert_eq!(
            output.unwrap().content,
            r#"heard {"action":"accept","content":{"name":"Ada"}}"#,
            "{name}"
        );
        assert_eq!(server.counts().calls, 1, "{name}: it is one call");
        // The call is over, as it is for a process that was started anew.
        let again = call(&proxy, name, "ask", answered(state)).await;
        match name {
            "write" => assert_eq!(again.unwrap_err().code, "outcome_unknown"),
            _ => drop(asked(again.unwrap())),
        }
    }
    world.host.stop().await;
}

/// A server that wants a model to answer is refused, with a code in either era, and no model is called.
#[tokio::test]
async fn a_server_that_asks_for_a_model_is_refused() {
    let (world, proxy) = asking(&json!({
        "modern": stub(&json!({"era": "modern"})), "legacy": stub(&json!({"era": "legacy"})),
    }));
    for name in ["modern", "legacy"] {
        world.ready(name).await;
    }
    let refused = call(&proxy, "modern", "sample", None).await.unwrap_err();
    assert_eq!(refused.code, "sampling_refused", "{refused:?}");
    assert!(
        refused.message.contains("no model is called for servers"),
        "{refused:?}"
    );
    // In the older era the server is told, in the middle of its call.
    let told = call(&proxy, "legacy", "sample", None).await.unwrap();
    let told = told.content.as_str().unwrap();
    assert!(
        told.contains("-32601") && told.contains("sampling is not offered"),
        "{told}"
    );
    world.host.stop().await;
}

/// The first call after the first start of all: the tools of the server are not known yet.
#[tokio::test]
async fn a_tool_is_asked_about_once_its_server_has_listed() {
    let (world, proxy) = asking(&json!({
        "slow": stub(&json!({"start_ms": 500})), "away": {"command": "/no/such/program"},
    }));
    let server = world.server("slow");
    let arguments = json!({"server_name": "slow", "tool_name": "echo", "arguments": {}});
    assert!(proxy.delegates(&arguments).is_err());
    let approve = async { drop(server.approve(&listed(&server).await.listed)) };
    let ready = proxy.ready(&arguments).expect("it is waited for");
    tokio::join!(ready, approve);
    assert!(proxy.delegates(&arguments).unwrap().is_some());
    assert!(proxy.ready(&arguments).is_none(), "nothing is waited for");
    // A server that cannot be reached is not waited for any longer than that takes.
    let away = json!({"server_name": "away", "tool_name": "echo", "arguments": {}});
    if let Some(ready) = proxy.ready(&away) {
        ready.await;
    }
    let refused = proxy.delegates(&away).unwrap_err();
    assert!(refused.message.contains("away"), "{}", refused.message);
    world.host.stop().await;
}
