//! Typing mistakes: each is told with the nearest name, and ends with code 2.

use super::test_dir::TestDir;

#[tokio::test]
async fn in_commands_and_flags() {
    let test_dir = TestDir::new();
    for (args, near) in [
        (&["tsk", "ls"][..], "'task'"),
        (&["task", "lst"], "'ls'"),
        (&["dev", "--lisen", "127.0.0.1:0"], "'--listen'"),
        (&["run", "--exampel", "report"], "'--example'"),
        (&["run", "x", "--time-out", "1s"], "'--timeout'"),
        (&["completion", "bsh"], "'bash'"),
        (&["reconcile", "resolve", "t", "1", "don"], "'done'"),
        (&["run", "--example", "reprot"], "did you mean `report`?"),
    ] {
        let ran = test_dir.cli(args).run().await.ends(2);
        assert_eq!(ran.says(&[near]).stdout, "");
    }
    test_dir
        .cli(&["run", "--example", "nothing-like-it"])
        .run()
        .await
        .ends(2)
        .says(&["there is no example `nothing-like-it`; known are `report`"]);
    let server = test_dir.server().await;
    test_dir
        .cli(&["task", "ls", "--state", "runing"])
        .run()
        .await
        .ends(2)
        .says(&["did you mean `running`?"]);
    drop(server);
}

#[tokio::test]
async fn in_configuration_files() {
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    for (text, says) in [
        (
            "[worker]\nconcurency = 3\n",
            "did you mean `worker.concurrency`?",
        ),
        ("lisen = \"127.0.0.1:0\"\n", "did you mean `listen`?"),
        ("[model]\nstream = \"yes\"\n", "neither `true` nor `false`"),
        ("[model]\nprovider = \"opneai\"\n", "did you mean `openai`?"),
        ("[worker\n", "is not valid TOML"),
    ] {
        let file = test_dir.data().join("opspawn.toml");
        std::fs::write(&file, text).unwrap();
        for args in [&["config"][..], &["dev"], &["run", "x"]] {
            let ran = test_dir.cli(args).run().await.ends(2);
            ran.says(&[says, "opspawn.toml"]);
        }
    }
    let named = test_dir
        .cli(&["config", "--config", "nowhere.toml"])
        .run()
        .await
        .ends(2);
    named.says(&["cannot read the configuration file nowhere.toml"]);
}

#[tokio::test]
async fn in_values_of_variables() {
    let test_dir = TestDir::new();
    for (name, value, says) in [
        ("OPSPAWN_PROVIDER", "opneai", "did you mean `openai`?"),
        (
            "AGENTKIT_LLM_PROVIDER",
            "watson",
            "known are `openai`, `anthropic`, `google`",
        ),
        ("OPSPAWN_PLANNER", "raect", "did you mean `react`?"),
        ("OPSPAWN_STREAM", "yes", "neither `true` nor `false`"),
        ("OPSPAWN_CONCURRENCY", "many", "is not a whole number"),
        (
            "OPSPAWN_BACKOFF",
            "1 fortnight",
            "is not a duration like 500ms",
        ),
        ("OPSPAWN_LOG", "==", "is not a log filter"),
        (
            "OPENAI_API_KEY_FILE",
            "/nowhere",
            "cannot read `/nowhere`, which OPENAI_API_KEY_FILE names",
        ),
    ] {
        let ran = test_dir.cli(&["dev"]).env(name, value).run().await.ends(2);
        assert_eq!(ran.says(&[says]).stdout, "");
    }
}

#[tokio::test]
async fn in_names_of_variables() {
    let test_dir = TestDir::new();
    // cli/C10: a variable that spells a setting's key was answered with that of another setting.
    for (name, near) in [
        ("OPSPAWN_CONCURENCY", "did you mean OPSPAWN_CONCURRENCY?"),
        ("OPSPAWN_LIMITS_TIMEOUT", "did you mean OPSPAWN_TIMEOUT?"),
        ("OPSPAWN_MODEL_NAME", "did you mean OPSPAWN_MODEL?"),
        ("OPSPAWN_LOUDNESS", "see `opspawn config`"),
    ] {
        let ran = test_dir.cli(&["config"]).env(name, "3");
        ran.run().await.ends(0).says(&[name, near]);
    }
}

