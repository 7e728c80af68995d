//! `opspawn migrate --from v1`: the tasks of the first Opspawn.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// The table of the first Opspawn, with a task of each status and rows that cannot come.
const TABLE: &str = r#"
CREATE TABLE task (
  task_id VARCHAR NOT NULL PRIMARY KEY, task_type VARCHAR NOT NULL, name VARCHAR, status VARCHAR NOT NULL,
  created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL, scheduled_at TIMESTAMP, started_at TIMESTAMP,
  completed_at TIMESTAMP, input_data JSON, result JSON, error_message VARCHAR, agent_id VARCHAR, workflow_id VARCHAR
);
INSERT INTO task VALUES
 ('task_6ba7b810-9dad-41d1-80b4-00c04fd430c1', 'agent_run', 'Ä report', 'COMPLETED', '2025-04-12 10:00:00.123456',
  '2025-04-12 10:05:00', '2025-04-12 10:00:30', '2025-04-12 10:01:00', '2025-04-12 10:05:00.5',
  '{"prompt": "say  it"}', '{"answer": "it", "n": 1.50}', NULL, 'writer', 'flow-7'),
 ('task_6ba7b810-9dad-41d1-80b4-00c04fd430c2', 'agent_task', NULL, 'FAILED', '2025-04-12 11:00:00',
  '2025-04-12 11:00:09', NULL, '2025-04-12 11:00:01', '2025-04-12 11:00:09', '{"goal": "g"}', 'null',
  'no such provider', NULL, NULL),
 ('task_6ba7b810-9dad-41d1-80b4-00c04fd430c3', 'agent_run', NULL, 'CANCELLED', '2025-04-12 12:00:00',
  '2025-04-12 12:00:02', NULL, '2025-04-12 12:00:01', '2025-04-12 12:00:02', '{}', NULL, NULL, NULL, NULL),
 ('task_6ba7b810-9dad-41d1-80b4-00c04fd430c4', 'agent_run', NULL, 'CANCELLED', '2025-04-12 12:30:00',
  '2025-04-12 12:30:02', NULL, NULL, '2025-04-12 12:30:02', '{}', NULL, NULL, NULL, NULL),
 ('task_6ba7b810-9dad-41d1-80b4-00c04fd430c5', 'agent_run', NULL, 'RUNNING', '2025-04-12 13:00:00',
  '2025-04-12 13:00:02', NULL, '2025-04-12 13:00:02', NULL, '{}', NULL, NULL, NULL, NULL),
 ('seven', 'agent_run', NULL, 'COMPLETED', '2025-04-12 14:00:00', '2025-04-12 14:00:02', NULL, NULL,
  '2025-04-12 14:00:02', '{}', '1', NULL, NULL, NULL);
"#;

fn id(number: u32) -> String {
    format!("task_6ba7b810-9dad-41d1-80b4-00c04fd430c{number}")
}

