//! The rest of the command line: doctor, config, completion, version, and what goes where.

use std::process::Stdio;

use super::place::Place;

#[tokio::test]
async fn version_and_help() {
    let place = Place::new();
    let version = place.bare_cli(&["version"]).run().await.ends(0);
    assert_eq!(
        version.stdout,
        format!("opspawn {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        place.bare_cli(&["--version"]).run().await.ends(0).stdout,
        version.stdout
    );
    let help = place.bare_cli(&["--help"]).run().await.ends(0);
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
    place
        .bare_cli(&[])
        .run()
        .await
        .ends(2)
        .says(&["Usage: opspawn"]);
    assert!(
        !place.join("opspawn-data").exists(),
        "looking makes nothing"
    );
}

#[tokio::test]
async fn completion_scripts() {
    let place = Place::new();
    for (shell, mark) in [
        ("bash", "complete"),
        ("zsh", "#compdef opspawn"),
        ("fish", "complete -c opspawn"),
    ] {
        let script = place.bare_cli(&["completion", shell]).run().await.ends(0);
        assert!(
            script.stdout.contains(mark) && script.stderr.is_empty(),
            "{script:#?}"
        );
        assert!(script.stdout.contains("reconcile"), "{shell}");
    }
}

#[tokio::test]
async fn config_shows_where_values_come_from_and_never_the_key() {
    const KEY: &str = "sk-this-is-the-secret";
    let place = Place::new();
    std::fs::create_dir_all(place.data()).unwrap();
    std::fs::write(
        place.data().join("opspawn.toml"),
        "[retry]\nmax_attempts = 7\n",
    )
    .unwrap();
    std::fs::write(place.join(".env"), "AGENTKIT_LLM_MODEL=from-dotenv\n").unwrap();
    std::fs::write(place.join("key"), KEY).unwrap();
    for (name, value) in [
        ("OPENAI_API_KEY", KEY.into()),
        ("OPENAI_API_KEY_FILE", place.join("key")),
    ] {
        let cli = |args| {
            place
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
    let flag = place
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
    let place = Place::new();
    let doctor = |args| place.cli(args).env("OPSPAWN_LISTEN", "127.0.0.1:0").run();
    let first = doctor(&["doctor"]).await.ends(0);
    assert!(
        first.stdout.contains("is not there yet") && first.stdout.contains("no LLM"),
        "{first:#?}"
    );
    let server = place.server().await;
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
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = place
        .cli(&["doctor"])
        .env("OPSPAWN_LISTEN", &address)
        .run()
        .await
        .ends(1);
    assert!(
        ran.stdout.contains("FAIL listen") && ran.stdout.contains(&address),
        "{ran:#?}"
    );
    let ran = place
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
    let place = Place::new();
    let script = "name = \"s\"\n[[turn]]\ntext = \"I look.\"\ncalls = [{ tool = \"list_files\", arguments = {} }]\n\
                  [[turn]]\nanswer = \"the answer\"\n";
    std::fs::write(place.join("s.toml"), script).unwrap();
    for no_color in ["", "1"] {
        let ran = place
            .cli(&["run", "-"])
            .stdin("look around")
            .env("OPSPAWN_PROVIDER", "scripted")
            .env("OPSPAWN_SCRIPT", place.join("s.toml"))
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
    let failed = place
        .cli(&["task", "get", "task_x", "--json"])
        .run()
        .await
        .ends(2);
    assert_eq!(failed.stdout, "", "{failed:#?}");
    // cli/C11: errors under `--json` had no code, and `version` took no notice of it.
    let error: serde_json::Value = serde_json::from_str(failed.stderr.trim()).unwrap();
    assert_eq!(error["error"]["code"], "task_not_found", "{error:#}");
    assert_eq!(error["error"]["exit"], 2);
    let own = place
        .cli(&["run", "x", "--label", "team", "--json"])
        .run()
        .await
        .ends(2);
    let error: serde_json::Value = serde_json::from_str(own.stderr.trim()).unwrap();
    assert_eq!(error["error"]["code"], "usage", "{error:#}");
    let version = place.cli(&["version", "--json"]).run().await.ends(0).json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

/// cli/C11: a flag was answered with how a request body is mended.
#[tokio::test]
async fn a_refused_flag_is_named_and_nothing_is_said_of_json_bodies() {
    let place = Place::new();
    let ran = place
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
    let place = Place::new();
    let server = place.server().await;
    let id = super::tasks::id(&super::tasks::run(server.http(), "say hello").await);
    let told = || async { server.output().contains(" completed in ").then_some(()) };
    let patience = std::time::Duration::from_secs(10);
    ops_testkit::wait_until("a line for the end", patience, told)
        .await
        .unwrap();
    let output = server.output();
    let base = server.http().base();
    for said in [
        format!("data   {}", place.data().display()),
        format!("{base}/docs"),
        format!("{id} starts \"say hello\""),
    ] {
        assert!(output.contains(&said), "{said}: {output}");
    }
    let ready = output.find("ready http=").unwrap();
    assert!(output.find("data   ").unwrap() < ready && ready < output.find(" starts ").unwrap());

    let place = Place::new();
    let quiet = place.dev().args(["--quiet"]).start().await.unwrap();
    super::tasks::run(quiet.http(), "say hello").await;
    assert!(!quiet.output().contains("starts") && !quiet.output().contains("data   "));
}

/// cli/C9: `doctor` took no notice of `--url`, and told of this shell's model.
#[tokio::test]
async fn doctor_asks_the_server_that_runs() {
    let place = Place::new();
    let elsewhere = Place::new();
    let server = place
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
    let by_lock = place.cli(&["doctor"]).env("ANTHROPIC_API_KEY", "k");
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

    std::fs::write(place.data().join("policy.toml"), "profil = 1\n").unwrap();
    let doctor = place
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
    let place = Place::new();
    for args in [
        &["config"][..],
        &["completion", "bash"],
        &["doctor", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = place
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
        let ran = place
            .cli(args)
            .env("OPSPAWN_LISTEN", "127.0.0.1:0")
            .run_into(Stdio::from(full))
            .await
            .ends(1);
        ran.says(&["cannot be printed", "No space left"]);
    }
}
