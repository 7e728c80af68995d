use std::collections::BTreeMap;

use ops_core::{
    Json, Lifecycle, Micros, State, Task, TaskId, TenantId, Ties, event::Usage, retry::RetryPolicy,
    task::TaskLimits,
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
        agent_digest: None,
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
    factory.start(&Job {
        task: &task,
        life: &life,
        definition: None,
    })
}

#[test]
fn what_would_fill_the_memory_is_not_taken_apart() {
    let factory = factory(&[("model.provider", "scripted")]);
    let many: serde_json::Map<String, Value> = (0..100_001)
        .map(|number| (number.to_string(), "".into()))
        .collect();
    for input in [
        json!({"prompt": "a", "files": many}),
        json!({"prompt": "a", "agent_config": {"output_schema": many}}),
        json!({"prompt": "a", "images": vec!["x"; 100_001]}),
    ] {
        let error = start(&factory, &input).map(drop).unwrap_err();
        assert_eq!(error.code, "invalid_input");
        assert!(
            error.message.contains("more than 100000 values"),
            "{}",
            error.message
        );
    }
    let schema = Json::from(&json!({"agent_config": {"output_schema": many}}));
    let refused = check_input("agent_run", &schema);
    assert!(refused.wrong[0].message.contains("more than 100000 values"));
    // What is not read for the agent may be as large as the body.
    assert!(start(&factory, &json!({"prompt": "a", "rows": many})).is_ok());
}

#[test]
fn the_goal_is_the_prompt_else_the_goal() {
    let factory = factory(&[("model.provider", "scripted")]);
    let goal = |input| start(&factory, &input).map(|prepared| prepared.goal.text);
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
    assert!(
        message(json!({"provider": "watson"}))
            .contains("known are `openai`, `anthropic`, `google`")
    );
    assert!(message(json!({"llm_provider": "watson"})).contains("no provider `watson`"));
    assert!(message(json!({"llm_provider": "a", "provider": "b"})).contains("different things"));
    assert!(message(json!({"llm_model": 7})).contains("`input_data.agent_config.llm_model` must"));
    assert!(message(json!({"planner": "guess"})).contains("react"));
    assert!(message(json!({"script": "[[turn"})).contains("script is not valid"));
}

#[test]
fn a_submit_is_warned_of_what_no_one_reads_and_of_what_will_fail() {
    let warned = |config: Value| {
        let input = Json::from(&json!({"prompt": "x", "agent_config": config}));
        let found = check_input("agent_run", &input);
        assert!(found.wrong.is_empty(), "{found:?}");
        let warnings = found.warnings.into_iter();
        let shown = |warning: ops_engine::FieldError| {
            assert_eq!(&warning.path[..2], ["input", "agent_config"]);
            format!("{} {}: {}", warning.kind, warning.path[2], warning.message)
        };
        warnings.map(shown).collect::<Vec<_>>()
    };
    assert!(warned(json!({"provider": "openai", "model": "m", "max_reasks": 1})).is_empty());
    assert!(warned(json!({"llm_provider": "openai", "llm_model": "m"})).is_empty());
    for (config, says) in [
        (
            json!({"modle": "x"}),
            "unknown_field modle: unknown field `modle` of `agent_config` is passed over; did you \
             mean `model`?",
        ),
        (
            json!({"llm_provider": "non_existent_provider", "llm_model": "error-model"}),
            "unknown_provider llm_provider: there is no provider `non_existent_provider`",
        ),
        (
            json!({"provider": "opneai"}),
            "unknown_provider provider: there is no provider `opneai`; did you mean `openai`?",
        ),
        (
            json!({"model": ["openai/gpt-5", "watson/1"]}),
            "unknown_provider model: there is no provider `watson`",
        ),
    ] {
        let warnings = warned(config.clone());
        assert_eq!(warnings.len(), 1, "{config}: {warnings:?}");
        assert!(warnings[0].starts_with(says), "{warnings:?}");
        assert_eq!(
            warnings[0].ends_with("; the task will fail"),
            warnings[0].starts_with("unknown_provider"),
            "{warnings:?}"
        );
    }
    // A key that is passed over does not fail the run.
    let factory = factory(&[("model.provider", "scripted")]);
    assert!(
        start(
            &factory,
            &json!({"prompt": "x", "agent_config": {"modle": 1}})
        )
        .is_ok()
    );
    // Two spellings that differ are refused.
    let both = json!({"agent_config": {"provider": "openai", "llm_provider": "google"}});
    let found = check_input("agent_run", &Json::from(&both));
    assert_eq!(found.wrong[0].path[2], "llm_provider");
    assert_eq!(found.warnings, []);
    // They belong to agents.
    assert_eq!(
        check_input("echo", &Json::from(&both)),
        ops_engine::InputCheck::default()
    );
}

