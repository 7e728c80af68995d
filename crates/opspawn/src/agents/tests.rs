use std::collections::BTreeMap;

use ops_core::{
    Json, Micros, State, TaskId, TenantId, Ties, event::Usage, retry::RetryPolicy, task::TaskLimits,
};
use serde_json::json;

use super::*;

fn factory(settings: &[(&'static str, &str)]) -> Factory {
    let mut flags: Vec<_> = settings
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect();
    flags.push(("data", "/nonexistent".to_owned()));
    let config = Config::load(&flags, None).unwrap();
    Factory::new(&config, crate::tools::configured(&config)).unwrap()
}

fn start(factory: &Factory, input: &Value) -> Result<Prepared, Failure> {
    let task = Task {
        id: TaskId::new(Micros(1), [1; 10]),
        tenant: TenantId::DEFAULT,
        task_type: "agent_run".into(),
        name: None,
        agent_id: None,
        input: Json::from(input),
        labels: BTreeMap::new(),
        limits: TaskLimits {
            timeout_micros: Some(5),
            ..TaskLimits::default()
        },
        priority: 0,
        queue: "default".into(),
        concurrency_key: None,
        retry_of: None,
        parent: None,
        created_at: Micros(1),
        run_at: None,
    };
    let life = Lifecycle {
        id: task.id,
        state: State::Pending,
        attempt: 1,
        retry: RetryPolicy::default(),
        epoch: 1,
        seq: 2,
        lease_losses: 0,
        run_started: false,
        paused: false,
        heard: false,
        ties: Ties::default(),
        usage: Usage::default(),
        children_usage: Usage::default(),
        started_at: Some(Micros(100)),
        updated_at: Micros(100),
        completed_at: None,
    };
    factory.start(&task, &life)
}

#[test]
fn the_goal_is_the_prompt_else_the_goal() {
    let factory = factory(&[("model.provider", "scripted")]);
    let goal = |input| start(&factory, &input).map(|prepared| prepared.goal);
    assert_eq!(goal(json!({"prompt": "a", "goal": "b"})).unwrap(), "a");
    assert_eq!(
        goal(json!({"goal": "b", "inject_mcp_proxy": true})).unwrap(),
        "b"
    );
    for bad in [json!({}), json!({"prompt": ""}), json!({"prompt": 3})] {
        let error = goal(bad).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("invalid_input", false)
        );
    }
}

#[test]
fn an_unknown_provider_or_key_names_the_nearest() {
    let factory = factory(&[("model.provider", "scripted")]);
    let message = |config: Value| {
        start(&factory, &json!({"prompt": "x", "agent_config": config}))
            .err()
            .unwrap()
            .message
    };
    assert!(message(json!({"provider": "opneai"})).contains("did you mean `openai`?"));
    assert!(message(json!({"provider": "watson"})).contains("Known are openai, scripted"));
    assert!(message(json!({"modle": "x"})).contains("did you mean `model`?"));
    assert!(message(json!({"planner": "guess"})).contains("react"));
    assert!(message(json!({"script": "[[turn"})).contains("script is not valid"));
}

#[test]
fn a_resumed_run_gets_the_definition_that_it_is_pinned_to() {
    let factory = factory(&[("model.provider", "scripted")]);
    let script = "name = \"s\"\n[[turn]]\nanswer = \"x\"\n";
    let config = json!({"provider": "scripted", "script": script, "instructions": "be brief"});
    let first = start(&factory, &json!({"prompt": "x", "agent_config": config}))
        .unwrap()
        .agent;
    assert_eq!(first.config().model, "scripted/s");
    assert_eq!(first.config().limits.deadline_micros, Some(105));
    let task_less = Config::load(
        &[
            ("openai.api_key", "sk-test".into()),
            ("data", "/nonexistent".into()),
        ],
        None,
    );
    let task_less = task_less.unwrap();
    let other = Factory::new(&task_less, crate::tools::configured(&task_less)).unwrap();
    let task = TaskId::new(Micros(1), [1; 10]);
    assert_eq!(task.to_string().len(), 41);
    let again = other.agent(Key {
        model: first.config().model.clone(),
        planner: first.config().planner.clone(),
        instructions: first.config().instructions.clone(),
        script: first.config().script.clone(),
    });
    assert_eq!(again.unwrap().config().model, "scripted/s");
}

#[test]
fn the_scripted_model_stands_in_only_where_nothing_was_chosen() {
    assert_eq!(
        factory(&[("model.provider", "scripted")]).default_model_name(),
        "scripted"
    );
    let openai = factory(&[("openai.base_url", "http://127.0.0.1:9/v1")]);
    assert_eq!(openai.default_model_name(), "openai/gpt-4o-mini");
    let mock = factory(&[
        ("openai.base_url", "http://127.0.0.1:9/v1"),
        ("mock_agent_delay_ms", "0"),
    ]);
    assert_eq!(mock.default_model().unwrap().name(), "scripted/mock");
}
