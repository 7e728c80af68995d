//! `opspawn serve` and `opspawn worker`: the roles apart.

use std::time::Duration;

use ops_testkit::Launch;

use super::test_dir::TestDir;

/// `opspawn serve` on a free port.
fn serve(dir: &TestDir) -> Launch {
    std::fs::create_dir_all(dir.data()).unwrap();
    Launch::new("serve", dir.data()).args(["--listen", "127.0.0.1:0"])
}

#[tokio::test]
async fn neither_starts_without_a_provider_or_its_database() {
    let dir = TestDir::new();
    let database = "postgres://me:s3cret@127.0.0.1:1/none";
    for (args, url) in [
        (&["serve"][..], None),
        (&["serve"], Some(database)),
        (&["worker"], Some(database)),
    ] {
        let command = dir
            .cli_without_a_script(args)
            .env("OPSPAWN_LISTEN", "127.0.0.1:0");
        let ran = match url {
            Some(url) => command.env("DATABASE_URL", url).run().await,
            None => command.run().await,
        };
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for part in [
            "provider_not_configured",
            "OPENAI_API_KEY",
            "OPSPAWN_PROVIDER=scripted",
        ] {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
    }
    let alone = dir.cli(&["worker"]).run().await;
    assert_eq!(alone.code, Some(2), "{alone:?}");
    for part in ["PostgreSQL", "DATABASE_URL", "SQLite", "opspawn serve"] {
        assert!(alone.stderr.contains(part), "{part}: {alone:?}");
    }
    let away = dir
        .cli(&["worker"])
        .env("DATABASE_URL", database)
        .run()
        .await;
    assert_eq!(away.code, Some(5), "{away:?}");
    assert!(!away.stderr.contains("s3cret"), "{away:?}");
    let public = dir.cli(&["serve", "--listen", "0.0.0.0:0"]).run().await;
    assert_eq!(public.code, Some(2), "{public:?}");
}

#[tokio::test]
async fn a_server_on_sqlite_runs_its_tasks_itself() {
    let dir = TestDir::new();
    let mut server = serve(&dir)
        .env("OPSPAWN_SCRIPT", ops_testkit::echo())
        .start()
        .await
        .unwrap();
    let task = super::tasks::run(server.http(), "say it").await;
    assert_eq!(task["state"], "completed", "{task:#}");
    assert!(
        server.output().contains("loopback alone"),
        "{}",
        server.output()
    );
    let info = server
        .http()
        .get("/api/v1/info")
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(info.json::<serde_json::Value>().unwrap()["mode"], "serve");
    assert!(
        server
            .stop(Duration::from_secs(40))
            .await
            .unwrap()
            .success()
    );
}

#[cfg(feature = "postgres")]
mod shared {
    use http::Method;
    use http_body_util::BodyExt as _;
    use ops_testkit::{
        Http, ModelStub, Opspawn,
        postgres::{Database, Server},
        wait_until,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::e2e::tasks;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// What the processes have in common.
    struct Shared {
        database: Database,
        stub: ModelStub,
        broker: Option<String>,
        _log: TestDir,
    }

    impl Shared {
        async fn new(broker: Option<String>) -> Self {
            let log = TestDir::new();
            let stub = ModelStub::start(log.join("model.log"), &["--latency-ms", "20"]);
            Self {
                database: Database::create(Server::Postgres15),
                stub: stub.await.unwrap(),
                broker,
                _log: log,
            }
        }

        fn on(&self, launch: Launch) -> Launch {
            let launch = launch
                .env("DATABASE_URL", self.database.url())
                .env("OPENAI_BASE_URL", self.stub.base_url());
            match &self.broker {
                Some(url) => launch.env("RABBITMQ_URL", url),
                None => launch,
            }
        }

        async fn server(&self, dir: &TestDir) -> Opspawn {
            self.on(serve(dir)).start().await.unwrap()
        }

        fn worker(&self, dir: &TestDir) -> Launch {
            std::fs::create_dir_all(dir.data()).unwrap();
            let worker = Launch::new("worker", dir.data());
            self.on(worker.args(["--concurrency", "2", "--health-listen", "127.0.0.1:0"]))
        }
    }

    fn plan(name: &str, calls: usize) -> String {
        let call = json!({"tool": "list_files", "arguments": {}});
        json!({"key": name, "plan": vec![call; calls], "answer": name}).to_string()
    }

    async fn ready(http: &Http) -> Value {
        http.get("/ready")
            .await
            .unwrap()
            .ok()
            .unwrap()
            .json()
            .unwrap()
    }

    /// Reads a task's stream of events up to its end.
    async fn stream(http: Http, id: String) -> String {
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

    /// A server and two workers: one worker is killed, and every task completes.
    async fn a_killed_worker_costs_no_task(broker: Option<String>) {
        let shared = Shared::new(broker).await;
        let dirs = [TestDir::new(), TestDir::new(), TestDir::new()];
        let mut server = shared.server(&dirs[0]).await;
        let http = server.http().clone();
        let mut ids = Vec::new();
        // Accepted before there is any worker.
        for number in 0..12 {
            ids.push(tasks::agent(&http, &plan(&format!("task-{number}"), 6)).await);
        }
        let without = wait_until("it is told that nobody works", TIMEOUT, || async {
            let ready = ready(&http).await;
            ready["warnings"]
                .to_string()
                .contains("`default`")
                .then_some(())
        });
        without.await.unwrap();
        let followed = tokio::spawn(stream(http.clone(), ids[11].clone()));
        let mut first = shared.worker(&dirs[1]).start().await.unwrap();
        let mut second = shared.worker(&dirs[2]).start().await.unwrap();
        assert_eq!(ready(second.http()).await["parts"]["storage"], "ok");
        let missing = second.http().get("/api/v1/tasks/").await.unwrap();
        assert_eq!(missing.status.as_u16(), 404, "a worker serves tasks");
        // Both are in the middle of something.
        let running = wait_until("both run tasks", TIMEOUT, || async {
            let sessions = shared.database.query(
                "SELECT DISTINCT session_id FROM opspawn.tasks WHERE session_id IS NOT NULL",
            );
            (sessions.len() == 2).then_some(())
        });
        running.await.unwrap();
        first.sigkill().unwrap();
        for id in &ids {
            let task = tasks::ended(&http, id).await;
            assert_eq!(task["state"], "completed", "{task:#}");
        }
        let followed = tokio::time::timeout(TIMEOUT, followed).await;
        let followed = followed.expect("the stream ends").unwrap();
        assert!(followed.contains("task.completed"), "{followed}");
        let lost = shared
            .database
            .query("SELECT 1 FROM opspawn.events WHERE kind = 'task.lease_lost'");
        assert!(!lost.is_empty(), "the kill cost no lease");

        // The requests of version 1's own live test, as they are.
        for number in 0..3 {
            let body =
                json!({"prompt": plan(&format!("v1-{number}"), 0), "task_type": "agent_task"});
            assert_eq!(
                tasks::ended(&http, &tasks::submit(&http, &body).await).await["status"],
                "completed"
            );
        }
        let body = json!({
            "prompt": "fails", "task_type": "agent_task",
            "agent_config": {"llm_provider": "non_existent_provider", "llm_model": "error-model"},
        });
        let failed = tasks::ended(&http, &tasks::submit(&http, &body).await).await;
        assert_eq!(failed["status"], "failed");
        assert!(
            failed["error_message"].as_str().unwrap().len() > 5,
            "{failed:#}"
        );
        for process in [&mut second, &mut server] {
            assert!(
                process
                    .stop(Duration::from_secs(40))
                    .await
                    .unwrap()
                    .success()
            );
            assert!(process.alarms().is_empty(), "{:?}", process.alarms());
            assert!(!process.output().contains("p@ss"), "{}", process.output());
        }
    }

    mod postgres_15 {
        use super::*;

        #[tokio::test]
        #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
        async fn workers_take_tasks_of_a_server() {
            a_killed_worker_costs_no_task(None).await;
        }

        /// The limit of a key is one limit, however many workers use it, and a killed worker gives nothing back.
        #[tokio::test]
        #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
        async fn workers_share_the_limit_of_a_provider() {
            let shared = Shared::new(None).await;
            let dirs = [TestDir::new(), TestDir::new(), TestDir::new()];
            let limit = ("OPSPAWN_OPENAI_REQUESTS_PER_MINUTE", "120");
            let server = shared.on(serve(&dirs[0])).env(limit.0, limit.1);
            let server = server.start().await.unwrap();
            let http = server.http();
            let mut workers = Vec::new();
            for dir in &dirs[1..] {
                let worker = shared.worker(dir).env(limit.0, limit.1);
                workers.push(worker.start().await.unwrap());
            }
            let mut ids = Vec::new();
            for number in 0..14 {
                ids.push(tasks::agent(http, &plan(&format!("limited-{number}"), 0)).await);
            }
            let some = wait_until("some calls were made", TIMEOUT, || async {
                (shared.stub.requests().ok()?.len() >= 4).then_some(())
            });
            some.await.unwrap();
            workers[0].sigkill().unwrap();
            for id in &ids {
                assert_eq!(tasks::ended(http, id).await["state"], "completed");
            }
            let requests = shared.stub.requests().unwrap().len();
            assert!(requests >= 14, "{requests}");
            // 120 a minute: one each 504 ms, and two at once. A call is on its way for a moment.
            let most = crate::e2e::provider_limits::most_within(&shared.stub, 2_000_000);
            assert!(most <= 6, "{most} calls within two seconds");
            println!("{requests} calls, {most} within two seconds at the most");
        }

        /// A worker with another policy or other limits is told of, until its files are those of the server.
        #[tokio::test]
        #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
        async fn a_worker_with_another_configuration_is_told_of() {
            let shared = Shared::new(None).await;
            let dirs = [TestDir::new(), TestDir::new()];
            let write = |dir: &TestDir, file: &str, text: &str| {
                std::fs::create_dir_all(dir.data()).unwrap();
                std::fs::write(dir.data().join(file), text).unwrap();
            };
            write(&dirs[0], "policy.toml", "# of all\n");
            write(&dirs[1], "opspawn.toml", "[limits]\nmax_steps = 7\n");
            let server = shared.server(&dirs[0]).await;
            let http = server.http().clone();
            let differing = |http: Http| async move {
                let warnings = ready(&http).await["warnings"].to_string();
                let start = warnings.find("the worker ");
                start.map(|start| warnings[start..].to_owned())
            };
            assert_eq!(differing(http.clone()).await, None);
            let mut worker = shared.worker(&dirs[1]).start().await.unwrap();
            let told = wait_until("it is told", TIMEOUT, || differing(http.clone()));
            let told = told.await.unwrap();
            assert!(told.contains("limits, policy;"), "{told}");
            let doctor = dirs[0].cli(&["doctor", "--url", &http.base()]).run().await;
            assert!(doctor.stdout.contains("limits, policy;"), "{doctor:?}");

            // A worker reads its policy with SIGHUP, and its limits at the next start.
            write(&dirs[1], "policy.toml", "# of all\n");
            worker.process().signal(ops_testkit::Signal::HUP).unwrap();
            let fewer = wait_until("its policy is the same", TIMEOUT, || async {
                let told = differing(http.clone()).await?;
                (!told.contains("policy;") && told.contains("limits;")).then_some(())
            });
            fewer.await.unwrap();
            write(&dirs[1], "opspawn.toml", "");
            let stopped = worker.stop(Duration::from_secs(40)).await.unwrap();
            assert!(stopped.success());
            let mut worker = shared.worker(&dirs[1]).start().await.unwrap();
            let alike = wait_until("it is alike", TIMEOUT, || async {
                let known = shared
                    .database
                    .query("SELECT 1 FROM opspawn.sessions WHERE configuration IS NOT NULL");
                let is_alike = differing(http.clone()).await.is_none();
                (is_alike && known.len() == 1).then_some(())
            });
            alike.await.unwrap();

            // The server has a new policy, and the worker has not read it yet.
            write(&dirs[0], "policy.toml", "# a new one\n");
            let reloaded = http.post("/api/v1/reload", &json!({})).await.unwrap();
            let reloaded: Value = reloaded.ok().unwrap().json().unwrap();
            let differ = &reloaded["workers_that_differ"];
            assert_eq!(differ[0]["parts"], json!(["policy"]), "{reloaded:#}");
            let stopped = worker.stop(Duration::from_secs(40)).await.unwrap();
            assert!(stopped.success());
        }

        /// The workspace is where the worker is, and the server's data folder has none.
        #[tokio::test]
        #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
        async fn a_file_of_a_worker_is_not_said_to_be_with_the_server() {
            let shared = Shared::new(None).await;
            let dirs = [TestDir::new(), TestDir::new()];
            let server = shared.server(&dirs[0]).await;
            let _worker = shared.worker(&dirs[1]).start().await.unwrap();
            let write =
                json!({"tool": "write_file", "arguments": {"path": "report.md", "content": "x"}});
            let goal = json!({"key": "writes", "plan": [write], "answer": "done"}).to_string();
            let run = dirs[0].cli(&["run", &goal]);
            let run = run.env("OPSPAWN_URL", server.http().base()).run().await;
            let run = run.ends(0);
            let file = run.stderr.lines().find(|line| line.starts_with("file: "));
            let file = file.unwrap_or_else(|| panic!("{run:?}"));
            assert!(
                file.contains("file: report.md, in the data folder of the worker"),
                "{file}"
            );
            let start = file.find("task_").unwrap();
            let id = file[start..].split('`').next().unwrap();
            let there = dirs[1].data().join("workspaces").join(id).join("report.md");
            assert!(there.is_file(), "{}", there.display());
        }

        /// Which queues are served is told by live workers, not by the server's configuration.
        #[tokio::test]
        #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
        async fn live_workers_say_which_queues_are_served() {
            let shared = Shared::new(None).await;
            let dirs = [TestDir::new(), TestDir::new()];
            let server = shared.server(&dirs[0]).await;
            let http = server.http().clone();
            let gpu = |goal: &str| json!({"task_type": "agent_run", "queue": "gpu", "input_data": {"prompt": plan(goal, 0)}});
            let refused = http.post("/api/v1/tasks/", &gpu("early")).await.unwrap();
            assert_eq!(refused.status.as_u16(), 422);
            assert_eq!(refused.json::<Value>().unwrap()["code"], "unknown_queue");
            std::fs::create_dir_all(dirs[1].data()).unwrap();
            std::fs::write(dirs[1].data().join("opspawn.toml"), "[queues.gpu]\n").unwrap();
            let mut worker = shared.worker(&dirs[1]).start().await.unwrap();
            let accepted = wait_until("the queue is known", TIMEOUT, || async {
                let reply = http.post("/api/v1/tasks/", &gpu("late")).await.unwrap();
                (reply.status.as_u16() == 201).then(|| tasks::id(&reply.json().unwrap()))
            });
            let id = accepted.await.unwrap();
            assert_eq!(tasks::ended(&http, &id).await["state"], "completed");
            assert!(
                worker
                    .stop(Duration::from_secs(40))
                    .await
                    .unwrap()
                    .success()
            );
            // The queue may be known for a moment longer, and the task then waits.
            let gone = wait_until("the queue is unknown", TIMEOUT, || async {
                let reply = http.post("/api/v1/tasks/", &gpu("too late")).await.unwrap();
                (reply.status.as_u16() == 422).then_some(())
            });
            gone.await.unwrap();
        }
    }

    #[cfg(feature = "rabbit")]
    mod rabbitmq {
        mod fault {
            mod postgres_15 {
                use ops_testkit::rabbitmq::VirtualHost;

                use super::super::super::a_killed_worker_costs_no_task;

                #[tokio::test]
                #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
                async fn workers_take_tasks_of_a_server_through_a_broker() {
                    let host = VirtualHost::create();
                    a_killed_worker_costs_no_task(Some(host.url())).await;
                }
            }
        }
    }
}