/// What the command says of the table.
fn expect_report(report: &Value, imported: u64, already: u64) {
    assert_eq!(report["found"], 6, "{report:#}");
    assert_eq!(report["imported"], imported, "{report:#}");
    assert_eq!(report["already"], already, "{report:#}");
    let left_out = report["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), 2, "{report:#}");
    assert_eq!(left_out[0]["task_id"], id(5));
    assert!(
        left_out[0]["why"]
            .as_str()
            .unwrap()
            .contains("has not ended")
    );
    assert_eq!(left_out[1]["task_id"], "seven");
}

/// The tasks as a server shows them.
async fn expect_tasks(http: &ops_testkit::Http) {
    let done = tasks::get(http, &id(1)).await;
    let expected = json!({
        "task_id": id(1), "task_type": "agent_run", "name": "Ä report", "status": "completed", "agent_id": "writer",
        "input_data": {"prompt": "say  it"}, "result": {"answer": "it", "n": 1.50},
        "output_data": {"answer": "it", "n": 1.50}, "error_message": null,
        "created_at": "2025-04-12T10:00:00.123Z", "scheduled_at": "2025-04-12T10:00:30.000Z",
        "started_at": "2025-04-12T10:01:00.000Z", "completed_at": "2025-04-12T10:05:00.500Z",
        "updated_at": "2025-04-12T10:05:00.500Z", "labels": {"workflow_id": "flow-7"},
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&done[key], value, "{key}: {done:#}");
    }
    let failed = tasks::get(http, &id(2)).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["error_message"], "no such provider");
    assert_eq!(failed["completed_at"], "2025-04-12T11:00:09.000Z");
    for (number, started) in [(3, json!("2025-04-12T12:00:01.000Z")), (4, Value::Null)] {
        let cancelled = tasks::get(http, &id(number)).await;
        assert_eq!(cancelled["status"], "cancelled");
        assert_eq!(cancelled["started_at"], started);
    }
    let all: Value = http.get("/api/v1/tasks/").await.unwrap().json().unwrap();
    assert_eq!(all["total"], 4);
    let dead: Value = http
        .get("/api/v1/dead-letters")
        .await
        .unwrap()
        .json()
        .unwrap();
    assert!(!dead.to_string().contains(&id(2)), "{dead}");
    // A new task runs beside them, and one of them can be run again.
    assert_eq!(tasks::run(http, "new").await["state"], "completed");
}

/// Makes a database of SQLite.
fn make(file: &Path, sql: &str) {
    let script = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .arg(sql)
        .status();
    assert!(made.unwrap().success());
}

#[tokio::test]
async fn tasks_of_a_file_come_into_a_folder_once() {
    let dir = TestDir::new();
    let file = dir.join("old.db");
    make(&file, TABLE);
    let before = std::fs::read(&file).unwrap();
    let args = ["migrate", "--from", "v1", "old.db"];
    let report = dir
        .cli(&[&args[..], &["--json"]].concat())
        .run()
        .await
        .ends(0)
        .json();
    expect_report(&report, 4, 0);
    let again = dir
        .cli(&[&args[..], &["--json"]].concat())
        .run()
        .await
        .ends(0)
        .json();
    expect_report(&again, 0, 4);
    let shown = dir.cli(&args).run().await.ends(0);
    shown.says(&["left out: seven: its id is not"]);
    assert_eq!(
        std::fs::read(&file).unwrap(),
        before,
        "the source is as before"
    );
    let server = dir.server().await;
    expect_tasks(server.http()).await;
    drop(server);

    let other = TestDir::new();
    let missing = other.cli(&["migrate", "--from", "v1", "none.db"]);
    missing.run().await.ends(2).says(&["there is no file"]);
    let file = other.join("other.db");
    make(&file, "CREATE TABLE task (id INTEGER)");
    let foreign = other.cli(&["migrate", "--from", "v1", "other.db"]);
    foreign
        .run()
        .await
        .ends(2)
        .says(&["has no table of the first Opspawn"]);
}

#[cfg(feature = "postgres")]
mod postgres_15 {
    use ops_testkit::postgres::{Database, Server};

    use super::*;

    /// The table is in the database that the tasks go to, as after an upgrade.
    async fn upgrade(server: Server) {
        let (dir, database) = (TestDir::new(), Database::create(server));
        database.run(TABLE);
        let sum = "SELECT md5(string_agg(task::text, ',' ORDER BY task_id)) FROM task";
        let before: String = database.query(sum)[0].get(0);
        let url = database.url();
        let args = ["migrate", "--from", "v1", &url, "--json"];
        let at = || dir.cli(&args).env("OPSPAWN_STORE_URL", url.clone());
        expect_report(&at().run().await.ends(0).json(), 4, 0);
        expect_report(&at().run().await.ends(0).json(), 0, 4);
        let launch = dir.dev().env("OPSPAWN_STORE_URL", url.clone());
        let mut server = launch.start().await.unwrap();
        expect_tasks(server.http()).await;
        let used = at().run().await.ends(5);
        assert!(used.stderr.contains("servers use the database"), "{used:?}");
        server.sigkill().unwrap();
        let after: String = database.query(sum)[0].get(0);
        assert_eq!(after, before, "the table of the first Opspawn is as before");
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn tasks_of_the_same_database_come_once() {
        upgrade(Server::Postgres15).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn tasks_of_the_same_database_come_through_a_pooler() {
        upgrade(Server::PgBouncer15).await;
    }
}
