use std::{
    env,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use ops_testkit::DataDir;
use serde_json::Value;

fn bench(folder: &DataDir, binary: &PathBuf, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opspawn-bench"));
    command
        .args(args)
        .arg("--binary")
        .arg(binary)
        .env("OPSPAWN_MAX_TOKENS", "1")
        .env("OPENAI_API_KEY", "none")
        .current_dir(folder.path());
    command.output().unwrap()
}

/// The product that `cargo xtask test` built.
fn product() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_BIN_EXE_opspawn-bench")).with_file_name("opspawn");
    let binary = env::var_os("OPSPAWN_TEST_BINARY").map_or_else(beside, PathBuf::from);
    assert!(
        binary.is_file(),
        "{} is not built: run `cargo build`",
        binary.display()
    );
    binary
}

fn line(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_submit_is_measured_from_outside() {
    let folder = DataDir::new().unwrap();
    let args = ["submit", "--clients", "2", "--tasks", "20"];
    let line = line(&bench(&folder, &product(), &args));
    assert_eq!(
        (&line["bench"], &line["tasks"]),
        (&"submit".into(), &20.into())
    );
    for figure in [
        "/tasks_per_second",
        "/post_ms/p50",
        "/server_peak_rss_mib",
        "/events_per_task",
    ] {
        assert!(
            line.pointer(figure).unwrap().as_f64().unwrap() > 0.0,
            "{figure}: {line}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A limit and a key in the environment of the bench do not reach the server.
#[test]
fn steps_are_counted_whatever_the_environment_says() {
    let folder = DataDir::new().unwrap();
    let args = ["steps", "--clients", "2", "--tasks", "4", "--steps", "10"];
    let line = line(&bench(&folder, &product(), &args));
    assert_eq!(line["steps_per_task"], 11.0);
    assert!(line["steps_per_second"].as_f64().unwrap() > 0.0, "{line}");
}

#[test]
fn agents_ask_the_stand_in_as_a_library_and_durably() {
    let folder = DataDir::new().unwrap();
    let args = ["agents", "--agents", "1", "--turns", "2"];
    let output = bench(&folder, &product(), &args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let stores = String::from_utf8(output.stdout).unwrap();
    let stores = stores.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["wall_ms_per_step"].as_f64().unwrap() > 0.0, "{line}");
        line["store"].clone()
    });
    assert_eq!(stores.collect::<Vec<_>>(), ["library", "sqlite"]);
}

#[test]
fn a_server_that_ends_at_once_is_an_error_that_shows_its_output() {
    let folder = DataDir::new().unwrap();
    let player = folder.join("player");
    std::fs::write(&player, "#!/bin/sh\necho the disk is gone >&2\n").unwrap();
    std::fs::set_permissions(&player, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = bench(&folder, &player, &["start"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("the disk is gone"), "{errors}");
    assert!(errors.contains("ended before it was ready"), "{errors}");

    let missing = bench(&folder, &folder.join("none"), &["start"]);
    let errors = String::from_utf8_lossy(&missing.stderr);
    assert!(errors.contains("--binary FILE"), "{errors}");
}

#[test]
fn servers_of_mcp_are_started_and_called() {
    let folder = DataDir::new().unwrap();
    let args = ["mcp", "--servers", "3", "--tools", "4", "--calls", "10"];
    let output = bench(&folder, &product(), &args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [first, second, call] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(
        (&first["tools"], &second["tools"]),
        (&12.into(), &12.into())
    );
    assert!(second["listed_ms"].as_f64() >= second["ready_ms"].as_f64());
    assert!(call["call_ms"]["p50"].as_f64().unwrap() > 0.0, "{call}");
}
