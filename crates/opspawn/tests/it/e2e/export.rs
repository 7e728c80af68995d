//! `opspawn task export`.

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

#[tokio::test]
async fn a_task_is_exported_whole_with_and_without_a_server() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let example = test_dir
        .cli(&["run", "--example", "report", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let id = tasks::id(&example);
    let lines = test_dir
        .cli(&["task", "export", &id])
        .run()
        .await
        .ends(0)
        .json_lines();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    let end = lines.last().unwrap();
    assert_eq!(lines[0]["task"]["result"], example["result"]);
    assert!(of("blob") >= 1, "the report that it wrote");
    assert_eq!(
        (of("task"), of("step") as u64, of("event") as u64),
        (
            1,
            end["steps"].as_u64().unwrap(),
            end["events"].as_u64().unwrap()
        )
    );
    let log = lines.iter().filter(|line| line["type"] == "event");
    let numbers: Vec<_> = log
        .map(|line| line["event"]["seq"].as_u64().unwrap())
        .collect();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u64),
        "{numbers:?}"
    );
    assert_calm(&server);
    drop(server);

    let ran = test_dir
        .cli(&["task", "export", &id, "-o", "t.jsonl"])
        .run()
        .await
        .ends(0);
    assert!(ran.stdout.starts_with("t.jsonl: "), "{ran:#?}");
    let written = std::fs::read_to_string(test_dir.join("t.jsonl")).unwrap();
    assert_eq!(written.lines().count(), lines.len());
    let again = test_dir
        .cli(&["task", "export", &id, "-o", "t.jsonl"])
        .run()
        .await
        .ends(2);
    again.says(&["t.jsonl is there already"]);
    let none = test_dir
        .cli(&["task", "export", "task_none", "-o", "n.jsonl"])
        .run()
        .await
        .ends(2);
    none.says(&["there is no task"]);
    assert!(!test_dir.join("n.jsonl").exists());
    let rests = std::fs::read_dir(test_dir.join(".")).unwrap();
    let mut names = rests.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.contains("unfinished")));
}
