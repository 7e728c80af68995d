//! The rest of the command line: doctor, config, completion, version, and what goes where.

use std::process::Stdio;

use serde_json::json;

use super::test_dir::TestDir;

#[tokio::test]
async fn version_and_help() {
    let test_dir = TestDir::new();
    let version = test_dir.bare_cli(&["version"]).run().await.ends(0);
    assert_eq!(
        version.stdout,
        format!("opspawn {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        test_dir.bare_cli(&["--version"]).run().await.ends(0).stdout,
        version.stdout
    );
    let help = test_dir.bare_cli(&["--help"]).run().await.ends(0);
    for command in [
        "dev",
        "run",
        "task",
        "reconcile",
        "doctor",
        "config",
        "completion",
        "version",
    ] {
        assert!(
            help.stdout.contains(&format!("  {command} ")),
            "{command}: {help:#?}"
        );
    }
    test_dir
        .bare_cli(&[])
        .run()
        .await
        .ends(2)
        .says(&["Usage: opspawn"]);
    assert!(
        !test_dir.join("opspawn-data").exists(),
        "looking makes nothing"
    );
}

#[tokio::test]
async fn completion_scripts() {
    let test_dir = TestDir::new();
    for (shell, mark) in [
        ("bash", "complete "),
        ("zsh", "#compdef opspawn"),
        ("fish", "--command opspawn"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = test_dir
            .bare_cli(&["completion", shell])
            .run()
            .await
            .ends(0);
        assert!(
            script.stdout.contains(mark) && script.stderr.is_empty(),
            "{script:#?}"
        );
        assert!(script.stdout.contains("OPSPAWN_COMPLETE"), "{shell}");
    }
}

/// Completes the last of these words as bash asks for it, and gives the lines of the answer.
async fn completed(test_dir: &TestDir, words: &[&str]) -> Vec<String> {
    let mut asked = vec!["--", "opspawn"];
    asked.extend(words);
    let index = (words.len()).to_string();
    let mut cli = test_dir.bare_cli(&asked);
    for (name, value) in [
        ("OPSPAWN_COMPLETE", "bash"),
        ("_CLAP_COMPLETE_INDEX", index.as_str()),
        ("_CLAP_COMPLETE_COMP_TYPE", "9"),
        ("_CLAP_IFS", "\n"),
        ("_CLAP_COMPLETE_SPACE", "true"),
    ] {
        cli = cli.env(name, value);
    }
    let answer = cli.run().await.ends(0);
    assert!(answer.stderr.is_empty(), "{answer:#?}");
    answer
        .stdout
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Commands were completed, and never a name.
#[tokio::test]
async fn names_are_completed() {
    let test_dir = TestDir::new();
    // Without a server there are no names, and no folder is made for want of one.
    assert!(
        completed(&test_dir, &["agent", "get", ""])
            .await
            .iter()
            .all(|line| line.starts_with('-'))
    );
    assert!(!test_dir.data().exists());
    assert_eq!(completed(&test_dir, &["reco"]).await, ["reconcile"]);
    assert_eq!(
        completed(&test_dir, &["run", "--planner", "plan"]).await,
        ["plan_execute"]
    );

    let server = test_dir.dev().start().await.unwrap();
    let http = server.http();
    let definition = json!({"name": "night-auditor", "instructions": "Audit."});
    let agent = json!({"definition": definition});
    let request = http.request(
        http::Method::PUT,
        "/api/v1/agents/night-auditor",
        Some(&agent),
    );
    http.send(request.unwrap()).await.unwrap().ok().unwrap();
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": "x", "agent_config": {
        "provider": "scripted", "script": "[[turn]]\nanswer = \"done\"",
    }}});
    let id = super::tasks::submit(http, &body).await;
    let data = test_dir.data().display().to_string();
    let on_data = async |words: &[&str]| {
        let mut all = vec!["--data", data.as_str()];
        all.extend(words);
        completed(&test_dir, &all).await
    };
    assert_eq!(on_data(&["agent", "get", "nig"]).await, ["night-auditor"]);
    assert_eq!(on_data(&["run", "--agent", ""]).await, ["night-auditor"]);
    assert_eq!(
        on_data(&["task", "get", "task_"]).await,
        std::slice::from_ref(&id)
    );
    assert_eq!(on_data(&["tool", "show", "calc"]).await, ["calculator"]);
    let url = http.base();
    let by_url = completed(&test_dir, &["task", "cancel", "--url", &url, &id[..12]]).await;
    assert_eq!(by_url, [id]);
}

