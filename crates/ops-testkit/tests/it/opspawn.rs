//! The driver, tried on a shell that plays the product.

use std::{
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::PathBuf,
    time::Duration,
};

use ops_testkit::{CrashPlan, DataDir, Launch, Opspawn, Signal, append_line, read_log, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(5);

fn player(data: &DataDir, script: &str) -> PathBuf {
    let path = data.join("player");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn launch(data: &DataDir, script: &str) -> Launch {
    Launch::new("dev", data.path()).binary(player(data, script))
}

async fn started(data: &DataDir, script: &str) -> Opspawn {
    launch(data, script).start().await.unwrap()
}

#[tokio::test]
async fn the_ready_line_gives_the_address_and_a_kill_is_a_kill() {
    let data = DataDir::new().unwrap();
    let script = "echo starting >&2; echo ready http=http://127.0.0.1:9 >&2; exec sleep 60";
    let mut product = started(&data, script).await;
    assert_eq!(product.http().base(), "http://127.0.0.1:9");
    assert!(product.output().contains("starting"));
    assert!(product.process().exited().unwrap().is_none());
    product.sigkill().unwrap();
    assert_eq!(product.wait_exit(SOON).await.unwrap().signal(), Some(9));
}

#[tokio::test]
async fn a_polite_stop_shows_the_exit_code() {
    let data = DataDir::new().unwrap();
    let script = "trap 'exit 7' TERM; echo ready http=h:1 >&2; while :; do sleep 0.01; done";
    let mut product = started(&data, script).await;
    product.process().signal(Signal::STOP).unwrap();
    product.process().signal(Signal::CONT).unwrap();
    assert_eq!(product.stop(SOON).await.unwrap().code(), Some(7));
}

#[tokio::test]
async fn arguments_and_a_bare_environment_are_passed() {
    let data = DataDir::new().unwrap();
    let script = "echo \"args $*\"; env; echo ready http=h:1 >&2; exec sleep 60";
    let plan = CrashPlan::new("store.commit", 3, data.join("crashes"));
    let product = launch(&data, script)
        .args(["--x"])
        .env("A", "b")
        .crash(&plan);
    let product = product.start().await.unwrap();
    let all = async || {
        product
            .output()
            .contains("\nA=b\n")
            .then(|| product.output())
    };
    let said = wait_until("the environment is printed", SOON, all)
        .await
        .unwrap();
    assert!(
        said.contains(&format!("args dev --data {} --x\n", data.path().display())),
        "{said}"
    );
    assert!(said.contains("OPSPAWN_CRASH=store.commit:3\n"), "{said}");
    assert!(!said.contains("CARGO"), "{said}");
}

#[tokio::test]
async fn a_start_that_fails_shows_what_was_said() {
    let data = DataDir::new().unwrap();
    let error = launch(&data, "echo no disk >&2; exit 1")
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ended before") && error.contains("no disk"),
        "{error}"
    );
    let slow = launch(&data, "echo wait >&2; exec sleep 60").timeout(Duration::from_millis(200));
    let error = slow.start().await.unwrap_err().to_string();
    assert!(
        error.contains("not ready") && error.contains("wait"),
        "{error}"
    );
}

#[tokio::test]
async fn a_crash_plan_tells_whether_it_fired() {
    let data = DataDir::new().unwrap();
    let plan = CrashPlan::new("drive.after_tool", 1, data.join("crashes"));
    assert!(plan.must_have_fired().is_err());
    let die = "echo ready http=h:1 >&2; sleep 0.1; \
               echo \"${OPSPAWN_CRASH%:*}\" >> \"$OPSPAWN_CRASH_LOG\"; kill -KILL $$";
    let mut product = launch(&data, die).crash(&plan).start().await.unwrap();
    assert_eq!(product.wait_exit(SOON).await.unwrap().signal(), Some(9));
    plan.must_have_fired().unwrap();
    let other = CrashPlan::new("other", 1, data.join("crashes"));
    assert!(
        other
            .must_have_fired()
            .unwrap_err()
            .to_string()
            .contains("drive.after_tool")
    );
}

#[tokio::test]
async fn a_wait_ends_and_says_what_for() {
    let never = async || None::<()>;
    let error = wait_until("the moon", Duration::from_millis(30), never)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the moon"));
    let hang = || std::future::pending::<Option<()>>();
    assert!(
        wait_until("a hang", Duration::from_millis(30), hang)
            .await
            .is_err()
    );
}

#[test]
fn a_line_that_is_not_whole_yet_is_not_read() {
    let data = DataDir::new().unwrap();
    let log = data.join("log");
    assert_eq!(read_log::<Value>(&log).unwrap(), Vec::<Value>::new());
    append_line(&log, &json!({"a": 1})).unwrap();
    std::fs::write(
        &log,
        format!("{}{{\"b\":", std::fs::read_to_string(&log).unwrap()),
    )
    .unwrap();
    assert_eq!(read_log::<Value>(&log).unwrap(), [json!({"a": 1})]);
    std::fs::write(&log, "no json\n").unwrap();
    assert!(read_log::<Value>(&log).is_err());
}
