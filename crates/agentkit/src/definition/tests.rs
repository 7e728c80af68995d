use serde_json::json;

use super::*;

const WHOLE: &str = r#"
name = "researcher"
description = "Finds out"
model = ["openai/gpt-5", "scripted"]
instructions = "You work for {{ input.customer }} as {{ agent }}."
planner = "react"
temperature = 0.5
tools = ["read_file", "http_*"]
agents = ["writer"]

[memory]
context_tokens = 60000
summarise = false

[output]
schema = { type = "object", required = ["answer"] }
max_reasks = 1

[limits]
on_exhausted = "wait"
max_steps = 40
max_cost_usd = 0.5
timeout = "10m"

[policy]
profile = "strict"
rule = [{ tool = "http_*", action = "ask" }]
"#;

fn mistakes(text: &str) -> String {
    Definition::parse(text, Format::guess(text))
        .unwrap_err()
        .to_string()
}

fn scene(input: Value) -> Scene {
    Scene {
        goal: "go".into(),
        input,
        task: SceneTask::default(),
        date: "2026-01-31".into(),
        tools: vec!["read_file".into()],
    }
}

#[test]
fn every_key_is_read_and_the_one_form_reads_back() {
    let whole = Definition::parse(WHOLE, Format::Toml).unwrap();
    assert_eq!(whole.model, ["openai/gpt-5", "scripted"]);
    assert_eq!(whole.limits.timeout(), Some(Duration::from_secs(600)));
    assert_eq!(whole.limits.max_cost_micros(), Some(500_000));
    assert_eq!(whole.output().unwrap().max_reasks, 1);
    assert_eq!(whole.memory.context_tokens, Some(60_000));
    assert_eq!(whole.policy().unwrap().unwrap().rules.len(), 1);
    let canonical: Value = serde_json::from_str(&whole.canonical()).unwrap();
    assert_eq!(Definition::from_json(&canonical).unwrap(), whole);
}

#[test]
fn a_key_that_stands_twice_in_yaml_is_told_without_advice_for_programmers() {
    let text = "---\nname: a\nmodel: openai/gpt-5\nname: b\n---\n\nBe kind.\n";
    let error = Definition::parse(text, Format::guess(text)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("duplicate mapping key: name") && message.contains("line"),
        "{message}"
    );
    assert!(!message.contains("Options"), "{message}");
}