#[tokio::test]
async fn config_shows_where_values_come_from_and_never_the_key() {
    const KEY: &str = "sk-this-is-the-secret";
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    std::fs::write(
        test_dir.data().join("opspawn.toml"),
        "[retry]\nmax_attempts = 7\n",
    )
    .unwrap();
    std::fs::write(test_dir.join(".env"), "AGENTKIT_LLM_MODEL=from-dotenv\n").unwrap();
    std::fs::write(test_dir.join("key"), KEY).unwrap();
    for (name, value) in [
        ("OPENAI_API_KEY", KEY.into()),
        ("OPENAI_API_KEY_FILE", test_dir.join("key")),
    ] {
        let cli = |args| {
            test_dir
                .cli(args)
                .env(name, &value)
                .env("OPSPAWN_CONCURRENCY", "3")
        };
        let text = cli(&["config"]).run().await.ends(0);
        let json = cli(&["config", "--json"]).run().await.ends(0);
        assert!(!format!("{text:?}{json:?}").contains(KEY), "{text:#?}");
        assert!(text.stdout.contains("[secret]"), "{text:#?}");
        let rows = json.json();
        let row = |key: &str| {
            let row = rows
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["key"] == key)
                .unwrap();
            (
                row["value"].as_str().unwrap().to_owned(),
                row["source"].as_str().unwrap().to_owned(),
            )
        };
        let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
        assert_eq!(row("openai.api_key"), pair("[secret]", name));
        assert_eq!(row("worker.concurrency"), pair("3", "OPSPAWN_CONCURRENCY"));
        assert_eq!(
            row("model.name"),
            pair("from-dotenv", "AGENTKIT_LLM_MODEL in .env")
        );
        assert_eq!(row("model.stream"), pair("true", "default"));
        let (attempts, file) = row("retry.max_attempts");
        assert!(
            attempts == "7" && file.ends_with("opspawn.toml"),
            "{attempts} {file}"
        );
    }
    let flag = test_dir
        .cli(&["config", "--json", "--data", "other"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(
        (&flag[0]["value"], &flag[0]["source"]),
        (&"other".into(), &"flag".into())
    );
}

#[tokio::test]
async fn doctor_is_content_and_says_so_in_json() {
    let test_dir = TestDir::new();
    let doctor = |args| {
        test_dir
            .cli(args)
            .env("OPSPAWN_LISTEN", "127.0.0.1:0")
            .run()
    };
    let first = doctor(&["doctor"]).await.ends(0);
    assert!(
        first.stdout.contains("is not there yet") && first.stdout.contains("no LLM"),
        "{first:#?}"
    );
    let server = test_dir.server().await;
    let report = doctor(&["doctor", "--json"]).await.ends(0).json();
    assert_eq!(report["ok"], true);
    let data = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["name"] == "data")
        .unwrap();
    assert!(
        data["text"]
            .as_str()
            .unwrap()
            .contains(&server.http().base()),
        "{report:#}"
    );
    drop(server);
    let after = doctor(&["doctor"]).await.ends(0);
    let newest = ops_store::sqlite::SCHEMA_VERSION;
    let schema = format!("schema {newest} of {newest}");
    assert!(after.stdout.contains(&schema), "{after:#?}");
}

#[tokio::test]
async fn doctor_fails_where_something_must_be_mended() {
    let test_dir = TestDir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = test_dir
        .cli(&["doctor"])
        .env("OPSPAWN_LISTEN", &address)
        .run()
        .await
        .ends(1);
    assert!(
        ran.stdout.contains("FAIL listen") && ran.stdout.contains(&address),
        "{ran:#?}"
    );
    let ran = test_dir
        .cli(&["doctor", "--json"])
        .env("OPENAI_BASE_URL", "not a url")
        .run()
        .await
        .ends(1);
    let report = ran.json();
    assert_eq!(report["ok"], false);
    let bad: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["ok"] == false)
        .collect();
    assert_eq!(bad.len(), 1, "{report:#}");
    assert_eq!(bad[0]["name"], "model");
}

