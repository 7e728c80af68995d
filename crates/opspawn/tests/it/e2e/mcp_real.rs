//! MCP servers that others wrote, used by an agent through the proxy and by names of their own, over stdio and HTTP.

use std::process::{Command, Stdio};

use ops_testkit::{EverythingOverHttp, npm_package, python_mcp_server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{
    mcp::{calls, listed, servers, through_the_proxy},
    tasks,
    test_dir::TestDir,
};

/// A repository with one commit.
fn repository(place: &TestDir) -> String {
    let folder = place.join("repository");
    std::fs::create_dir(&folder).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(&folder);
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    };
    git(&["init", "--quiet"]);
    git(&[
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "the first commit",
    ]);
    folder.canonicalize().unwrap().to_str().unwrap().to_owned()
}

/// A server, a tool of the server, its arguments, and what the answer has.
type Use = (&'static str, &'static str, Value, &'static str);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs npm and Python packages, which `cargo xtask test` installs"]
async fn an_agent_uses_servers_of_others_in_both_ways() {
    let everything = npm_package("@modelcontextprotocol/server-everything/dist/index.js");
    let files = npm_package("@modelcontextprotocol/server-filesystem/dist/index.js");
    let (Some(everything), Some(files), Some([python, script])) =
        (everything, files, python_mcp_server())
    else {
        return;
    };
    let Some(mut everywhere) = EverythingOverHttp::start().await.unwrap() else {
        return;
    };
    let place = TestDir::new();
    let repository = repository(&place);
    let folder = place.join("files");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.txt"), "what is in it").unwrap();
    let folder = folder.canonicalize().unwrap();
    let mut remote = tokio::process::Command::new(&python)
        .arg(&script)
        .arg("http")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(remote.stdout.as_mut().unwrap())
        .read_line(&mut url)
        .await
        .unwrap();
    servers(
        &place,
        &json!({
            "everything": {"command": "node", "args": [everything]},
            "files": {"command": "node", "args": [files, folder]},
            "time": {"command": python, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]},
            "git": {"command": python, "args": ["-m", "mcp_server_git", "--repository", repository]},
            "sdk": {"command": python, "args": [script]},
            "remote": {"url": url.trim()},
            "everywhere": {"url": everywhere.url},
        }),
    );
    let uses: [Use; 7] = [
        (
            "everything",
            "echo",
            json!({"message": "gr\u{fc}\u{df}e"}),
            "gr\u{fc}\u{df}e",
        ),
        (
            "files",
            "read_text_file",
            json!({"path": folder.join("a.txt")}),
            "what is in it",
        ),
        (
            "time",
            "convert_time",
            json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}),
            "T21:00",
        ),
        (
            "git",
            "git_log",
            json!({"repo_path": repository, "max_count": 1}),
            "the first commit",
        ),
        ("sdk", "add", json!({"a": 17, "b": 25}), "42"),
        ("remote", "add", json!({"a": 17, "b": 25}), "42"),
        ("everywhere", "get-sum", json!({"a": 17, "b": 25}), "42"),
    ];
    let dev = place.server().await;
    let http = dev.http();
    for (server, ..) in &uses {
        listed(http, server).await;
    }
    let named: Vec<String> = uses
        .iter()
        .map(|(server, ..)| format!("{server}/*"))
        .collect();
    let definition = format!("name = \"native\"\nmodel = \"scripted\"\ntools = {named:?}\n");
    let file = place.join("native.toml");
    std::fs::write(&file, definition).unwrap();
    place
        .cli(&["agent", "apply", "-f", file.to_str().unwrap()])
        .run()
        .await
        .ends(0);
    // One is killed in a call, whose outcome is not known. The others notice nothing.
    let dies = through_the_proxy("sdk", "die", &json!({}));
    let dies = tasks::submit(http, &calls(&[("mcp_proxy_tool", dies)])).await;
    let task = tasks::in_state(http, &dies, &["waiting"]).await;
    assert_eq!(task["state_detail"]["on"], "in_doubt", "{task:#}");
    for (server, tool, arguments, told) in &uses {
        let proxied = through_the_proxy(server, tool, arguments);
        let id = tasks::submit(http, &calls(&[("mcp_proxy_tool", proxied)])).await;
        let answer = tasks::answer(http, &id).await;
        assert!(answer.contains(told), "{server}, proxy: {answer}");
        let name = format!("{server}__{tool}");
        let mut native = calls(&[(name.as_str(), arguments.clone())]);
        native["agent_id"] = "native".into();
        let id = tasks::submit(http, &native).await;
        let answer = tasks::answer(http, &id).await;
        assert!(answer.contains(told), "{server}, native: {answer}");
    }
    remote.kill().await.unwrap();
    everywhere.kill().await.unwrap();
}