#[test]
fn equal_definitions_have_one_digest_however_they_are_written() {
    let toml = "tools = []\nname = \"a\"\nmodel = \"openai/gpt-5\"\ninstructions = \"Be kind.\"\n\
                limits = { timeout = \"90s\", max_steps = 3 }";
    let yaml = "---\nname: a\nmodel: [openai/gpt-5]\ntools: []\nlimits:\n  max_steps: 3 # three\n  \
                timeout: 90\n---\n\nBe kind.\n";
    let fenced = "+++\nname = \"a\"\nmodel = \"openai/gpt-5\"\ntools = []\n\
                  limits = { max_steps = 3, timeout = 90.0 }\n+++\nBe kind.";
    let all =
        [toml, yaml, fenced].map(|text| Definition::parse(text, Format::guess(text)).unwrap());
    assert_eq!(all[0].digest(), all[1].digest());
    assert_eq!(all[0].digest(), all[2].digest());
    assert_eq!(
        all[0].canonical(),
        r#"{"instructions":"Be kind.","limits":{"max_steps":3,"timeout":90},"model":["openai/gpt-5"],"name":"a","tools":[]}"#
    );
    // The stored form of a definition never changes: this is what digests rest on.
    assert_eq!(
        Definition {
            name: "a".into(),
            ..Definition::default()
        }
        .digest(),
        crate::tool::digest_hex(br#"{"name":"a"}"#)
    );
}

#[test]
fn mistakes_are_all_named_with_what_mends_them() {
    for (text, says) in [
        (
            "name = \"a\"\nplaner = \"react\"",
            "there is no key `planer`; did you mean `planner`?",
        ),
        (
            "name = \"a\"\nlimits = { max_step = 1 }",
            "`limits.max_step`; did you mean `max_steps`?",
        ),
        (
            "name = \"a\"\nmcp_servers = []",
            "there is no key `mcp_servers`; known are `name`",
        ),
        ("model = \"gpt-5\"", "`name` is missing"),
        ("name = \"A b\"", "is not an agent's name"),
        (
            "name = \"a\"\nmodel = \"gpt-5\"",
            "`model`: `gpt-5` is not a model's name like `openai/gpt-5`",
        ),
        ("name = \"a\"\nplanner = \"raect\"", "did you mean `react`?"),
        ("name = \"a\"\nagents = [\"a\"]", "a -> a"),
        ("name = \"a\"\nagents = [\"b\", \"b\"]", "names `b` twice"),
        ("name = \"a\"\ntools = [\"x y\"]", "tool pattern `x y`"),
        ("name = \"a\"\ntools = [\"x/y/z\"]", "tool pattern `y/z`"),
        (
            "name = \"a\"\ntools = [\"X/y\"]",
            "`X/y` is not like `TOOL`",
        ),
        (
            "name = \"a\"\ntools = \"x\"",
            "`tools` must be a list of texts",
        ),
        (
            "name = \"a\"\ninstructions = \"{{ gaol }}\"",
            "no variable `gaol`; did you mean `goal`?",
        ),
        (
            "name = \"a\"\ninstructions = \"{{ goal\"",
            "`instructions`: ",
        ),
        (
            "name = \"a\"\nlimits = { timeout = \"soon\" }",
            "`limits.timeout` must be a number of seconds, or text like `500ms`",
        ),
        (
            "name = \"a\"\nlimits = { max_steps = 0 }",
            "must be a whole number, 1 or more",
        ),
        (
            "name = \"a\"\noutput = { schema = { type = 5 } }",
            "`output.schema` cannot be used",
        ),
        ("name = \"a\"\nmemory = 5", "`memory` must be a table"),
        (
            "name = \"a\"\npolicy = { profil = \"strict\" }",
            "did you mean `profile`?",
        ),
        ("name = ", "it is not valid TOML"),
        // tools/T8: lines were counted from the text without the settings.
        (
            "\n---\nname: a\n---\n\nOne.\n{{ goal }}\n{{ goal",
            "line 8)",
        ),
        (
            "---\nname: a\n---\n{{ goal }} {{ gaol }}",
            "did you mean `goal`? (`template = false` takes the text as it is)",
        ),
        (
            "name = \"a\"\ntemplate = 1",
            "`template` must be `true` or `false`",
        ),
        ("{\"name\": 1}", "`name` must be text"),
        ("{", "it is not valid JSON"),
        ("---\nname: a\n", "have no end"),
        ("---\nname: a\n  x: 1\n---\n", "line 3"),
        (
            "---\nname: a\ntools: {a: 1}\n---\n",
            "`tools` must be a list of texts",
        ),
        ("---\n- a\n---\n", "lines of `key: value`"),
        (
            "---\nname: a\nname: b\n---\n",
            "duplicate mapping key: name",
        ),
        (
            "+++\nname = \"a\"\ninstructions = \"x\"\n+++\ny",
            "leave out one",
        ),
    ] {
        let said = mistakes(text);
        assert!(said.contains(says), "{text}\n{said}");
    }
    let both = mistakes("name = \"a\"\nplaner = 1\nmodel = 5");
    assert!(
        both.contains("planer") && both.contains("`model` must be"),
        "{both}"
    );
}

/// cli/C10: REST and settings took what a definition refused.
#[test]
fn durations_and_money_are_read_as_everywhere() {
    let limits = |text: &str| {
        let text = format!("name = \"a\"\nlimits = {{ {text} }}");
        Definition::parse(&text, Format::Toml).map(|definition| definition.limits)
    };
    for (written, seconds) in [
        ("\"1h30m\"", 5_400.0),
        ("\"500ms\"", 0.5),
        ("\"1.5h\"", 5_400.0),
        ("\"1e3\"", 1_000.0),
        ("\" 30s\"", 30.0),
        ("90", 90.0),
        ("1e3", 1_000.0),
    ] {
        let read = limits(&format!("timeout = {written}")).unwrap();
        assert_eq!(read.timeout, Some(seconds), "{written}");
    }
    let read = limits("max_cost_usd = 0.1234567").unwrap();
    assert_eq!(read.max_cost_micros(), Some(123_457));
    for wrong in [
        "timeout = \"1y\"",
        "timeout = 0",
        "max_cost_usd = 0.0000001",
    ] {
        assert!(limits(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn instructions_are_a_strict_template() {
    let whole = Definition::parse(WHOLE, Format::Toml).unwrap();
    let written = whole.instructions(&scene(json!({"customer": "Acme"})));
    assert_eq!(written.unwrap(), "You work for Acme as researcher.");
    let error = whole.instructions(&scene(json!({}))).unwrap_err();
    assert_eq!(error.code, "invalid_instructions");
    assert!(
        error.message.contains("`input.customer` is not defined"),
        "{error}"
    );
    assert!(!error.retryable);

    // Text that would be a gigabyte once it is written out.
    let mut bomb = "---\nname: a\nx0: &x0 [y, y, y, y, y, y, y, y, y]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*x{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("x{level}: &x{level} [{alias}]\n"));
    }
    bomb.push_str("---\n");
    let error = Definition::parse(&bomb, Format::Markdown).unwrap_err();
    assert!(matches!(error, DefinitionError::Syntax { .. }), "{error}");

    let lists = "---\nname: a\ntools:\n  - read_file\n  - \"http_*\"\n---\n\
                 {% for tool in tools %}- {{ tool }} on {{ date }}\n{% endfor %}";
    let lists = Definition::parse(lists, Format::Markdown).unwrap();
    assert_eq!(lists.tools.as_deref().unwrap(), ["read_file", "http_*"]);
    let written = lists.instructions(&scene(json!({}))).unwrap();
    assert_eq!(written.trim_end(), "- read_file on 2026-01-31");
}

#[test]
fn instructions_that_never_end_are_an_error() {
    let endless = "{% for a in range(3000) %}{% for b in range(3000) %}{% set x = a * b %}{% endfor %}{% endfor %}";
    let definition = Definition {
        name: "endless".into(),
        instructions: endless.into(),
        ..Definition::default()
    };
    let error = definition.instructions(&scene(json!({}))).unwrap_err();
    assert_eq!(error.code, "invalid_instructions");
    assert!(error.message.contains("take too long"), "{error}");
}

/// tools/T8: the text of a prompt was taken for a template: braces of workflows and pages were refused, and
/// comments vanished.
#[test]
fn the_text_of_markdown_is_a_template_only_where_it_speaks_of_a_run() {
    let parse = |text: &str| {
        let text = format!("---\nname: a\n{text}");
        Definition::parse_file(&text, Format::Markdown, None).unwrap()
    };
    for text in [
        "Use `${{ secrets.X }}`.",
        "<div style={{ a: b }}>",
        "{% render 'card' %}",
        "{# a heading #}\nx",
        "Fill in {{ placeholder }}.",
    ] {
        let parsed = parse(&format!("---\n{text}\n"));
        let definition = parsed.definition;
        assert_eq!(definition.template, Some(false), "{text}");
        assert_eq!(definition.instructions(&scene(json!({}))).unwrap(), text);
        assert!(
            parsed.notes[0].starts_with("instructions: text as it is"),
            "{text}"
        );
        assert!(definition.canonical().contains("\"template\":false"));
        // What is stored reads back.
        let stored = serde_json::from_str(&definition.canonical()).unwrap();
        assert_eq!(Definition::from_json(&stored).unwrap(), definition);
    }
    let template = parse("---\nFor {{ goal }}.");
    assert!(template.definition.is_template());
    assert!(template.notes[0].starts_with("instructions: a template"));
    let plain = parse("---\nNo braces but {these}.");
    assert_eq!((plain.definition.template, plain.notes.len()), (None, 0));
    // The key decides, and saying what holds anyway makes no other version.
    let said = parse("template: false\n---\nFor {{ goal }}.").definition;
    assert_eq!(
        said.instructions(&scene(json!({}))).unwrap(),
        "For {{ goal }}."
    );
    let said = parse("template: true\n---\nFor {{ goal }}.").definition;
    assert_eq!(said.digest(), template.definition.digest());
    // TOML, and what is stored without the key, are templates.
    let toml = "name = \"a\"\ninstructions = \"Fill in {{ placeholder }}.\"";
    assert!(mistakes(toml).contains("no variable `placeholder`"));
}

#[test]
fn settings_that_are_no_yaml_are_read_by_line_only_where_another_tool_has_them() {
    let text = "---\nname: reviewer\ndescription: Use it: after \"a\" change\n  and before: b\ncolor: red\n---\nReview.";
    let parsed = Definition::parse_file(text, Format::Markdown, None).unwrap();
    assert_eq!(
        parsed.definition.description,
        "Use it: after \"a\" change\nand before: b"
    );
    let text =
        "---\n# Fill in the fields below.\n\nname: reviewer\ndescription: Use it: so\n---\nReview.";
    let parsed = Definition::parse_file(text, Format::Markdown, None).unwrap();
    assert_eq!(parsed.definition.description, "Use it: so");
    let wrapped =
        "````chatagent\n```chatagent\n---\nname: a\ntools: ['search']\n---\nFind it.\n```\n````\n";
    let parsed = Definition::parse_file(wrapped, Format::Markdown, None).unwrap();
    assert_eq!(parsed.definition.instructions, "Find it.");
    for ours in [
        "---\nname: a\ndescription: Use it: so\nplanner: react\n---\nx",
        "---\nname: a\nname: b\ndescription: Use it: so\n---\nx",
    ] {
        assert!(mistakes(ours).contains("not valid YAML"), "{ours}");
    }
}

/// cli/C12: the table of keys is that of the code.
#[test]
fn the_page_on_agents_has_every_key_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/agents.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, table) = page.split_once("| Key | What | Without it |\n").unwrap();
    let mut named = std::collections::BTreeSet::new();
    for row in table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
    {
        let cell = row.split('|').nth(1).unwrap();
        let mut group = "";
        for key in cell.split('`').skip(1).step_by(2) {
            // `limits.max_steps`, `max_tokens`: the group is said once.
            match key.split_once('.') {
                Some((first, _)) => {
                    group = first;
                    named.insert(key.to_owned());
                }
                None if group.is_empty() => drop(named.insert(key.to_owned())),
                None => drop(named.insert(format!("{group}.{key}"))),
            }
        }
    }
    let within = |group: &'static str, keys: &'static [&str]| {
        keys.iter().map(move |key| format!("{group}.{key}"))
    };
    let groups = ["output", "memory", "limits"];
    let plain = read::KEYS.iter().filter(|key| !groups.contains(key));
    let known = plain
        .map(|key| (*key).to_owned())
        .chain(within("output", read::OUTPUT))
        .chain(within("memory", read::MEMORY))
        .chain(within("memory.long_term", read::LONG_TERM))
        .chain(within("limits", read::LIMITS))
        .collect();
    assert_eq!(named, known);
}
