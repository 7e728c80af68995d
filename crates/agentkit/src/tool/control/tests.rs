use super::*;
use crate::{
    event::{CallWait, StepId},
    policy::{ConfiguredPolicy, PolicyContext},
    tool::{Effect, Gate, Outcome, Registry, Spawn, ToolContext},
};

/// Makes a call through the gate, at second 100 of 1970, as call 7.
async fn call(name: &str, arguments: Value) -> Result<Outcome, Failure> {
    let registry = Registry::new(all()).unwrap();
    let policy = ConfiguredPolicy::new(registry.specs().iter().map(|spec| spec.name.clone()));
    let gate = Gate::new(registry, Arc::new(policy));
    let context = PolicyContext::default();
    let admission = gate.admit(name, &arguments.to_string(), &context).await;
    assert_eq!(admission.effect, Effect::Pure);
    if let Some(error) = admission.error {
        return Err(error);
    }
    let context = ToolContext {
        now_micros: 100_000_000,
        ..ToolContext::outside_of_runs(StepId(7), Effect::Pure, "/nonexistent".into())
    };
    gate.run(name, admission.input, context).await
}

async fn then(name: &str, arguments: Value) -> FollowUp {
    call(name, arguments).await.unwrap().follow_up.unwrap()
}

async fn code(name: &str, arguments: Value) -> String {
    call(name, arguments).await.unwrap_err().code
}

#[tokio::test]
async fn sleep_until_takes_a_time_or_a_length() {
    for (arguments, until_micros, length_micros) in [
        (json!({"until": "1970-01-01T00:03:20Z"}), 200_000_000, None),
        (json!({"seconds": 1.5}), 101_500_000, Some(1_500_000)),
        (json!({"seconds": 0}), 100_000_000, Some(0)),
    ] {
        let wait = FollowUp::Wait(CallWait::Time {
            until_micros,
            length_micros,
        });
        assert_eq!(then("sleep_until", arguments).await, wait);
    }
    for (arguments, expected) in [
        (json!({}), "invalid_arguments"),
        (
            json!({"until": "1970-01-01T00:03:20Z", "seconds": 1}),
            "invalid_arguments",
        ),
        (json!({"seconds": -1}), "invalid_arguments"),
        (json!({"seconds": 1e300}), "invalid_arguments"),
        (json!({"until": "tomorrow"}), "invalid_time"),
    ] {
        assert_eq!(
            code("sleep_until", arguments.clone()).await,
            expected,
            "{arguments}"
        );
    }
}

#[tokio::test]
async fn each_question_has_a_name_of_its_own() {
    let arguments = json!({"question": "now?", "options": ["yes", "no"], "timeout_seconds": 60});
    let wait = CallWait::Signal {
        name: "human.call_7".into(),
        prompt: Some(json!({"question": "now?", "options": ["yes", "no"]})),
        until_micros: Some(160_000_000),
        resume: None,
    };
    assert_eq!(then("ask_human", arguments).await, FollowUp::Wait(wait));
    let wait = CallWait::Signal {
        name: "human.call_7".into(),
        prompt: Some(json!({"question": "why?"})),
        until_micros: None,
        resume: None,
    };
    assert_eq!(
        then("ask_human", json!({"question": "why?"})).await,
        FollowUp::Wait(wait)
    );
    for arguments in [
        json!({}),
        json!({"question": ""}),
        json!({"question": "x", "options": ["y"]}),
    ] {
        assert_eq!(code("ask_human", arguments).await, "invalid_arguments");
    }
}

#[tokio::test]
async fn spawn_agent_passes_on_what_it_is_told() {
    let arguments = json!({
        "goal": "add", "agent": "a", "name": "n", "instructions": "i",
        "max_tokens": 5, "max_cost_usd": 0.25, "max_steps": 6.0, "timeout_seconds": 2,
    });
    let spawn = Spawn {
        goal: "add".into(),
        agent: Some("a".into()),
        name: Some("n".into()),
        instructions: Some("i".into()),
        max_tokens: Some(5),
        max_cost_micros: Some(250_000),
        max_steps: Some(6),
        timeout_micros: Some(2_000_000),
    };
    assert_eq!(then("spawn_agent", arguments).await, FollowUp::Spawn(spawn));
    let goal = "add".to_owned();
    let spawn = Spawn {
        goal,
        ..Spawn::default()
    };
    assert_eq!(
        then("spawn_agent", json!({"goal": "add"})).await,
        FollowUp::Spawn(spawn)
    );
    assert_eq!(
        code("spawn_agent", json!({"goal": ""})).await,
        "invalid_arguments"
    );
}

#[tokio::test]
async fn await_agents_waits_for_all_of_them() {
    let wait = CallWait::Children {
        tasks: vec!["a".into(), "b".into()],
        until_micros: Some(101_000_000),
    };
    let arguments = json!({"tasks": ["a", "b"], "timeout_seconds": 1});
    assert_eq!(then("await_agents", arguments).await, FollowUp::Wait(wait));
    assert_eq!(
        code("await_agents", json!({"tasks": []})).await,
        "invalid_arguments"
    );
}