#[test]
fn both_spellings_choose_the_model() {
    let factory = factory(&[("openai.api_key", "sk-test"), ("google.api_key", "k")]);
    let chosen = |config: Value| {
        let prepared = start(&factory, &json!({"prompt": "x", "agent_config": config}));
        prepared.unwrap().agent.config().model.clone()
    };
    for config in [
        json!({"provider": "google", "model": "gemini-2.5-pro"}),
        json!({"llm_provider": "google", "llm_model": "gemini-2.5-pro"}),
        json!({"provider": "google", "llm_model": "gemini-2.5-pro", "llm_provider": "google"}),
    ] {
        assert_eq!(chosen(config), "google/gemini-2.5-pro");
    }
    assert_eq!(chosen(json!({"llm_model": "gpt-5"})), "openai/gpt-5");
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
    let again = other.agent(
        Key {
            models: recorded(first.config()).unwrap(),
            planner: first.config().planner.clone(),
            instructions: first.config().instructions.clone(),
            script: first.config().script.clone(),
            digest: None,
        },
        None,
    );
    assert_eq!(again.unwrap().config().model, "scripted/s");
}

#[test]
fn the_scripted_model_stands_in_only_where_nothing_was_chosen() {
    assert_eq!(
        factory(&[("model.provider", "scripted")]).default_chain(),
        [ModelName::scripted()]
    );
    let openai = factory(&[("openai.base_url", "http://127.0.0.1:9/v1")]);
    let names = openai.default_chain().into_iter().map(String::from);
    assert_eq!(names.collect::<Vec<_>>(), ["openai/gpt-4o-mini"]);
    let mock = factory(&[
        ("openai.base_url", "http://127.0.0.1:9/v1"),
        ("mock_agent_delay_ms", "0"),
    ]);
    assert_eq!(mock.default_model().unwrap().name(), "scripted/mock");
}

const TWO: [(&str, &str); 4] = [
    ("anthropic.api_key", "sk-ant-test"),
    ("google.base_url", "http://127.0.0.1:9"),
    ("model.name", "claude-opus-5-5"),
    ("model.fallback", "google/gemini-2.5-flash, scripted"),
];

#[test]
fn the_first_provider_with_a_key_answers_and_a_chain_follows() {
    let factory = factory(&TWO);
    let chain = |config: Value| {
        let input = json!({"prompt": "x", "agent_config": config});
        let agent = start(&factory, &input).map(|prepared| prepared.agent);
        agent.map(|agent| {
            let config = agent.config();
            let names = config.models.iter().map(|model| model.name.clone());
            (config.model.clone(), names.collect::<Vec<_>>())
        })
    };
    let (first, all) = chain(json!({})).unwrap();
    assert_eq!(first, "anthropic/claude-opus-5-5");
    assert_eq!(
        all,
        [
            "anthropic/claude-opus-5-5",
            "google/gemini-2.5-flash",
            "scripted/no-provider"
        ]
    );
    // Who names a model gets that one and no other.
    let (first, all) = chain(json!({"model": "claude-haiku-4-5"})).unwrap();
    assert_eq!(
        (first.as_str(), all.len()),
        ("anthropic/claude-haiku-4-5", 1)
    );
    let (first, _) = chain(json!({"provider": "google", "model": "gemini-9"})).unwrap();
    assert_eq!(first, "google/gemini-9");
    let (first, all) = chain(json!({"model": ["google/gemini-9", "anthropic/x"]})).unwrap();
    assert_eq!((first.as_str(), all.len()), ("google/gemini-9", 2));
    for (config, says) in [
        (
            json!({"provider": "google"}),
            "names the provider `google` and no model",
        ),
        (json!({"model": ["gemini-9"]}), "is not a model's name like"),
        (json!({"model": ["goggle/x"]}), "did you mean `google`?"),
        (json!({"model": []}), "must be text, or a list of texts"),
        (json!({"model": [1]}), "must be text, or a list of texts"),
        (
            json!({"model": ["google/x"], "provider": "google"}),
            "leave out `provider`",
        ),
        (
            json!({"provider": "openrouter", "model": "x"}),
            "set OPENROUTER_API_KEY",
        ),
    ] {
        let message = chain(config.clone()).unwrap_err().message;
        assert!(message.contains(says), "{config}: {message}");
    }
}

