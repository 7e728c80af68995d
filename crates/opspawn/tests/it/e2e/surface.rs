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
        assert_eq!(
            ran.stdout,
            "the answer\nnote: answered by scripted/s, which is not an LLM\n"
        );
        assert!(
            ran.stderr.contains("list_files(") && ran.stderr.contains("I look."),
            "{ran:#?}"
        );
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
