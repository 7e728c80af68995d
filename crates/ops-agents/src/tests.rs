use std::collections::{BTreeMap, BTreeSet};

use agentkit::event::Failure;
use futures_util::FutureExt as _;
use ops_core::{
    Code, FieldError, Json, Micros, TenantId,
    ports::{AgentDefinitions as _, InputCheck, TaskInput},
    task::TaskLimits,
};
use serde_json::{Value, json};

use super::*;

/// A factory of settings by their names.
fn factory_of(settings: &[(&str, &str)]) -> Factory {
    Factory::new(settings_of(settings), Vec::new()).unwrap()
}

fn settings_of(settings: &[(&str, &str)]) -> Settings {
    use agentkit::model::client::Provider;
    let mut found = Settings::default();
    let mut endpoints: Vec<Endpoint> = Provider::ALL
        .into_iter()
        .map(|provider| Endpoint {
            provider,
            base_url: None,
            api_key: None,
            headers: Vec::new(),
        })
        .collect();
    for (key, value) in settings {
        let value = (*value).to_owned();
        match *key {
            "model.provider" => found.provider = Some(value),
            "model.name" => found.model = Some(value),
            "model.fallback" => found.fallback = value.split(", ").map(str::to_owned).collect(),
            "mock_agent_delay_ms" => found.mock_delay_ms = value.parse().ok(),
            key => {
                let (provider, part) = key.split_once('.').unwrap();
                let endpoint = endpoints
                    .iter_mut()
                    .find(|one| one.provider.name() == provider);
                match part {
                    "api_key" => endpoint.unwrap().api_key = Some(value.into()),
                    _ => endpoint.unwrap().base_url = Some(value),
                }
            }
        }
    }
    found.endpoints = endpoints;
    found
}

fn start(factory: &Factory, input: &Value) -> Result<Made, Failure> {
    let labels = BTreeMap::new();
    let limits = TaskLimits {
        timeout_micros: Some(5),
        ..TaskLimits::default()
    };
    let input = Json::from(input);
    let request = AgentRequest {
        definition: None,
        digest: None,
        input: &input,
        by: RequestedBy {
            tenant: TenantId::DEFAULT,
            id: "task".to_owned(),
            name: "",
            labels: &labels,
            started: Micros(100),
            limits: &limits,
            depth_left: None,
        },
    };
    let made = factory.make(&request).now_or_never();
    made.expect("nothing is waited for")
}

/// What a submit of an agent task is told, where a provider is configured.
fn checked(input: &Json) -> InputCheck {
    let task = TaskInput {
        task_type: "agent_run",
        input,
        definition: None,
    };
    factory_of(&[("openai.api_key", "k"), ("google.api_key", "k")]).check_input(&task)
}

#[test]
fn what_would_fill_the_memory_is_not_taken_apart() {
    let factory = factory_of(&[("model.provider", "scripted")]);
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
    let refused = checked(&schema);
    assert!(refused.wrong[0].message.contains("more than 100000 values"));
    // What is not read for the agent may be as large as the body.
    assert!(start(&factory, &json!({"prompt": "a", "rows": many})).is_ok());
}

// A task that begins with more files than it may.
#[test]
fn a_workspace_begins_with_so_many_files() {
    let factory = factory_of(&[("model.provider", "scripted")]);
    let files = |count: usize| {
        let files: serde_json::Map<String, Value> = (0..count)
            .map(|number| (number.to_string(), "text".into()))
            .collect();
        json!({"prompt": "a", "files": files})
    };
    assert_eq!(start(&factory, &files(10_000)).unwrap().files.len(), 10_000);
    let error = start(&factory, &files(10_001)).map(drop).unwrap_err();
    assert_eq!(error.code, "invalid_input");
    assert!(error.message.contains("10001 files"), "{}", error.message);
    let refused = checked(&Json::from(&files(10_001)));
    assert!(refused.wrong[0].message.contains("may have 10000"));
}

