//! Clients in Python, with stubs that they generated: one of version 1, and the one of the page.

use ops_testkit::{DataDir, python_packages};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    super::test_dir::{TestDir, assert_calm},
    address, server,
};

#[tokio::test]
async fn a_python_client_of_version_1_creates_gets_and_lists_tasks() {
    let Some(python) = python_packages() else {
        return;
    };
    let test_dir = TestDir::new();
    let server = server(&test_dir).await;
    let stubs = DataDir::new().unwrap();
    let client = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../ops-testkit/pypi/grpc_v1.py"
    );
    let output = Command::new(python)
        .args([client, &address(&server)])
        .arg(stubs.path())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), output);
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        seen["created"],
        json!([true, "agent_run", true, true]),
        "{seen:#}"
    );
    assert_eq!(
        seen["input"],
        json!({"prompt": "hello", "nested": {"list": [1.0, 2.5, true, null, "x"]}})
    );
    assert_eq!(
        seen["ended"],
        json!(["COMPLETED", seen["ended"][1], "", true, true]),
        "{seen:#}"
    );
    assert_eq!(seen["failed"], json!(["FAILED", true]));
    assert_eq!(seen["listed"], json!([2, true]));
    assert_eq!(
        (
            &seen["unknown"],
            &seen["empty"],
            &seen["nan"],
            &seen["large"]
        ),
        (
            &json!("NOT_FOUND"),
            &json!("INVALID_ARGUMENT"),
            &json!("INVALID_ARGUMENT"),
            &json!("RESOURCE_EXHAUSTED")
        )
    );
    assert_calm(&server);
}

/// The commands and the program of docs/grpc.md, as they are written.
#[tokio::test]
async fn the_python_of_the_page_runs() {
    let Some(python) = python_packages() else {
        return;
    };
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let page = std::fs::read_to_string(format!("{root}/docs/grpc.md")).unwrap();
    let generate = page
        .lines()
        .find_map(|line| line.strip_prefix("python -m grpc_tools.protoc "));
    let program = page
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let test_dir = TestDir::new();
    let server = server(&test_dir).await;
    let stubs = DataDir::new().unwrap();
    let folder = stubs.path().display().to_string();
    let words = generate.unwrap().split(' ');
    let made = Command::new(&python)
        .args(["-m", "grpc_tools.protoc"])
        .args(words.map(|word| word.replace("_out=.", &format!("_out={folder}"))))
        .current_dir(root)
        .output()
        .await
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let program = program
        .unwrap()
        .replace("127.0.0.1:50051", &address(&server));
    let ran = Command::new(python)
        .args(["-c", &program])
        .current_dir(stubs.path())
        .kill_on_drop(true)
        .output();
    let ran = tokio::time::timeout(std::time::Duration::from_secs(60), ran).await;
    let ran = ran.unwrap().unwrap();
    let (out, said) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{said}");
    assert!(out.starts_with("1 task.submitted\n"), "{out}");
    assert!(out.ends_with("Sum up the news\n"), "{out}");
}
