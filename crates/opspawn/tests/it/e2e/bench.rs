//! `opspawn bench`.

use super::test_dir::TestDir;

#[tokio::test]
async fn a_machine_is_measured_and_nothing_stays() {
    let test_dir = TestDir::new();
    let disk = test_dir.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let folder = disk.to_str().unwrap();
    let args = [
        "bench",
        folder,
        "--tasks",
        "6",
        "--at-once",
        "3",
        "--steps",
        "8",
    ];
    let measured = test_dir.cli(&[&args[..], &["--json"]].concat()).run().await;
    let measured = measured.ends(0).json();
    assert_eq!(measured["tasks"], 6);
    assert_eq!(measured["steps_per_task"], 9, "four turns and an answer");
    for figure in ["tasks_per_second", "steps_per_second", "sync_us", "seconds"] {
        assert!(measured[figure].as_f64().unwrap() > 0.0, "{measured}");
    }
    let left: Vec<_> = std::fs::read_dir(&disk).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        !test_dir.data().exists(),
        "the user's own data folder is not used"
    );

    let shown = test_dir.cli(&args).run().await.ends(0);
    assert!(shown.stdout.contains("steps per second"), "{shown:#?}");
}

#[tokio::test]
async fn a_task_that_fails_ends_the_bench() {
    let test_dir = TestDir::new();
    let cli = test_dir.cli(&["bench", ".", "--tasks", "2", "--steps", "8"]);
    let ran = cli.env("OPSPAWN_MAX_TOKENS", "1").run().await;
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    ran.says(&["tasks failed", "opspawn config"]);
}