#[test]
fn the_goal_is_the_prompt_else_the_goal() {
    let factory = factory_of(&[("model.provider", "scripted")]);
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
    let factory = factory_of(&[("model.provider", "scripted")]);
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
        let found = checked(&input);
        assert!(found.wrong.is_empty(), "{found:?}");
        let warnings = found.warnings.into_iter();
        let shown = |warning: FieldError| {
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
    let factory = factory_of(&[("model.provider", "scripted")]);
    assert!(
        start(
            &factory,
            &json!({"prompt": "x", "agent_config": {"modle": 1}})
        )
        .is_ok()
    );
    // Two spellings that differ are refused.
    let both = json!({
        "prompt": "x", "agent_config": {"provider": "openai", "llm_provider": "google"},
    });
    let found = checked(&Json::from(&both));
    assert_eq!(found.wrong[0].path[2], "llm_provider");
    assert_eq!(found.warnings, []);
    // They belong to agents.
    let both = Json::from(&both);
    let other = TaskInput {
        task_type: "echo",
        input: &both,
        definition: None,
    };
    assert_eq!(factory.check_input(&other), InputCheck::default());
}

/// A task without a usable prompt, or with files that cannot be written, failed later and without a word before.
#[test]
fn a_submit_is_warned_of_prompts_and_files_that_fail_the_task() {
    let warned = |input: Value| {
        let found = checked(&Json::from(&input));
        assert!(
            found.wrong.is_empty() && found.refused.is_none(),
            "{found:?}"
        );
        // The task fails for the reason that the warning gives.
        let failure = start(&factory_of(&[("model.provider", "scripted")]), &input).err();
        let shown = |warning: FieldError| {
            assert_eq!(warning.kind, "value_error");
            assert!(
                warning.message.ends_with("; the task will fail"),
                "{warning:?}"
            );
            format!("{} {}", warning.path.join("."), warning.message)
        };
        let shown: Vec<_> = found.warnings.into_iter().map(shown).collect();
        (shown, failure.map(|failure| failure.message))
    };
    for (input, path, says) in [
        (json!({}), "prompt", "has neither `prompt` nor `goal`"),
        (json!({"prompt": null}), "prompt", "has neither"),
        (json!({"prompt": " \n"}), "prompt", "is empty"),
        (json!({"goal": ""}), "prompt", "is empty"),
        (json!({"prompt": 7}), "prompt", "must be text"),
        (
            json!({"prompt": "x", "files": ["a"]}),
            "files",
            "must be an object",
        ),
        (
            json!({"prompt": "x", "files": {"a": 1}}),
            "files",
            "content of `a` must be text",
        ),
    ] {
        let (warnings, failure) = warned(input.clone());
        let [one] = &*warnings else {
            panic!("{input}: {warnings:?}")
        };
        assert!(one.starts_with(&format!("input.{path} ")), "{one}");
        assert!(one.contains(says), "{one}");
        assert!(failure.unwrap().contains(says), "{input}");
    }
    for path in ["", "/etc/passwd", "../a", "a/../../b"] {
        let (warnings, _) = warned(json!({"prompt": "x", "files": {path: "text"}}));
        assert!(warnings[0].contains("inside the workspace"), "{warnings:?}");
    }
    let fine = json!({"prompt": "x", "files": {"a/b.txt": "text"}});
    assert_eq!(warned(fine), (Vec::new(), None));
}

#[test]
fn both_spellings_choose_the_model() {
    let factory = factory_of(&[("openai.api_key", "sk-test"), ("google.api_key", "k")]);
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
    let factory = factory_of(&[("model.provider", "scripted")]);
    let script = "name = \"s\"\n[[turn]]\nanswer = \"x\"\n";
    let config = json!({"provider": "scripted", "script": script, "instructions": "be brief"});
    let first = start(&factory, &json!({"prompt": "x", "agent_config": config}))
        .unwrap()
        .agent;
    assert_eq!(first.config().model, "scripted/s");
    assert_eq!(first.config().limits.deadline_micros, Some(105));
    let other = factory_of(&[("openai.api_key", "sk-test")]);
    let again = other.again(TenantId::DEFAULT, None, None, first.config(), "");
    assert_eq!(again.unwrap().config().model, "scripted/s");
}

#[test]
fn a_mock_answers_whatever_is_configured() {
    let mock = factory_of(&[
        ("openai.base_url", "http://127.0.0.1:9/v1"),
        ("mock_agent_delay_ms", "0"),
    ]);
    assert_eq!(
        mock.default_model().unwrap().unwrap().name(),
        "scripted/mock"
    );
    let config = json!({"prompt": "x", "agent_config": {"provider": "google"}});
    assert_eq!(
        start(&mock, &config).unwrap().agent.config().model,
        "scripted/mock"
    );
}

const SCRIPT: &str = "name = \"s\"\n[[turn]]\nanswer = \"x\"\n";

/// cli/C4: a task completed without any model, and `run` exited with 0.
#[test]
fn without_a_provider_only_a_script_is_accepted() {
    let refused = |factory: &Factory, config: Value, definition: Option<&Json>| {
        let input = Json::from(&json!({"prompt": "x", "agent_config": config}));
        let task = TaskInput {
            task_type: "agent_run",
            input: &input,
            definition,
        };
        factory.check_input(&task).refused
    };
    let none = factory_of(&[]);
    assert!(none.default_model().unwrap().is_none());
    for config in [
        json!({}),
        json!(null),
        json!({"model": "gpt-5"}),
        json!({"planner": "react"}),
    ] {
        let (code, message) = refused(&none, config.clone(), None).unwrap();
        assert_eq!(code, Code::ProviderNotConfigured, "{config}");
        assert!(message.contains("set OPENAI_API_KEY"), "{message}");
        let failure = start(&none, &json!({"prompt": "x", "agent_config": config})).map(drop);
        let failure = failure.unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.retryable),
            ("provider_not_configured", false)
        );
    }
    // A provider without a key is named.
    for config in [
        json!({"provider": "google", "model": "x"}),
        json!({"model": "google/x"}),
    ] {
        let (_, message) = refused(&none, config, None).unwrap();
        assert!(message.contains("set GOOGLE_API_KEY"), "{message}");
    }
    for (config, model) in [
        (json!({"script": SCRIPT}), "scripted/s"),
        (json!({"provider": "scripted"}), "scripted/no-script"),
        (json!({"model": "scripted"}), "scripted/no-script"),
    ] {
        assert_eq!(refused(&none, config.clone(), None), None, "{config}");
        let made = start(&none, &json!({"prompt": "x", "agent_config": config})).unwrap();
        assert_eq!(made.agent.config().model, model);
    }
    // A provider that there is not is told as a warning, and by the task itself.
    assert_eq!(refused(&none, json!({"provider": "watson"}), None), None);

    let scripted = Json::from(&json!({"name": "a", "script": SCRIPT}));
    assert_eq!(refused(&none, json!({}), Some(&scripted)), None);
    let listed = Json::from(&json!({"name": "a", "model": ["scripted"]}));
    assert_eq!(refused(&none, json!({}), Some(&listed)), None);
    let openai = Json::from(&json!({"name": "a", "model": ["scripted", "openai/gpt-5"]}));
    assert!(refused(&none, json!({}), Some(&openai)).is_some());
    let plain = Json::from(&json!({"name": "a"}));
    assert!(refused(&none, json!({}), Some(&plain)).is_some());

    let configured = factory_of(&[("openai.api_key", "k")]);
    assert_eq!(refused(&configured, json!({}), Some(&plain)), None);
    assert_eq!(refused(&configured, json!({}), Some(&openai)), None);
    assert!(refused(&configured, json!({"model": "google/x"}), None).is_some());
    let by_name = factory_of(&[("model.provider", "scripted")]);
    assert_eq!(refused(&by_name, json!({}), None), None);
}

