//! The binary on PostgreSQL, as a user meets it.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use ops_testkit::{
    Http, ModelStub,
    postgres::{Database, Server},
    wait_until,
};
use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// A server on a database runs a task, is stopped, and finds the task again.
async fn runs_tasks(server: Server) {
    let (dir, database) = (TestDir::new(), Database::create(server));
    let launch = dir.dev().env("OPSPAWN_STORE_URL", database.url());
    let mut running = launch.start().await.unwrap();
    let http = running.http().clone();
    let info: Value = http.get("/api/v1/info").await.unwrap().json().unwrap();
    assert_eq!(info["storage"], "postgres");
    let ended = tasks::run(&http, "say it").await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    let ready = http.get("/ready").await.unwrap().ok().unwrap();
    assert_eq!(ready.json::<Value>().unwrap()["parts"]["storage"], "ok");
    let stopped = running.stop(Duration::from_secs(40)).await;
    assert!(stopped.unwrap().success());

    let again = launch.start().await.unwrap();
    let found = tasks::get(again.http(), &tasks::id(&ended)).await;
    assert_eq!(found, ended);
    assert!(
        again.output().contains(&database.name),
        "{}",
        again.output()
    );
    assert!(!again.output().contains("p@ss"), "the password is shown");
}

/// Reads a task's stream of events up to its end.
async fn stream(http: &Http, id: &str) -> String {
    let path = format!("/api/v1/tasks/{id}/events");
    let mut request = http.request(Method::GET, &path, None).unwrap();
    let accept = "text/event-stream".parse().unwrap();
    request.headers_mut().insert("accept", accept);
    let mut body = http.open(request).await.unwrap().into_body();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            text += &String::from_utf8_lossy(&data);
        }
    }
    text
}

/// Two servers on one database: either shows, follows and cancels what the other runs.
async fn two_servers(server: Server) {
    let timeout = Duration::from_secs(60);
    let database = Database::create(server);
    let dirs = [TestDir::new(), TestDir::new()];
    let stub = ModelStub::start(dirs[0].join("model.log"), &["--latency-ms", "20"]);
    let stub = stub.await.unwrap();
    let mut servers = Vec::new();
    for dir in &dirs {
        let launch = dir
            .dev()
            .env("OPSPAWN_STORE_URL", database.url())
            .env("OPENAI_BASE_URL", stub.base_url())
            .env("OPSPAWN_CONCURRENCY", "2");
        servers.push(launch.start().await.unwrap());
    }
    let [first, second] = [servers[0].http().clone(), servers[1].http().clone()];
    let plan = |name: &str, calls: usize| {
        let call = json!({"tool": "list_files", "arguments": {}});
        json!({"key": name, "plan": vec![call; calls], "answer": name}).to_string()
    };
    // Four tasks that go on for long run at once, though one server has two slots.
    let mut long = Vec::new();
    for number in 0..4 {
        long.push(tasks::agent(&first, &plan(&format!("long-{number}"), 2_000)).await);
    }
    for id in &long {
        tasks::in_state(&second, id, &["running"]).await;
    }
    let sessions = database.query(
        "SELECT DISTINCT convert_from(body, 'UTF8')::jsonb ->> 'session' FROM opspawn.events \
         WHERE kind = 'task.leased'",
    );
    assert_eq!(sessions.len(), 2, "one server ran everything");

    // Each is cancelled through both servers, one of which does not run it.
    for id in &long {
        for http in [&first, &second] {
            let path = format!("/api/v1/tasks/{id}/cancel");
            http.post(&path, &json!({})).await.unwrap();
        }
    }
    for id in &long {
        assert_eq!(tasks::ended(&first, id).await["state"], "cancelled");
    }

    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(tasks::agent(&first, &plan(&format!("task-{number}"), 5)).await);
    }
    for id in &ids {
        let followed = tokio::time::timeout(timeout, stream(&second, id)).await;
        let followed = followed.expect("the stream ends");
        assert!(followed.contains("task.completed"), "{followed}");
        let [here, there] = [tasks::get(&first, id).await, tasks::get(&second, id).await];
        assert_eq!(here, there);
    }

    // The one goes, the other goes on.
    servers.remove(0).sigkill().unwrap();
    let last = tasks::run(&second, &plan("last", 3)).await;
    assert_eq!(last["state"], "completed");
    let gone = wait_until("well", timeout, || async {
        second.get("/ready").await.ok()?.ok().ok()
    });
    gone.await.unwrap();
}

