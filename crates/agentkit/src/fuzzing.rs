//! Fuzz targets of this crate: everything that reads what a provider, a file or a stored log says.

use serde_json::{Value, json};
use units::fuzzing::Target;

use crate::{
    Definition, Event,
    definition::Format,
    model::{cassette, client, scripted::Script},
    planner::{self, React, ReactText},
    policy::{Action, Policy as _, PolicyContext, PolicyFile},
    run::Run,
    template,
    tool::{Effect, Resource, Resources, ToolSpec},
};

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "stream_chat",
        run: client::fuzzing::chat,
    },
    Target {
        name: "stream_responses",
        run: client::fuzzing::responses,
    },
    Target {
        name: "stream_messages",
        run: client::fuzzing::messages,
    },
    Target {
        name: "stream_generate_content",
        run: client::fuzzing::generate_content,
    },
    Target {
        name: "sse",
        run: client::fuzzing::sse,
    },
    Target {
        name: "error_body",
        run: client::fuzzing::error_body,
    },
    Target {
        name: "run_events",
        run: run_events,
    },
    Target {
        name: "template",
        run: rendered,
    },
    Target {
        name: "script",
        run: script,
    },
    Target {
        name: "policy",
        run: policy,
    },
    Target {
        name: "definition",
        run: definition,
    },
    Target {
        name: "model_text",
        run: planner::fuzzing::text,
    },
    Target {
        name: "cassette",
        run: cassette::fuzzing::exchange,
    },
];

/// The lines of a log, as events that are folded into a run: what is read is written again, a snapshot of the run is
/// the run, and a run that was folded can always say what is next.
fn run_events(data: &[u8]) {
    let mut run = Run::default();
    for line in data.split(|byte| *byte == b'\n').take(256) {
        let Ok(event) = Event::decode(line) else {
            continue;
        };
        let again = Event::decode(&event.encode()).expect("a written event is readable");
        assert_eq!(again, event);
        let before = run.clone();
        if run.apply(&event).is_err() {
            // The engine stops at such an event, so what the fold made of half of it is not used.
            run = before;
        }
    }
    let snapshot = serde_json::to_vec(&run).expect("a run has string keys");
    let restored: Run = serde_json::from_slice(&snapshot).expect("a snapshot is readable");
    assert_eq!(restored, run);
    let _ = run.next(&React, 1_700_000_000_000_000);
    let _ = run.next(&ReactText, 1_700_000_000_000_000);
}

/// A template, rendered with a small context.
fn rendered(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut environment = template::with_budget(&template::environment(), template::INLINE_BUDGET);
    if template::add(&mut environment, "t", &text).is_ok() {
        let input = json!({
            "name": "Ann", "items": [1, 2, {"a": [null, true, "x"]}], "text": "{{ a }}", "n": -3.5,
        });
        let context = template::from_json(&json!({"input": input, "last": "18"}));
        let _ = template::render(&environment, "t", context);
    }
    let _ = template::check_expression(&environment, &text);
}

/// A script of the scripted model.
fn script(data: &[u8]) {
    let _ = Script::parse(&String::from_utf8_lossy(data));
}

/// A policy file, which then judges some calls. A call that is denied stays denied for the same arguments.
fn policy(data: &[u8]) {
    let Ok(file) = PolicyFile::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    let policy = file.policy(["write_file", "http_fetch"]);
    for (name, effect, arguments, resources) in [
        (
            "write_file",
            Effect::Idempotent,
            json!({"path": "a/../secret/b.txt", "content": "x"}),
            Resources::writes([Resource::file("a/../secret/b.txt")]),
        ),
        (
            "http_fetch",
            Effect::Write,
            json!({"url": "http://EXAMPLE.com:80/%7Ea/../b?x#y", "n": 7, "list": [1, {"a": null}]}),
            Resources::reads([Resource::url("http://EXAMPLE.com:80/%7Ea/../b?x#y")]),
        ),
    ] {
        let tool = ToolSpec::new(name, "A tool.", json!({})).effect(effect);
        let action = Action {
            tool: &tool,
            effect,
            arguments: &arguments,
            resources: &resources,
            probe_of: None,
        };
        let context = PolicyContext { agent: "a" };
        let first = policy.check_permissions(&action, &context);
        assert_eq!(policy.check_permissions(&action, &context), first);
    }
}

/// An agent's definition in each of its formats. Its one form is a definition with the same digest.
fn definition(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for format in [Format::Toml, Format::Yaml, Format::Json, Format::Markdown] {
        let Ok(parsed) = Definition::parse_file(&text, format, Some("file")) else {
            continue;
        };
        let definition = parsed.definition;
        let value: Value = serde_json::from_str(&definition.canonical()).expect("its form is JSON");
        let again = Definition::from_json(&value).expect("its form is a definition");
        assert_eq!(again.digest(), definition.digest());
        let _ = (definition.output(), definition.policy());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