/// A run that an earlier release answered without a provider goes on.
#[test]
fn a_stored_run_without_a_provider_still_resumes() {
    let old = "\nname = \"no-provider\"\n[[turn]]\nanswer = \"No model provider is configured\"\n";
    let by_name = factory_of(&[("model.provider", "scripted")]);
    let input = json!({"prompt": "x", "agent_config": {"script": old}});
    let config = start(&by_name, &input).unwrap().agent.config().clone();
    assert_eq!(config.model, "scripted/no-provider");
    let none = factory_of(&[]);
    let again = none
        .again(TenantId::DEFAULT, None, None, &config, "")
        .unwrap();
    assert_eq!(again.config().model, "scripted/no-provider");
}

const TWO: [(&str, &str); 4] = [
    ("anthropic.api_key", "sk-ant-test"),
    ("google.base_url", "http://127.0.0.1:9"),
    ("model.name", "claude-opus-5-5"),
    ("model.fallback", "google/gemini-2.5-flash, scripted"),
];

#[test]
fn the_first_provider_with_a_key_answers_and_a_chain_follows() {
    let factory = factory_of(&TWO);
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
            "scripted/no-script"
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
        let agent = start(&factory_of(settings), &input).map(|prepared| prepared.agent);
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
            "scripted/no-script",
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
    let factory = factory_of(&TWO);
    let prepared = start(&factory, &json!({"prompt": "x"})).unwrap();
    let config = prepared.agent.config();
    assert_eq!(config.models[0].context_tokens, Some(1_000_000));
    assert_eq!(config.models[0].prices[0].output, 20_000_000);
    let again = factory.again(TenantId::DEFAULT, None, None, config, "");
    assert_eq!(again.unwrap().config().models, config.models);
}

