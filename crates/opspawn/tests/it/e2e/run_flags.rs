//! What `run` and `task ls` can say (cli/C7), and how a task is named.

use serde_json::json;

use super::{tasks, test_dir::TestDir};

const AGENT: &str = "\
name = \"clerk\"
model = \"scripted\"
script = \"\"\"
name = \"clerk\"
[[turn]]
calls = [{ tool = \"read_file\", arguments = { path = \"data/orders.csv\" } }]
[[turn]]
answer = \"read\"
\"\"\"
instructions = \"You work for {{ input.customer }}.\"
";

#[tokio::test]
async fn an_agent_that_needs_input_and_files_gets_them() {
    let test_dir = TestDir::new();
    std::fs::write(test_dir.join("clerk.toml"), AGENT).unwrap();
    std::fs::write(test_dir.join("orders.csv"), "id\n7\n").unwrap();
    let server = test_dir.server().await;
    let cli = |args: &[&str]| test_dir.cli(args).run();
    cli(&["agent", "apply", "-f", "clerk.toml"]).await.ends(0);
    let missing = cli(&["run", "--agent", "clerk", "go"]).await.ends(3);
    missing.says(&["input.customer"]);
    let given = [
        "run",
        "--agent",
        "clerk",
        "go",
        "--input",
        "customer=Acme",
        "--file",
        "data/orders.csv=orders.csv",
        "--name",
        "orders of Acme",
        "--label",
        "team=books",
        "--label",
        "x=y",
        "--priority",
        "3",
        "--max-tokens",
        "100000",
        "--max-steps",
        "9",
        "--timeout",
        "1h30m",
    ];
    let ran = cli(&given).await.ends(0);
    // cli/C5: a result is the answer alone.
    assert_eq!(ran.stdout, "read\n");
    ran.says(&["note: answered by scripted/clerk"]);
    let page = cli(&["task", "ls", "--json", "--label", "team=books"])
        .await
        .ends(0)
        .json();
    assert_eq!(page["total"], 1, "{page:#}");
    let task = &page["tasks"][0];
    assert_eq!(task["input_data"]["customer"], "Acme");
    assert_eq!(task["labels"], json!({"team": "books", "x": "y"}));
    for (limit, value) in [
        ("max_steps", 9.0),
        ("max_tokens", 1e5),
        ("timeout", 5_400.0),
    ] {
        assert_eq!(task["limits"][limit].as_f64(), Some(value), "{limit}");
    }
    assert_eq!(
        (&task["name"], &task["priority"]),
        (&json!("orders of Acme"), &json!(3))
    );
    for (args, count) in [
        (&["--agent", "clerk"][..], 2),
        (&["--agent", "nobody"], 0),
        (&["--query", "ACME"], 1),
        (&["--status", "failed"], 1),
        (&["--state", "completed,failed"], 2),
        (&["--label", "team=books", "--label", "x=z"], 0),
        (&["--since", "1h"], 2),
        (&["--until", "1h"], 0),
        (&["--until", "2000-01-01T00:00:00Z"], 0),
    ] {
        let args = [&["task", "ls", "--json"], args].concat();
        let page = cli(&args).await.ends(0).json();
        assert_eq!(page["tasks"].as_array().unwrap().len(), count, "{args:?}");
    }
    for args in [
        &["--label", "team"][..],
        &["--since", "yesterday"],
        &["--status", "done"],
    ] {
        cli(&[&["task", "ls"], args].concat()).await.ends(2);
    }
    drop(server);
}

#[tokio::test]
async fn a_list_goes_on_where_its_page_ended() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(tasks::agent(server.http(), &format!("goal {number}")).await);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args = vec!["task", "ls", "--limit", "2"];
        if let Some(cursor) = &cursor {
            args.extend(["--cursor", cursor]);
        }
        let shown = test_dir.cli(&args).run().await.ends(0).stdout;
        let lines = shown.lines().filter_map(|line| line.split_once(' '));
        seen.extend(
            lines
                .map(|(id, _)| id.to_owned())
                .filter(|id| id.starts_with("task_")),
        );
        match shown.split_once("go on with --cursor ") {
            Some((_, rest)) => cursor = Some(rest.trim().to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_task_is_meant_by_the_beginning_of_its_id_or_as_the_last() {
    let test_dir = TestDir::new();
    let none = test_dir.server().await;
    test_dir
        .cli(&["task", "get", "last"])
        .run()
        .await
        .ends(2)
        .says(&["there is no task yet"]);
    let first = tasks::id(&tasks::run(none.http(), "one").await);
    let last = tasks::id(&tasks::run(none.http(), "two").await);
    let shown = async |given: &str| {
        let ran = test_dir
            .cli(&["task", "get", "--json", given])
            .run()
            .await
            .ends(0);
        tasks::id(&ran.json())
    };
    assert_eq!(shown("last").await, last);
    assert_eq!(shown(&first[..35]).await, first);
    assert_eq!(shown(&last["task_".len()..35]).await, last);
    let both = &first[..9];
    assert!(last.starts_with(both), "ids begin with the time");
    let ran = test_dir.cli(&["task", "get", both]).run().await.ends(2);
    ran.says(&["2 tasks have an id that begins or ends with", &first, &last]);
    let ran = test_dir
        .cli(&["task", "logs", "ffffffff"])
        .run()
        .await
        .ends(2);
    ran.says(&["there is no task `ffffffff`"]);
    let again = test_dir
        .cli(&["task", "retry", "last", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(again["retry_of"], last.as_str());
}

/// cli/C4: without any provider a task completed and `run` exited with 0, so that a job that had lost its
/// key "succeeded".
#[tokio::test]
async fn without_a_provider_a_goal_is_refused_and_examples_and_scripts_work() {
    let test_dir = TestDir::new();
    let cli = |args: &[&str]| test_dir.cli_without_a_script(args);
    let refused = cli(&["run", "hello", "--json"]).run().await.ends(2);
    assert_eq!(refused.stdout, "");
    let line = refused.stderr.lines().last().unwrap();
    let error: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        error["error"]["code"], "provider_not_configured",
        "{error:#}"
    );
    for args in [
        &["run", "hello"][..],
        &["run", "hello", "--planner", "plan_execute"],
        &["run", "hello", "--model", "gpt-5"],
        &[
            "run",
            "hello",
            "--input",
            "agent_config={\"provider\": \"google\", \"model\": \"x\"}",
        ],
    ] {
        cli(args).run().await.ends(2).says(&["_API_KEY"]);
    }
    cli(&["run", "--example", "report"]).run().await.ends(0);
    cli(&["run", "hello", "--model", "scripted"])
        .run()
        .await
        .ends(0);
    let by_name = cli(&["run", "hello"]).env("OPSPAWN_PROVIDER", "scripted");
    let ran = by_name.run().await.ends(0);
    assert!(
        ran.stdout.contains("no LLM has worked on this goal: hello"),
        "{ran:#?}"
    );
    let script = "[[turn]]\nanswer = \"by the script\"\n";
    std::fs::write(test_dir.join("s.toml"), script).unwrap();
    let scripted = cli(&["run", "hello"]).env("OPSPAWN_SCRIPT", test_dir.join("s.toml"));
    assert_eq!(scripted.run().await.ends(0).stdout, "by the script\n");
    let page = cli(&["task", "ls", "--json"]).run().await.ends(0).json();
    assert_eq!(page["total"], 4, "what was refused is no task: {page:#}");
}

#[tokio::test]
async fn tools_are_listed_with_their_source() {
    let test_dir = TestDir::new();
    let _server = test_dir.server().await;
    let shown = test_dir.cli(&["tool", "ls"]).run().await.ends(0).stdout;
    for word in ["TOOL", "calculator", "builtin", "write_file"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let listed = test_dir
        .cli(&["tool", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let tools = listed["tools"].as_array().unwrap();
    let calculator = tools
        .iter()
        .find(|tool| tool["name"] == "calculator")
        .unwrap();
    assert_eq!(
        (&calculator["effect"], &calculator["source"]),
        (&json!("pure"), &json!("builtin"))
    );
    assert_eq!(calculator["input_schema"]["type"], "object");
    let builtin = tools.iter().filter(|tool| tool["source"] == "builtin");
    assert_eq!(listed["sources"][0]["tools"], json!(builtin.count()));
}

#[tokio::test]
async fn init_writes_files_that_work() {
    let test_dir = TestDir::new();
    let wrote = test_dir.cli(&["init"]).run().await.ends(0).stdout;
    for file in [
        "opspawn.toml",
        "agents/assistant.md",
        "evals/assistant.toml",
    ] {
        assert!(wrote.contains(file), "{wrote}");
    }
    let server = test_dir.server().await;
    test_dir
        .cli(&["agent", "apply", "-f", "agents"])
        .run()
        .await
        .ends(0);
    let page = test_dir
        .cli(&["agent", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(page["agents"][0]["name"], "assistant");
    drop(server);
    let again = test_dir.cli(&["init", "--json"]).run().await.ends(0).json();
    assert_eq!(again["written"], json!([]), "{again:#}");
}