#[tokio::test]
async fn results_go_to_stdout_all_else_to_stderr_and_neither_is_coloured() {
    let test_dir = TestDir::new();
    let script = "name = \"s\"\n[[turn]]\ntext = \"I look.\"\ncalls = [{ tool = \"list_files\", arguments = {} }]\n\
                  [[turn]]\nanswer = \"the answer\"\n";
    std::fs::write(test_dir.join("s.toml"), script).unwrap();
    for no_color in ["", "1"] {
        let ran = test_dir
            .cli(&["run", "-"])
            .stdin("look around")
            .env("OPSPAWN_PROVIDER", "scripted")
            .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
            .env("OPSPAWN_LOG", "info")
            .env("NO_COLOR", no_color)
            .run()
            .await
            .ends(0);
        // cli/C5: `| jq` and `> file` get the answer alone.
        assert_eq!(ran.stdout, "the answer\n");
        let note = "note: answered by scripted/s, which is not an LLM";
        for said in ["list_files(", "I look.", note] {
            assert!(ran.stderr.contains(said), "{said}: {ran:#?}");
        }
        assert!(
            ran.stderr.contains("database closed"),
            "logs go to stderr: {ran:#?}"
        );
        assert!(
            !format!("{}{}", ran.stdout, ran.stderr).contains('\u{1b}'),
            "{ran:#?}"
        );
    }
    let failed = test_dir
        .cli(&["task", "get", "task_x", "--json"])
        .run()
        .await
        .ends(2);
    assert_eq!(failed.stdout, "", "{failed:#?}");
    // cli/C11: errors under `--json` had no code, and `version` took no notice of it.
    let error: serde_json::Value = serde_json::from_str(failed.stderr.trim()).unwrap();
    assert_eq!(error["error"]["code"], "task_not_found", "{error:#}");
    assert_eq!(error["error"]["exit"], 2);
    let own = test_dir
        .cli(&["run", "x", "--label", "team", "--json"])
        .run()
        .await
        .ends(2);
    let error: serde_json::Value = serde_json::from_str(own.stderr.trim()).unwrap();
    assert_eq!(error["error"]["code"], "usage", "{error:#}");
    let version = test_dir
        .cli(&["version", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

/// cli/C11: a flag was answered with how a request body is mended.
#[tokio::test]
async fn a_refused_flag_is_named_and_nothing_is_said_of_json_bodies() {
    let test_dir = TestDir::new();
    let ran = test_dir
        .cli(&["run", "x", "--priority", "99"])
        .run()
        .await
        .ends(2)
        .says(&["priority", "must be 0 to 9"]);
    assert!(!ran.stderr.contains("JSON"), "{ran:#?}");
}

/// `dev` says where things are before it is ready, and what its tasks do afterwards.
#[tokio::test]
async fn a_server_tells_where_things_are_and_what_its_tasks_do() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let id = super::tasks::id(&super::tasks::run(server.http(), "say hello").await);
    let told = || async { server.output().contains(" completed in ").then_some(()) };
    let patience = std::time::Duration::from_secs(10);
    ops_testkit::wait_until("a line for the end", patience, told)
        .await
        .unwrap();
    let output = server.output();
    let base = server.http().base();
    for said in [
        format!("data   {}", test_dir.data().display()),
        format!("{base}/docs"),
        format!("{id} starts \"say hello\""),
    ] {
        assert!(output.contains(&said), "{said}: {output}");
    }
    let ready = output.find("ready http=").unwrap();
    assert!(output.find("data   ").unwrap() < ready && ready < output.find(" starts ").unwrap());

    let test_dir = TestDir::new();
    let quiet = test_dir.dev().args(["--quiet"]).start().await.unwrap();
    super::tasks::run(quiet.http(), "say hello").await;
    assert!(!quiet.output().contains("starts") && !quiet.output().contains("data   "));
}

/// cli/C9: `doctor` took no notice of `--url`, and told of this shell's model.
#[tokio::test]
async fn doctor_asks_the_server_that_runs() {
    let test_dir = TestDir::new();
    let elsewhere = TestDir::new();
    let server = test_dir
        .dev()
        .env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        .env("OPSPAWN_MODEL", "their-model")
        .start()
        .await
        .unwrap();
    let url = server.http().base();
    let by_url = elsewhere
        .cli(&["doctor", "--url", &url])
        .env("ANTHROPIC_API_KEY", "k");
    let by_lock = test_dir.cli(&["doctor"]).env("ANTHROPIC_API_KEY", "k");
    for ran in [by_url.run().await, by_lock.run().await] {
        let ran = ran.ends(0);
        let model = ran
            .stdout
            .lines()
            .find(|line| line.contains(" model "))
            .unwrap();
        assert!(model.contains("openai/their-model answers"), "{ran:#?}");
        assert!(
            ran.stdout
                .contains(&format!("server    {url} runs opspawn")),
            "{ran:#?}"
        );
    }
    drop(server);
    let gone = elsewhere
        .cli(&["doctor", "--url", &url])
        .run()
        .await
        .ends(1);
    assert!(gone.stdout.contains("FAIL server"), "{gone:#?}");

    std::fs::write(test_dir.data().join("policy.toml"), "profil = 1\n").unwrap();
    let doctor = test_dir
        .cli(&["doctor", "--json"])
        .env("OPSPAWN_LISTEN", "127.0.0.1:0");
    let report = doctor.run().await.ends(1).json();
    let findings = report["findings"].as_array().unwrap();
    let bad: Vec<_> = findings
        .iter()
        .filter(|found| found["ok"] == false)
        .collect();
    assert_eq!(bad.len(), 1, "{report:#}");
    assert_eq!(bad[0]["name"], "policy");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_and_a_full_disk_are_no_defects() {
    let test_dir = TestDir::new();
    for args in [
        &["config"][..],
        &["completion", "bash"],
        &["doctor", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = test_dir
            .cli(args)
            .env("OPSPAWN_LISTEN", "127.0.0.1:0")
            .run_into(Stdio::from(writer))
            .await
            .ends(141);
        assert_eq!(ran.stderr, "");
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let ran = test_dir
            .cli(args)
            .env("OPSPAWN_LISTEN", "127.0.0.1:0")
            .run_into(Stdio::from(full))
            .await
            .ends(1);
        ran.says(&["cannot be printed", "No space left"]);
    }
}