mod postgres_15 {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn two_servers_share_a_database() {
        two_servers(Server::Postgres15).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_server_runs_tasks_and_finds_them_again() {
        runs_tasks(Server::Postgres15).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn commands_work_on_the_database() {
        let (dir, database) = (TestDir::new(), Database::create(Server::Postgres15));
        let at = |args: &[&str]| dir.cli(args).env("OPSPAWN_STORE_URL", database.url());
        let empty = at(&["doctor"]).run().await;
        assert!(empty.stdout.contains("no tables yet"), "{empty:?}");
        let migrated = at(&["migrate"]).run().await;
        assert!(migrated.stdout.contains(" has schema "), "{migrated:?}");
        let looked = at(&["doctor"]).run().await;
        assert!(looked.stdout.contains("PostgreSQL 15"), "{looked:?}");
        let refused = at(&["compact"]).run().await;
        assert!(refused.stderr.contains("VACUUM"), "{refused:?}");
        for done in [empty, migrated, looked, refused] {
            let said = done.stdout + &done.stderr;
            assert!(!said.contains("p@ss") && !said.contains("p%40ss"), "{said}");
        }
    }

    /// A folder moves: tasks are shown as before, and those that had not begun go on.
    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_data_folder_moves_into_the_database() {
        let (dir, database) = (TestDir::new(), Database::create(Server::Postgres15));
        let mut server = dir.server().await;
        let ended = tasks::run(server.http(), "before the move").await;
        let later = json!({"task_type": "agent_run", "input_data": {"prompt": "later"},
            "run_at": "2099-01-01T00:00:00Z"});
        let later = tasks::submit(server.http(), &later).await;
        let events = format!("/api/v1/tasks/{}/events", tasks::id(&ended));
        let log: Value = server.http().get(&events).await.unwrap().json().unwrap();
        let data = dir.data().display().to_string();
        let args = ["migrate", "--from", "sqlite", &data];
        let at = |args: &[&str]| dir.cli(args).env("OPSPAWN_STORE_URL", database.url());
        let used = at(&args).run().await;
        assert_ne!(used.code, Some(0), "{used:?}");
        assert!(
            server
                .stop(Duration::from_secs(40))
                .await
                .unwrap()
                .success()
        );

        let moved = at(&args).run().await;
        assert_eq!(moved.code, Some(0), "{moved:?}");
        assert!(moved.stdout.contains("tasks     2"), "{moved:?}");
        let again = at(&args).run().await;
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(again.stderr.contains("is not empty"), "{again:?}");
        let unknown = at(&["migrate", "--from", "mysql", &data]).run().await;
        assert_eq!(unknown.code, Some(2), "{unknown:?}");

        let launch = dir.dev().env("OPSPAWN_STORE_URL", database.url());
        let server = launch.start().await.unwrap();
        let http = server.http();
        assert_eq!(tasks::get(http, &tasks::id(&ended)).await, ended);
        let copied: Value = http.get(&events).await.unwrap().json().unwrap();
        assert_eq!(copied["events"], log["events"]);
        assert_eq!(tasks::get(http, &later).await["state"], "scheduled");
        assert_eq!(
            tasks::run(http, "after the move").await["state"],
            "completed"
        );
    }

    /// What `.env` files of the first Opspawn hold.
    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn the_variable_of_version_one_names_the_database() {
        let (dir, database) = (TestDir::new(), Database::create(Server::Postgres15));
        let (_, place) = database.url().split_once("://").map(own).unwrap();
        for scheme in [
            "postgresql",
            "postgres",
            "postgresql+asyncpg",
            "postgresql+psycopg",
        ] {
            let url = format!("{scheme}://{place}");
            let migrated = dir.cli(&["migrate"]).env("DATABASE_URL", url).run().await;
            assert!(
                migrated.stdout.contains(" has schema "),
                "{scheme}: {migrated:?}"
            );
        }
        let other = "mysql://me:wrong-secret@h/x";
        let refused = dir.cli(&["migrate"]).env("DATABASE_URL", other).run().await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("DATABASE_URL"), "{refused:?}");
        assert!(!refused.stderr.contains("wrong-secret"), "{refused:?}");
    }

    fn own((scheme, place): (&str, &str)) -> (String, String) {
        (scheme.to_owned(), place.to_owned())
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_wrong_password_is_told_without_it() {
        let dir = TestDir::new();
        let url = Server::Postgres15.url().replace("p%40ss", "wrong-secret");
        let refused = dir
            .cli(&["migrate"])
            .env("OPSPAWN_STORE_URL", url)
            .run()
            .await;
        assert!(
            refused.stderr.contains("password authentication failed"),
            "{refused:?}"
        );
        assert!(!refused.stderr.contains("wrong-secret"), "{refused:?}");
    }
}

mod postgres_18 {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_server_runs_tasks_and_finds_them_again() {
        runs_tasks(Server::Postgres18).await;
    }
}

mod pgbouncer_15 {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn two_servers_share_a_database() {
        two_servers(Server::PgBouncer15).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_server_runs_tasks_and_finds_them_again() {
        runs_tasks(Server::PgBouncer15).await;
    }
}
