//! The binary on PostgreSQL and RabbitMQ.

mod fault {
    use std::time::Duration;

    use ops_testkit::{
        Http, Launch, ModelStub,
        postgres::{Database, Server},
        rabbitmq::{Frozen, VirtualHost, control},
        wait_until,
    };
    use serde_json::{Value, json};

    use crate::e2e::{tasks, test_dir::TestDir};

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A value of `/metrics`.
    async fn metric(http: &Http, name: &str) -> f64 {
        let text = http.get("/metrics").await.unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim().parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// `/ready` once the broker is in this state. It never fails.
    async fn broker_is(http: &Http, state: &str) -> Value {
        let ask = || async {
            let ready = http.get("/ready").await.ok()?.ok().expect("/ready fails");
            let ready: Value = ready.json().unwrap();
            (ready["parts"]["queue"] == state).then_some(ready)
        };
        wait_until(state, TIMEOUT, ask).await.unwrap()
    }

    fn plan(name: &str, calls: usize) -> String {
        let call = json!({"tool": "list_files", "arguments": {}});
        json!({"key": name, "plan": vec![call; calls], "answer": name}).to_string()
    }

    mod postgres_15 {
        use super::*;

        /// Two processes share the work, with the broker, without it, and with it again.
        #[tokio::test]
        #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
        async fn work_goes_on_while_the_broker_is_away() {
            let (database, host) = (Database::create(Server::Postgres15), VirtualHost::create());
            let dirs = [TestDir::new(), TestDir::new()];
            let stub = ModelStub::start(dirs[0].join("model.log"), &["--latency-ms", "20"]);
            let stub = stub.await.unwrap();
            let launch = |dir: &TestDir| -> Launch {
                dir.dev()
                    .env("DATABASE_URL", database.url())
                    .env("RABBITMQ_URL", host.url())
                    .env("OPENAI_BASE_URL", stub.base_url())
                    .env("OPSPAWN_CONCURRENCY", "2")
            };
            let mut servers = Vec::new();
            for dir in &dirs {
                servers.push(launch(dir).start().await.unwrap());
            }
            let [first, second] = [servers[0].http().clone(), servers[1].http().clone()];
            for phase in ["with", "without", "again"] {
                match phase {
                    "without" => {
                        control(&["stop_app"]);
                        let ready = broker_is(&first, "away").await;
                        let told = ready["warnings"].to_string();
                        assert!(told.contains("the broker amqp://opspawn:***@"), "{told}");
                        broker_is(&second, "away").await;
                    }
                    _ => {
                        if phase == "again" {
                            control(&["start_app"]);
                        }
                        for http in [&first, &second] {
                            let ready = broker_is(http, "connected").await;
                            assert!(!ready["warnings"].to_string().contains("broker"), "{ready}");
                        }
                    }
                }
                // Four tasks that go on for long run at once, though one process has two slots.
                let mut long = Vec::new();
                for number in 0..4 {
                    let plan = plan(&format!("{phase}-long-{number}"), 2_000);
                    long.push(tasks::agent(&first, &plan).await);
                }
                for id in &long {
                    tasks::in_state(&second, id, &["running"]).await;
                }
                for id in &long {
                    let path = format!("/api/v1/tasks/{id}/cancel");
                    second.post(&path, &json!({})).await.unwrap();
                    assert_eq!(tasks::ended(&first, id).await["state"], "cancelled");
                }
                let mut ids = Vec::new();
                for number in 0..10 {
                    ids.push(tasks::agent(&first, &plan(&format!("{phase}-{number}"), 3)).await);
                }
                for id in &ids {
                    assert_eq!(tasks::ended(&second, id).await["state"], "completed");
                }
            }
            let received = async |http| metric(http, "opspawn_queue_received_total ").await;
            assert!(metric(&first, "opspawn_queue_rung_total ").await >= 2.0);
            assert!(received(&first).await + received(&second).await >= 2.0);
            assert!(metric(&first, "opspawn_queue_connected ").await >= 1.0);
            let sessions = database.query(
                "SELECT DISTINCT convert_from(body, 'UTF8')::jsonb ->> 'session' FROM opspawn.events \
                 WHERE kind = 'task.leased'",
            );
            assert_eq!(sessions.len(), 2, "one process ran everything");
            for server in &mut servers {
                assert!(
                    server
                        .stop(Duration::from_secs(40))
                        .await
                        .unwrap()
                        .success()
                );
                assert!(!server.output().contains("p@ss"), "the password is shown");
                assert!(server.alarms().is_empty(), "{:?}", server.alarms());
            }
        }

        /// A broker that stands still answers nothing and closes nothing: it is noticed by what it does not
        /// confirm. `OPSPAWN_FROZEN_SECONDS=30` keeps it so for longer.
        #[tokio::test]
        #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
        async fn work_goes_on_while_the_broker_stands_still() {
            let (database, host) = (Database::create(Server::Postgres15), VirtualHost::create());
            let dirs = [TestDir::new(), TestDir::new()];
            let stub = ModelStub::start(dirs[0].join("model.log"), &[]);
            let stub = stub.await.unwrap();
            let launch = |role: &str, dir: &TestDir, listen: &str| {
                std::fs::create_dir_all(dir.data()).unwrap();
                Launch::new(role, dir.data())
                    .args([listen, "127.0.0.1:0"])
                    .env("DATABASE_URL", database.url())
                    .env("RABBITMQ_URL", host.url())
                    .env("OPENAI_BASE_URL", stub.base_url())
            };
            let mut server = launch("serve", &dirs[0], "--listen").start().await.unwrap();
            let worker = launch("worker", &dirs[1], "--health-listen");
            let mut worker = worker.start().await.unwrap();
            let (http, worker_http) = (server.http().clone(), worker.http().clone());
            let run = async |name: &str| {
                let id = tasks::agent(&http, &plan(name, 2)).await;
                assert_eq!(tasks::ended(&http, &id).await["state"], "completed");
            };
            broker_is(&http, "connected").await;
            broker_is(&worker_http, "connected").await;
            run("before").await;
            let frozen = Frozen::new();
            let began = std::time::Instant::now();
            let asked = std::env::var("OPSPAWN_FROZEN_SECONDS").ok();
            let longer = Duration::from_secs(asked.map_or(0, |text| text.parse().unwrap()));
            // A submit is answered and its task runs, though the broker confirms nothing.
            let mut number = 0;
            loop {
                run(&format!("frozen-{number}")).await;
                number += 1;
                let ready: Value = http
                    .get("/ready")
                    .await
                    .unwrap()
                    .ok()
                    .unwrap()
                    .json()
                    .unwrap();
                let is_noticed = ready["parts"]["queue"] != "connected";
                if is_noticed && number >= 3 && began.elapsed() >= longer {
                    assert!(ready["warnings"].to_string().contains("broker"), "{ready}");
                    break;
                }
                assert!(
                    began.elapsed() < TIMEOUT + longer,
                    "nobody notices: {ready}"
                );
            }
            println!(
                "{number} tasks in {:?} without an answer of the broker",
                began.elapsed()
            );
            drop(frozen);
            for http in [&http, &worker_http] {
                broker_is(http, "connected").await;
            }
            run("after").await;
            for process in [&mut worker, &mut server] {
                let stopped = process.stop(Duration::from_secs(40)).await.unwrap();
                assert!(stopped.success(), "{stopped}");
                assert!(process.alarms().is_empty(), "{:?}", process.alarms());
            }
        }

        #[tokio::test]
        #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
        async fn doctor_looks_at_the_broker() {
            let (database, host) = (Database::create(Server::Postgres15), VirtualHost::create());
            let dir = TestDir::new();
            let doctor = |url: String| {
                dir.cli(&["doctor"])
                    .env("OPSPAWN_STORE_URL", database.url())
                    .env("OPSPAWN_QUEUE_URL", url)
            };
            let good = doctor(host.url()).run().await;
            assert!(
                good.stdout.contains("has the queues of `default`"),
                "{good:?}"
            );
            let wrong = doctor(host.url().replace("opspawn:", "nobody:"))
                .run()
                .await;
            assert_eq!(wrong.code, Some(1), "{wrong:?}");
            assert!(wrong.stdout.contains("FAIL queue"), "{wrong:?}");
            let scheme = doctor("http://me:s3cret@mq".to_owned()).run().await;
            assert!(scheme.stdout.contains("`amqp://`"), "{scheme:?}");
            for done in [good, wrong, scheme] {
                let said = done.stdout + &done.stderr;
                assert!(!said.contains("p@ss") && !said.contains("p%40ss"), "{said}");
                assert!(!said.contains("s3cret"), "{said}");
            }
        }
    }
}