/// cli/C6: `--model openai/x` was sent as it was, and `doctor` said `openai/openai/x`.
#[test]
fn a_model_may_be_named_with_its_provider_everywhere() {
    let first = |settings: &[(&'static str, &str)], config: Value| {
        let input = json!({"prompt": "x", "agent_config": config});
        let agent = start(&factory(settings), &input).map(|prepared| prepared.agent);
        agent.map(|agent| agent.config().model.clone())
    };
    let openai = ("openai.api_key", "k");
    let router = ("openrouter.api_key", "k");
    let google = ("google.api_key", "k");
    let none = || json!({});
    for (settings, config, expected) in [
        (
            &[openai, ("model.name", "gpt-5")][..],
            none(),
            "openai/gpt-5",
        ),
        (
            &[openai, ("model.name", "openai/gpt-5")],
            none(),
            "openai/gpt-5",
        ),
        (
            &[
                openai,
                ("model.provider", "openai"),
                ("model.name", "openai/gpt-5"),
            ],
            none(),
            "openai/gpt-5",
        ),
        // A model that an endpoint of one's own serves, with a name that has a slash.
        (
            &[openai, ("model.name", "meta-llama/Llama-3")],
            none(),
            "openai/meta-llama/Llama-3",
        ),
        (
            &[openai, ("model.name", "openai/openai/gpt-oss-20b")],
            none(),
            "openai/openai/gpt-oss-20b",
        ),
        // The name decides among those that have a key.
        (
            &[openai, google, ("model.name", "google/gemini-9")],
            none(),
            "google/gemini-9",
        ),
        (&[openai], json!({"model": "openai/gpt-5"}), "openai/gpt-5"),
        (&[openai], json!({"model": "gpt-5"}), "openai/gpt-5"),
        (
            &[openai],
            json!({"provider": "openai", "model": "openai/gpt-5"}),
            "openai/gpt-5",
        ),
        (
            &[openai, google],
            json!({"model": "google/gemini-9"}),
            "google/gemini-9",
        ),
        (
            &[openai],
            json!({"model": "scripted"}),
            "scripted/no-provider",
        ),
        // OpenRouter names its models by the providers that they come from.
        (
            &[router, ("model.name", "openai/gpt-5")],
            none(),
            "openrouter/openai/gpt-5",
        ),
        (
            &[router, ("model.name", "openrouter/openai/gpt-5")],
            none(),
            "openrouter/openai/gpt-5",
        ),
        (
            &[router, ("model.name", "x/y")],
            json!({"model": "openai/gpt-5"}),
            "openrouter/openai/gpt-5",
        ),
        (
            &[router, openai, ("model.name", "openai/gpt-5")],
            none(),
            "openai/gpt-5",
        ),
        (
            &[
                router,
                openai,
                ("model.provider", "openrouter"),
                ("model.name", "openai/gpt-5"),
            ],
            none(),
            "openrouter/openai/gpt-5",
        ),
    ] {
        let named = first(settings, config.clone()).unwrap();
        assert_eq!(named, expected, "{settings:?} {config}");
    }
    let error = first(&[openai], json!({"model": "anthropic/x"})).unwrap_err();
    assert!(error.message.contains("set ANTHROPIC_API_KEY"), "{error}");
}

#[test]
fn a_resumed_run_gets_its_chain() {
    let factory = factory(&TWO);
    let prepared = start(&factory, &json!({"prompt": "x"})).unwrap();
    let config = prepared.agent.config();
    assert_eq!(config.models[0].context_tokens, Some(1_000_000));
    assert_eq!(config.models[0].prices[0].output, 20_000_000);
    let again = factory.agent(
        Key {
            models: recorded(config).unwrap(),
            planner: config.planner.clone(),
            instructions: config.instructions.clone(),
            script: config.script.clone(),
            digest: None,
        },
        None,
    );
    assert_eq!(again.unwrap().config().models, config.models);
}

#[test]
fn what_cannot_work_is_told_at_the_start() {
    let error = |settings: &[(&'static str, &str)]| {
        let flags: Vec<_> = settings
            .iter()
            .map(|(k, v)| (*k, (*v).to_owned()))
            .collect();
        let config = Config::load(&flags, None).unwrap();
        let tools = crate::tools::configured(&config);
        format!("{:#}", Factory::new(&config, tools).err().unwrap())
    };
    for (settings, says) in [
        (
            &[("anthropic.api_key", "k")][..],
            "no model is named; set OPSPAWN_MODEL",
        ),
        (
            &[("model.provider", "google"), ("model.name", "x")],
            "set GOOGLE_API_KEY",
        ),
        (
            &[("openai.api_key", "k"), ("model.fallback", "anthropic/x")],
            "set ANTHROPIC_API_KEY",
        ),
        (
            &[("openai.api_key", "k"), ("model.fallback", "gpt-5")],
            "model.fallback",
        ),
        (
            &[("openai.api_key", "k"), ("openai.headers", "secret-value")],
            "`openai.headers`",
        ),
        (
            &[("anthropic.base_url", "nowhere"), ("model.name", "x")],
            "an example is https://api.anthropic.com/v1",
        ),
    ] {
        let error = error(settings);
        assert!(error.contains(says), "{settings:?}: {error}");
        assert!(!error.contains("secret-value"), "{error}");
    }
}