/// A type of event that a log can have, and the page on REST does not explain, fails this.
#[test]
fn the_page_on_rest_has_every_type_of_event_and_no_other() {
    // These are never stored: a run reads an event of the engine as one of them.
    const READ_ONLY: [&str; 7] = [
        "tool.approved",
        "tool.denied",
        "tool.reset",
        "signal.received",
        "child.ended",
        "message.added",
        "limits.changed",
    ];
    let stored: BTreeSet<&str> = ops_core::event::TaskEvent::TYPES
        .into_iter()
        .chain(agentkit::Event::TYPES)
        .filter(|kind| !READ_ONLY.contains(kind))
        .collect();
    let page = include_str!("../../../docs/rest.md");
    let (_, table) = page.split_once("| Type | What happened |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let first = rows.map(|row| row.split('|').nth(1).unwrap());
    let documented: Vec<&str> = first
        .flat_map(|cell| cell.split(','))
        .map(|kind| kind.trim().trim_matches('`'))
        .collect();
    let known: BTreeSet<&str> = documented.iter().copied().collect();
    assert_eq!(known, stored);
    assert_eq!(documented.len(), known.len(), "each stands there once");
}

/// library/L1: a chain with one model twice was taken, and its run never ended.
#[test]
fn a_chain_names_a_model_once() {
    const MESSAGE: &str = "names `google/x` twice";
    let factory = factory_of(&TWO);
    let twice = json!({"model": ["google/x", "anthropic/y", "google/x"]});
    for key in ["model", "llm_model"] {
        let config = json!({ key: twice["model"] });
        let input = Json::from(&json!({"prompt": "x", "agent_config": config}));
        let (found, _) = crate::input::check(&input);
        let wrong: Vec<_> = found.wrong.iter().map(|field| &field.message).collect();
        assert!(
            matches!(&*wrong, [one] if one.contains(MESSAGE)),
            "{wrong:?}"
        );
    }
    // A task that an earlier release accepted runs, with each model once.
    let input = json!({"prompt": "x", "agent_config": twice});
    let agent = start(&factory, &input).unwrap().agent;
    let names = agent.config().models.iter().map(|model| &*model.name);
    assert_eq!(names.collect::<Vec<_>>(), ["google/x", "anthropic/y"]);

    let definition =
        agentkit::Definition::from_json(&json!({"name": "a", "model": twice["model"]}));
    let mistakes = factory.mistakes(&definition.unwrap());
    assert!(
        matches!(&*mistakes, [one] if one.message.contains(MESSAGE)),
        "{mistakes:?}"
    );
    let settings = settings_of(&[
        ("google.api_key", "k"),
        ("model.name", "google/x"),
        ("model.fallback", "google/x"),
    ]);
    let error = Factory::new(settings, Vec::new()).err().unwrap();
    assert!(error.to_string().contains(MESSAGE), "{error}");
}

/// A definition whose models have no key here, or whose script nobody follows, was taken without a word.
#[test]
fn an_apply_warns_of_models_without_a_key_and_of_scripts_without_effect() {
    let factory = factory_of(&TWO);
    let warnings = |definition: Value| factory.warnings(&Json::from(&definition));
    let found = warnings(json!({"name": "a", "model": ["openai/gpt-5", "google/x"]}));
    let [one] = &*found else {
        panic!("one provider has no key")
    };
    assert!(
        one.starts_with("`model`: ") && one.contains("OPENAI_API_KEY"),
        "{one}"
    );
    let script = "[[turn]]\nanswer = 'x'";
    let found = warnings(json!({"name": "a", "model": ["google/x"], "script": script}));
    let [one] = &*found else {
        panic!("the script has no effect")
    };
    assert!(one.starts_with("`script`: `google/x` answers"), "{one}");
    for fine in [
        json!({"name": "a"}),
        json!({"name": "a", "model": ["google/x"]}),
        json!({"name": "a", "model": ["scripted"], "script": script}),
    ] {
        assert_eq!(warnings(fine.clone()), Vec::<String>::new(), "{fine}");
    }
}