/// A value of the right form that nothing could work with is no value.
#[tokio::test]
async fn in_values_that_let_nothing_work() {
    let test_dir = TestDir::new();
    for (name, value, says) in [
        ("OPSPAWN_LEASE", "500ms", "the least is 1s"),
        ("OPSPAWN_MODEL_TIMEOUT", "0", "the least is 1ms"),
        ("OPSPAWN_HTTP_TIMEOUT", "0", "the least is 1ms"),
        ("OPSPAWN_TIMEOUT", "0s", "the least is 1ms"),
        ("OPSPAWN_RETENTION_COMPLETED", "0", "the least is 1s"),
        ("OPSPAWN_MAX_BODY_BYTES", "0", "from 1 to"),
        ("OPSPAWN_MAX_OUTPUT_TOKENS", "0", "from 1 to"),
        ("OPSPAWN_TEMPERATURE", "nan", "from 0 to 2"),
        ("OPSPAWN_TEMPERATURE", "-5", "from 0 to 2"),
    ] {
        let ran = test_dir.cli(&["dev"]).env(name, value).run().await.ends(2);
        ran.says(&[name, says]);
    }
}

#[tokio::test]
async fn in_commands_for_programs() {
    let test_dir = TestDir::new();
    for (args, says) in [
        (&["--json", "bogus"][..], "bogus"),
        (&["task", "get", "--json"], "<ID>"),
        (&["run", "x", "--priority", "q", "--json"], "--priority"),
    ] {
        let ran = test_dir.cli(args).run().await.ends(2);
        let told: serde_json::Value = serde_json::from_str(ran.stderr.trim()).unwrap();
        assert_eq!(told["error"]["code"], "usage", "{told}");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
    let plain = test_dir.cli(&["bogus"]).run().await.ends(2);
    assert!(plain.stderr.contains("Usage:"), "{plain:?}");
}

#[tokio::test]
async fn in_addresses_and_scripts() {
    let test_dir = TestDir::new();
    let ran = test_dir.cli(&["dev", "--listen", "somewhere"]).run().await;
    assert_ne!(ran.code, Some(0));
    ran.says(&["`somewhere` is not an address like 127.0.0.1:8000"]);
    let ran = test_dir
        .cli(&["dev", "--listen", "0.0.0.0:0"])
        .run()
        .await
        .ends(2);
    ran.says(&["no authentication", "not on 0.0.0.0:0", "use 127.0.0.1:0"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = test_dir
        .cli(&["dev", "--listen", &address])
        .run()
        .await
        .ends(1);
    ran.says(&[&address, "in use", "--listen 127.0.0.1:0"]);
    std::fs::write(test_dir.join("s.toml"), "[[turn]]\nanswr = 'x'\n").unwrap();
    let ran = test_dir
        .cli(&["run", "x"])
        .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
        .run()
        .await;
    assert_ne!(ran.code, Some(0));
    ran.says(&["agent.script", "line 2", "answr"]);
}

#[tokio::test]
async fn in_the_policy() {
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let file = test_dir.data().join("policy.toml");
    for (text, says) in [
        (
            "profil = \"strict\"\n",
            "there is no key `profil`; did you mean `profile`?",
        ),
        (
            "[[rule]]\ntool = \"x\"\naction = \"dny\"\n",
            "rule 1: `action` must be",
        ),
        ("[[rule]\n", "is not valid TOML"),
    ] {
        std::fs::write(&file, text).unwrap();
        for args in [&["dev"][..], &["run", "x"]] {
            let ran = test_dir.cli(args).run().await.ends(2);
            ran.says(&[says, "policy.toml"]);
        }
        test_dir.cli(&["doctor"]).run().await.ends(1);
    }
    let named = test_dir.cli(&["dev"]).env("OPSPAWN_POLICY", "nowhere.toml");
    let ran = named.run().await.ends(2);
    ran.says(&["cannot read the policy file nowhere.toml"]);
}
