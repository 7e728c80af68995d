//! `opspawn reload` and SIGHUP: what they read anew, refuse, and leave to a restart.

use std::{fs, time::Duration};

use ops_testkit::{Http, Signal, mcp_stub, wait_until};
use serde_json::{Value, json};

use super::{mcp::server, test_dir::TestDir};

const TIMEOUT: Duration = Duration::from_secs(30);

fn count(description: &str) -> String {
    format!(
        "[tools.command.word_count]\ndescription = \"{description}\"\ncommand = [\"wc\"]\neffect = \"pure\"\n"
    )
}

fn stub() -> Value {
    json!({"command": mcp_stub().unwrap(), "args": ["{}"]})
}

fn servers(servers: &Value) -> String {
    json!({"mcpServers": servers}).to_string()
}

async fn has_status(http: &Http, name: &str, status: &str) -> Value {
    let ask = || async {
        let server = server(http, name).await;
        (server["status"] == status).then_some(server)
    };
    wait_until(status, TIMEOUT, ask).await.unwrap()
}

#[tokio::test]
async fn declarations_of_tools_are_read_anew() {
    let dir = TestDir::new();
    let dev = dir.server().await;
    dir.configure(&count("Counts words"));
    dir.cli(&["reload"]).run().await.ends(0);
    let listed = dir.cli(&["tool", "ls"]).run().await.ends(0);
    assert!(listed.stdout.contains("word_count"), "{listed:#?}");
    let agent = dir.join("counter.toml");
    fs::write(
        &agent,
        "name = \"counter\"\nmodel = \"scripted\"\ntools = [\"command/*\"]\n",
    )
    .unwrap();
    let apply = ["agent", "apply", "-f", agent.to_str().unwrap()];
    dir.cli(&apply).run().await.ends(0);

    dir.configure(&format!(
        "[limits]\nmax_steps = 7\n{}",
        count("Counts anew")
    ));
    let reloaded = dir.cli(&["reload"]).run().await.ends(0);
    let reloaded = reloaded.says(&["`limits.max_steps`", "next start"]);
    assert!(reloaded.stdout.contains("anew"), "{reloaded:#?}");
    let shown = dir.cli(&["tool", "show", "word_count"]).run().await.ends(0);
    assert!(shown.stdout.contains("Counts anew"), "{shown:#?}");
    let told = dir.cli(&["reload", "--json"]).run().await.ends(0).json();
    assert_eq!(told["needs_restart"], json!(["limits.max_steps"]));
    drop(dev);
}

#[tokio::test]
async fn a_broken_file_is_refused_by_the_server_and_keeps_no_command_from_it() {
    let dir = TestDir::new();
    dir.configure(&count("Counts words"));
    let mut dev = dir.server().await;
    dir.configure(&format!("{}broken = ", count("Counts anew")));
    dir.cli(&["reload"])
        .run()
        .await
        .ends(2)
        .says(&["opspawn.toml", "reload again"]);
    dev.process().signal(Signal::HUP).unwrap();
    let told = || async {
        dev.output()
            .contains("not reloaded, everything is as it was")
            .then_some(())
    };
    wait_until("the refusal", TIMEOUT, told).await.unwrap();
    let shown = dir.cli(&["tool", "show", "word_count"]).run().await.ends(0);
    assert!(shown.stdout.contains("Counts words"), "{shown:#?}");
    dir.cli(&["task", "ls"])
        .run()
        .await
        .ends(0)
        .says(&["opspawn.toml", "the running server is asked all the same"]);
    dir.cli(&["stop"]).run().await.ends(0);
    // Without a server, the mistake is refused.
    dir.cli(&["task", "ls"]).run().await.ends(2);
}

#[tokio::test]
async fn the_verdict_is_that_of_the_servers_own_files() {
    let dir = TestDir::new();
    let file = dir.join("desk.json");
    fs::write(&file, servers(&json!({"time": stub()}))).unwrap();
    let dev = dir
        .dev()
        .env("OPSPAWN_MCP_CONFIG", &file)
        .start()
        .await
        .unwrap();
    has_status(dev.http(), "time", "ready").await;

    let mut wrong = stub();
    wrong["comand"] = wrong["command"].take();
    wrong.as_object_mut().unwrap().remove("command");
    fs::write(&file, servers(&json!({"time": wrong}))).unwrap();
    dir.cli(&["reload"])
        .run()
        .await
        .ends(2)
        .says(&["`time`", "did you mean `command`?"]);
    assert_eq!(server(dev.http(), "time").await["status"], "ready");
    fs::write(&file, "{").unwrap();
    dir.cli(&["reload"])
        .run()
        .await
        .ends(2)
        .says(&["desk.json"]);
    assert_eq!(server(dev.http(), "time").await["status"], "ready");
}

/// A misspelt rule would permit what it forbids.
#[tokio::test]
async fn rules_about_tools_that_a_server_does_not_have_keep_the_server_from_agents() {
    let dir = TestDir::new();
    fs::create_dir_all(dir.data()).unwrap();
    let policy = dir.data().join("policy.toml");
    let rule = |tool: &str| format!("[[rule]]\ntool = \"{tool}\"\naction = \"deny\"\n");
    let file = dir.data().join("mcp_servers.json");
    fs::write(&file, servers(&json!({"stub": stub()}))).unwrap();
    fs::write(&policy, rule("stub__ecko")).unwrap();
    let dev = dir.server().await;
    let http = dev.http();
    let refused = has_status(http, "stub", "refused").await;
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("did you mean `stub__echo`?"), "{reason}");
    let doctor = dir.cli(&["doctor"]).run().await.ends(1);
    assert!(
        doctor.stdout.contains("did you mean `stub__echo`?"),
        "{doctor:#?}"
    );

    // The list that cannot be used is looked at again after a while, and not in a circle without end.
    let looks = dev.output().matches("has no list").count();
    assert!((1..100).contains(&looks), "{looks}");

    fs::write(&policy, rule("stub__echo")).unwrap();
    dir.cli(&["reload"]).run().await.ends(0);
    has_status(http, "stub", "ready").await;
    // A mistake in what was listed before is refused as a whole.
    fs::write(&policy, rule("stub__eco")).unwrap();
    dir.cli(&["reload"])
        .run()
        .await
        .ends(2)
        .says(&["`stub`", "did you mean `stub__echo`?"]);
    assert_eq!(server(http, "stub").await["status"], "ready");
    fs::write(&policy, rule("stub__later_*")).unwrap();
    let mut guarded = stub();
    guarded["tools"] = json!({"eco": {"policy": "ask"}});
    fs::write(&file, servers(&json!({"stub": guarded}))).unwrap();
    dir.cli(&["reload"])
        .run()
        .await
        .ends(2)
        .says(&["`eco` of `tools`", "did you mean `echo`?"]);
    let mut noted = stub();
    noted["tools"] = json!({"later_*": {"policy": "ask"}});
    fs::write(&file, servers(&json!({"stub": noted}))).unwrap();
    dir.cli(&["reload"]).run().await.ends(0);
    let ask = || async {
        let server = server(http, "stub").await;
        (server["notes"].as_array().unwrap().len() == 2).then_some(())
    };
    wait_until("the notes", TIMEOUT, ask).await.unwrap();
}
