//! `opspawn backup` and `opspawn restore` on PostgreSQL.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ops_testkit::{
    postgres::{Database, Server},
    wait_until,
};
use serde_json::Value;

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

const TIMEOUT: Duration = Duration::from_secs(40);

/// A backup of a server under load is restored into another database: each task that was acknowledged before is there
/// with its whole log, and all go on to their ends.
async fn drill(server: Server) {
    let (dir, database) = (TestDir::new(), Database::create(server));
    let launch = dir.dev().env("OPSPAWN_STORE_URL", database.url());
    let mut running = launch.start().await.unwrap();
    let http = running.http().clone();
    let first = tasks::run(&http, "say hello").await;
    let known = Arc::new(Mutex::new(Vec::new()));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (http, known) = (http.clone(), Arc::clone(&known));
            tokio::spawn(async move {
                loop {
                    let id = tasks::agent(&http, "busy").await;
                    known.lock().unwrap().push(id);
                }
            })
        })
        .collect();
    let under_load = wait_until("under load", TIMEOUT, || async {
        (known.lock().unwrap().len() >= 20).then_some(())
    });
    under_load.await.unwrap();
    let before = known.lock().unwrap().clone();
    let url = database.url();
    let at = |args: &[&str]| dir.cli(args).env("OPSPAWN_STORE_URL", url.clone());
    let made = at(&["backup", "--json", "b.db"]).run().await.ends(0).json();
    let meanwhile = known.lock().unwrap().len();
    for task in load {
        task.abort();
    }
    assert!(meanwhile > before.len(), "the load went on");
    let kept = made["tasks"].as_u64().unwrap();
    assert!(kept > before.len() as u64, "{made}");
    assert!(running.stop(TIMEOUT).await.unwrap().success());
    assert_calm(&running);

    // The file is that of a backup of SQLite, and fills another database.
    let (again, target) = (TestDir::new(), Database::create(server));
    let file = dir.join("b.db").display().to_string();
    let into = |args: &[&str]| again.cli(args).env("OPSPAWN_STORE_URL", target.url());
    let args = ["restore", file.as_str(), "--json"];
    let restored = into(&args).run().await.ends(0).json();
    assert_eq!(restored["tasks"], kept);
    assert_eq!(restored["verified"], true);
    assert_eq!(restored["sha256"], made["sha256"]);
    let refused = into(&args).run().await.ends(1);
    assert!(refused.stderr.contains("is not empty"), "{refused:?}");

    let launch = again.dev().env("OPSPAWN_STORE_URL", target.url());
    let mut server = launch.start().await.unwrap();
    let http = server.http().clone();
    assert_eq!(
        tasks::get(&http, &tasks::id(&first)).await["result"],
        first["result"]
    );
    for id in &before {
        let task = tasks::ended(&http, id).await;
        assert_eq!(task["state"], "completed", "{task:#}");
    }
    let all: Value = http.get("/api/v1/tasks/").await.unwrap().json().unwrap();
    let all = all["tasks"].as_array().unwrap();
    assert_eq!(all.len() as u64, kept);
    for task in all {
        let id = tasks::id(task);
        assert_eq!(tasks::ended(&http, &id).await["state"], "completed");
        let log: Value = http
            .get(&format!("/api/v1/tasks/{id}/events"))
            .await
            .unwrap()
            .json()
            .unwrap();
        let numbers = log["events"].as_array().unwrap().iter();
        let numbers: Vec<u64> = numbers
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected);
    }
    assert!(server.stop(TIMEOUT).await.unwrap().success());
    assert_calm(&server);

    // It makes a folder of SQLite as well.
    let folder = TestDir::new();
    folder.cli(&["restore", &file]).run().await.ends(0);
    let get = ["task", "get", &tasks::id(&first), "--json"];
    let shown = folder.cli(&get).run().await.ends(0).json();
    assert_eq!(shown["result"], first["result"]);
}

mod postgres_15 {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_backup_under_load_comes_back() {
        drill(Server::Postgres15).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_backup_of_a_folder_fills_a_database() {
        let dir = TestDir::new();
        let mut server = dir.server().await;
        let done = tasks::run(server.http(), "say hello").await;
        assert!(server.stop(TIMEOUT).await.unwrap().success());
        dir.cli(&["backup", "b.db"]).run().await.ends(0);
        let target = Database::create(Server::Postgres15);
        let at = |args: &[&str]| dir.cli(args).env("OPSPAWN_STORE_URL", target.url());
        let restored = at(&["restore", "b.db"]).run().await.ends(0);
        assert!(restored.stdout.contains("tasks     1"), "{restored:?}");
        let said = restored.stdout + &restored.stderr;
        assert!(!said.contains("p@ss") && !said.contains("p%40ss"), "{said}");
        let launch = dir.dev().env("OPSPAWN_STORE_URL", target.url());
        let server = launch.start().await.unwrap();
        assert_eq!(tasks::get(server.http(), &tasks::id(&done)).await, done);
    }
}

mod postgres_18 {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_backup_under_load_comes_back() {
        drill(Server::Postgres18).await;
    }
}

mod pgbouncer_15 {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_backup_under_load_comes_back() {
        drill(Server::PgBouncer15).await;
    }
}
