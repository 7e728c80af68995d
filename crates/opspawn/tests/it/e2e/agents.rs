//! `opspawn agent`, and what tasks make of definitions.

use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{Ran, TestDir, assert_calm},
};

/// An agent that asks, and then answers with what it was told and this word.
fn asker(word: &str) -> String {
    format!(
        r#"
name = "asker"
description = "Asks first"
model = "scripted"
instructions = "You ask for {{{{ input.customer }}}}; {word}."
tools = ["ask_human"]
script = """
[[turn]]
calls = [ {{ tool = "ask_human", arguments = {{ question = "which?" }} }} ]
[[turn]]
answer = "{word}: {{{{ last }}}}"
"""

[limits]
max_steps = 7
"#
    )
}

async fn apply(test_dir: &TestDir, text: &str) -> Ran {
    let apply = test_dir.cli(&["agent", "apply", "-f", "-"]).stdin(text);
    apply.run().await.ends(0)
}

fn ask(customer: &str) -> Value {
    json!({
        "task_type": "agent_run", "agent_id": "asker",
        "input_data": {"prompt": "ask", "customer": customer},
    })
}

#[tokio::test]
async fn a_run_keeps_its_version_through_an_apply_and_a_restart() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let applied = apply(&test_dir, &asker("one")).await;
    assert!(
        applied.stdout.starts_with("agent asker created "),
        "{applied:#?}"
    );
    let id = tasks::submit(server.http(), &ask("Acme")).await;
    let waits = tasks::in_state(server.http(), &id, &["waiting"]).await;
    let digest = waits["agent_digest"].as_str().unwrap().to_owned();
    let started = tasks::events(server.http(), &id, "run.started").await;
    let config = &started[0]["config"];
    assert_eq!(config["agent_digest"], digest.as_str());
    assert_eq!(config["agent"], "asker");
    assert_eq!(config["instructions"], "You ask for Acme; one.");
    assert_eq!(config["limits"]["max_steps"], 7);
    let tools: Vec<_> = config["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(tools, ["ask_human"]);

    let changed = apply(&test_dir, &asker("two")).await;
    assert!(
        changed.stdout.starts_with("agent asker changed "),
        "{changed:#?}"
    );
    let stop = std::time::Duration::from_secs(30);
    assert!(server.stop(stop).await.unwrap().success());
    let server = test_dir.server().await;
    let http = server.http();
    test_dir
        .cli(&["task", "signal", &id, "this"])
        .run()
        .await
        .ends(0);
    assert_eq!(tasks::answer(http, &id).await, "one: this");
    let shown = test_dir.cli(&["task", "get", &id]).run().await.ends(0);
    assert!(
        shown.stdout.contains(&format!("asker ({})", &digest[..12])),
        "{shown:#?}"
    );

    let late = tasks::submit(http, &ask("Acme")).await;
    let waits = tasks::in_state(http, &late, &["waiting"]).await;
    assert_ne!(waits["agent_digest"], digest.as_str());
    test_dir
        .cli(&["task", "signal", &late, "that"])
        .run()
        .await
        .ends(0);
    assert_eq!(tasks::answer(http, &late).await, "two: that");

    // Done again from its second model call, it is still what it was; from its start, it is new.
    let rerun = test_dir.cli(&["task", "rerun", &id, "--from-step", "3", "--json"]);
    let rerun = rerun.run().await.ends(0).json();
    assert_eq!(rerun["agent_digest"], digest.as_str());
    assert_eq!(tasks::answer(http, &tasks::id(&rerun)).await, "one: this");
    let retry = test_dir
        .cli(&["task", "retry", &id, "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(retry["agent_digest"], waits["agent_digest"]);

    let strict =
        json!({"task_type": "agent_run", "agent_id": "asker", "input_data": {"prompt": "x"}});
    let failed = tasks::submit(http, &strict).await;
    let failed = tasks::ended(http, &failed).await;
    assert_eq!(
        failed["error"]["code"], "invalid_instructions",
        "{failed:#}"
    );
    let message = failed["error_message"].as_str().unwrap();
    assert!(
        message.contains("`input.customer` is not defined"),
        "{message}"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn an_agent_starts_those_that_it_may_and_no_others() {
    let test_dir = TestDir::new();
    std::fs::create_dir(test_dir.join("team")).unwrap();
    let lead = r#"
name = "lead"
model = "scripted"
agents = ["writer"]
tools = ["calculator"]
script = """
[[turn]]
calls = [ { tool = "spawn_agent", arguments = { goal = "write", agent = "stranger" } },
          { tool = "spawn_agent", arguments = { goal = "write", agent = "writer" } } ]
[[turn]]
calls = [ { tool = "await_agents", arguments = { tasks = ["{{ (result(2) | fromjson).task }}"] } } ]
[[turn]]
answer = "{{ results[0].error }} {{ last }}"
"""
"#;
    let writer = "---\nname: writer\nmodel: scripted\ntools: []\nscript: \"[[turn]]\\nanswer = 'written'\"\n---\nYou write.";
    std::fs::write(test_dir.join("team/a-lead.toml"), lead).unwrap();
    std::fs::write(test_dir.join("team/b-writer.md"), writer).unwrap();
    let server = test_dir.server().await;
    let diff = test_dir
        .cli(&["agent", "diff", "-f", "team"])
        .run()
        .await
        .ends(1);
    assert!(diff.stdout.contains("agent lead created"), "{diff:#?}");
    let applied = test_dir
        .cli(&["agent", "apply", "-f", "team"])
        .run()
        .await
        .ends(0);
    let order: Vec<_> = applied.stdout.lines().map(|line| &line[..12]).collect();
    assert_eq!(order, ["agent writer", "agent lead c"]);
    test_dir
        .cli(&["agent", "diff", "-f", "team"])
        .run()
        .await
        .ends(0);

    let task =
        json!({"task_type": "agent_run", "agent_id": "lead", "input_data": {"prompt": "go"}});
    let id = tasks::submit(server.http(), &task).await;
    let answer = tasks::answer(server.http(), &id).await;
    assert!(
        answer.starts_with("True ") && answer.contains("written"),
        "{answer}"
    );
    let children = format!("/api/v1/tasks?parent={id}");
    let children: Value = server.http().get(&children).await.unwrap().json().unwrap();
    assert_eq!(children["tasks"][0]["agent_id"], "writer");
    let writer = test_dir
        .cli(&["agent", "get", "writer", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(children["tasks"][0]["agent_digest"], writer["digest"]);
    assert_eq!(writer["definition"]["instructions"], "You write.");
    assert_eq!(children["total"], 1);

    // The other way round is a circle, which is told whole.
    let circle = "name = \"writer\"\nagents = [\"lead\"]";
    let refused = test_dir
        .cli(&["agent", "apply", "-f", "-"])
        .stdin(circle)
        .run()
        .await;
    refused
        .ends(2)
        .says(&["in a circle: writer -> lead -> writer"]);
    assert_calm(&server);
}

#[tokio::test]
async fn mistakes_are_told_where_they_are_made() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let refused = async |text: &str, says: &[&str]| {
        let apply = test_dir.cli(&["agent", "apply", "-f", "-"]).stdin(text);
        apply.run().await.ends(2).says(says);
    };
    refused(
        "name = \"a\"\nplaner = \"react\"",
        &["no key `planer`; did you mean `planner`?"],
    )
    .await;
    refused(
        "name = \"a\"\ntools = [\"calculater\"]",
        &["did you mean `calculator`?"],
    )
    .await;
    refused(
        "name = \"a\"\nmodel = \"opnai/gpt-5\"",
        &["did you mean `openai`?"],
    )
    .await;
    refused("name = \"a\"\nagents = [\"b\"]", &["there is no agent `b`"]).await;
    refused("name = \"a\"\nscript = \"[[turn\"", &["`script`: "]).await;
    let ls = test_dir
        .cli(&["agent", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(ls, json!({"agents": []}));
    let run = test_dir.cli(&["run", "--agent", "asker", "go"]).run().await;
    run.ends(2).says(&["there is no agent `asker`"]);

    apply(&test_dir, &asker("one")).await;
    let same = apply(&test_dir, &asker("one")).await;
    assert!(
        same.stdout.starts_with("agent asker unchanged "),
        "{same:#?}"
    );
    let diff = test_dir
        .cli(&["agent", "diff", "-f", "-"])
        .stdin(&asker("two"));
    let diff = diff.run().await.ends(1);
    for line in [
        "agent asker changed",
        "  instructions",
        "  - You ask for {{ input.customer }}; one.",
    ] {
        assert!(diff.stdout.contains(line), "{line}: {diff:#?}");
    }
    let ls = test_dir.cli(&["agent", "ls"]).run().await.ends(0);
    assert!(ls.stdout.contains("Asks first"), "{ls:#?}");
    apply(&test_dir, &asker("two")).await;
    let get = test_dir
        .cli(&["agent", "get", "asker", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(get["versions"].as_array().unwrap().len(), 2);
    let old = get["versions"][1]["digest"].as_str().unwrap();
    let get = test_dir
        .cli(&["agent", "get", "asker", "--digest", &old[..10]])
        .run()
        .await
        .ends(0);
    assert!(get.stdout.contains("; one."), "{get:#?}");
    let wrong = test_dir
        .cli(&["agent", "get", "asker", "--digest", "zz"])
        .run()
        .await;
    wrong
        .ends(2)
        .says(&["no version of agent `asker` begins with `zz`"]);
    test_dir
        .cli(&["agent", "get", "askr"])
        .run()
        .await
        .ends(2)
        .says(&["there is no agent `askr`"]);
    assert_calm(&server);
}

/// cli/C11: an earlier version could be seen, and not be gone back to.
#[tokio::test]
async fn a_version_is_named_and_gone_back_to() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let first = apply(&test_dir, &asker("one")).await;
    let digest = first.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    apply(&test_dir, &asker("two")).await;
    let version = format!("asker@{digest}");
    let shown = test_dir
        .cli(&["agent", "get", &version, "--json"])
        .run()
        .await;
    let shown = shown.ends(0).json();
    assert!(
        shown["definition"]["instructions"]
            .as_str()
            .unwrap()
            .ends_with("one."),
        "{shown:#}"
    );
    let back = test_dir
        .cli(&["agent", "rollback", &version])
        .run()
        .await
        .ends(0);
    assert_eq!(back.stdout.trim(), format!("agent asker changed {digest}"));
    let now = test_dir
        .cli(&["agent", "get", "asker", "--json"])
        .run()
        .await;
    assert_eq!(now.ends(0).json()["digest"], shown["digest"]);
    let none = test_dir.cli(&["agent", "rollback", "asker"]).run().await;
    none.ends(2).says(&["write NAME@DIGEST"]);
    assert_calm(&server);
}

/// tools/T14, tools/T8: an agent of another tool applies as it is, and what became of it is printed.
#[tokio::test]
async fn agents_of_other_tools_apply_and_wrong_files_are_all_named() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let folder = test_dir.join("theirs");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("README.md", "# Theirs");
    write(
        "tester.md",
        "---\nname: tester\ndescription: Tests: all of it\ntools: Read, Write, Bash\nmodel: sonnet\ncolor: blue\n---\n\
         Use `${{ secrets.TOKEN }}` and {{ goal }}.",
    );
    let apply = |folder: &std::path::Path| {
        test_dir.cli(&["agent", "apply", "-f", folder.to_str().unwrap()])
    };
    let applied = apply(&folder).run().await.ends(0);
    for said in [
        "agent tester created ",
        "  tools: Read, Write became read_file, write_file",
        "  instructions: text as it is",
        "color",
        "model sonnet (the configured model answers)",
        "tools Bash",
    ] {
        assert!(applied.stdout.contains(said), "{said}: {applied:#?}");
    }
    applied.says(&["README.md is left out"]);
    let shown = test_dir
        .cli(&["agent", "get", "tester", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(
        shown["definition"],
        json!({
            "name": "tester", "description": "Tests: all of it", "template": false,
            "tools": ["read_file", "write_file"],
            "instructions": "Use `${{ secrets.TOKEN }}` and {{ goal }}.",
        })
    );
    write("wrong.toml", "name = \"wrong\"\ntool = []");
    write("bad.json", "{");
    let refused = apply(&folder).run().await.ends(2);
    refused.says(&[
        "wrong.toml: there is no key `tool`",
        "bad.json: it is not valid JSON",
    ]);
    std::fs::remove_file(folder.join("bad.json")).unwrap();
    // Every one that the server refuses is named as well.
    write("wrong.toml", "name = \"wrong\"\ntools = [\"raed_file\"]");
    write("worse.toml", "name = \"worse\"\ntools = [\"wirte_file\"]");
    let refused = apply(&folder).run().await.ends(2);
    refused.says(&["did you mean `read_file`?", "did you mean `write_file`?"]);
    assert_calm(&server);
}

/// cli, missing: `agent rm`. A task keeps its version; what would start the agent later refuses the removal.
#[tokio::test]
async fn a_removed_agent_has_no_new_tasks_and_its_tasks_go_on() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let removal = |name: &str| test_dir.cli(&["agent", "rm", name]).run();
    removal("asker").await.ends(2).says(&["no agent `asker`"]);
    apply(&test_dir, &asker("one")).await;
    apply(
        &test_dir,
        "name = \"lead\"\nmodel = \"scripted\"\nagents = [\"asker\"]\n",
    )
    .await;
    let id = tasks::submit(server.http(), &ask("Acme")).await;
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let refused = removal("asker").await.ends(2);
    refused.says(&["the agent is named by the agent lead"]);
    removal("lead").await.ends(0);
    let removed = removal("asker").await.ends(0);
    assert_eq!(removed.stdout, "agent asker is removed\n");

    let answer = test_dir.cli(&["task", "signal", &id, "\"this\""]).run();
    answer.await.ends(0);
    let done = tasks::in_state(server.http(), &id, &["completed"]).await;
    assert_eq!(done["output"], "one: this");
    let rerun = test_dir.cli(&["task", "rerun", &id, "--from-step", "1", "--json"]);
    let rerun = tasks::id(&rerun.run().await.ends(0).json());
    tasks::in_state(server.http(), &rerun, &["waiting"]).await;
    let retry = test_dir.cli(&["task", "retry", &id]).run().await.ends(2);
    retry.says(&["there is no agent `asker`"]);
    assert_calm(&server);
}
