//! The whole system: `opspawn serve` and two `opspawn worker` on PostgreSQL and RabbitMQ.
//!
//! `cargo xtask e2e` runs these tests and those of the roles, as often as asked.

use std::time::Duration;

use ops_testkit::{
    Http, Launch, ModelStub, Opspawn, mcp_stub,
    postgres::{Database, Server},
    rabbitmq::VirtualHost,
    wait_until,
};
use serde_json::{Value, json};

use crate::e2e::{mcp, tasks, test_dir::TestDir};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A server and two workers, and what they have in common.
struct System {
    server: Opspawn,
    workers: Vec<Opspawn>,
    stub: ModelStub,
    database: Database,
    dirs: Vec<TestDir>,
    _host: VirtualHost,
}

impl System {
    /// Starts all of them; `prepare` writes files into each data folder.
    async fn start(latency_ms: u32, prepare: impl Fn(&TestDir)) -> Self {
        let (database, host) = (Database::create(Server::Postgres15), VirtualHost::create());
        let dirs: Vec<TestDir> = (0..3).map(|_| TestDir::new()).collect();
        let latency = latency_ms.to_string();
        let log = dirs[0].join("model.log");
        let stub = ModelStub::start(log, &["--latency-ms", &latency])
            .await
            .unwrap();
        let launch = |role: &str, dir: &TestDir| {
            std::fs::create_dir_all(dir.data()).unwrap();
            prepare(dir);
            Launch::new(role, dir.data())
                .timeout(TIMEOUT)
                .env("DATABASE_URL", database.url())
                .env("RABBITMQ_URL", host.url())
                .env("OPENAI_BASE_URL", stub.base_url())
        };
        let server = launch("serve", &dirs[0]).args(["--listen", "127.0.0.1:0"]);
        let server = server.start().await.unwrap();
        let worker = |dir| {
            launch("worker", dir).args(["--concurrency", "4", "--health-listen", "127.0.0.1:0"])
        };
        let [first, second] = [worker(&dirs[1]), worker(&dirs[2])];
        let (first, second) = tokio::join!(first.start(), second.start());
        Self {
            server,
            workers: vec![first.unwrap(), second.unwrap()],
            stub,
            database,
            dirs,
            _host: host,
        }
    }

    fn http(&self) -> &Http {
        self.server.http()
    }

    /// Waits until each process reaches the broker.
    async fn connected(&self) {
        for process in self.workers.iter().chain([&self.server]) {
            let connected = wait_until("the broker is reached", TIMEOUT, || async {
                let ready = process.http().get("/ready").await.ok()?.ok().ok()?;
                let ready: Value = ready.json().ok()?;
                (ready["parts"]["queue"] == "connected").then_some(())
            });
            connected.await.unwrap();
        }
    }

    /// How many worker sessions have claimed a task.
    fn sessions(&self) -> usize {
        let sessions = self.database.query(
            "SELECT DISTINCT convert_from(body, 'UTF8')::jsonb ->> 'session' FROM opspawn.events \
             WHERE kind = 'task.leased'",
        );
        sessions.len()
    }

    /// Stops all, workers first: each ends well, and none has logged an error or a password.
    async fn stop(mut self) {
        for process in self.workers.iter_mut().chain([&mut self.server]) {
            let stopped = process.stop(TIMEOUT).await.unwrap();
            assert!(stopped.success(), "{stopped}\n{}", process.output());
            assert!(process.alarms().is_empty(), "{:?}", process.alarms());
            assert!(!process.output().contains("p@ss"), "a password is shown");
        }
    }
}

/// A goal that makes the stub ask for these calls, one a turn.
fn plan(name: &str, calls: &[Value]) -> String {
    json!({"key": name, "plan": calls, "answer": format!("the end of {name}")}).to_string()
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"tool": tool, "arguments": arguments})
}

fn scripted(script: &str) -> Value {
    json!({"task_type": "agent_run", "input_data":
        {"prompt": "x", "agent_config": {"provider": "scripted", "script": script}}})
}

async fn cancel(http: &Http, id: &str) -> u16 {
    let path = format!("/api/v1/tasks/{id}/cancel");
    let reply = http.post(&path, &json!({})).await.unwrap();
    reply.status.as_u16()
}

mod rabbitmq {
    mod fault {
        mod postgres_15 {
            use super::super::super::*;

            /// The first release's own test against a live system: a task that completes, a task that fails, three tasks
            /// at once.
            #[tokio::test]
            #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
            async fn the_three_cases_of_the_first_live_test() {
                let system = System::start(20, |_| {}).await;
                let http = system.http();
                let question =
                    json!({"prompt": "What is the capital of France?", "task_type": "agent_task"});
                let task = tasks::ended(http, &tasks::submit(http, &question).await).await;
                assert_eq!(task["status"], "completed", "{task:#}");
                assert!(!task["output"].as_str().unwrap().is_empty(), "{task:#}");
                assert_eq!(task["output"], task["result"]["answer"]);

                let nowhere =
                    json!({"llm_provider": "non_existent_provider", "llm_model": "error-model"});
                let fails = json!({"prompt": "It cannot work.", "task_type": "agent_task", "agent_config": nowhere});
                let task = tasks::ended(http, &tasks::submit(http, &fails).await).await;
                assert_eq!(task["status"], "failed", "{task:#}");
                let message = task["error_message"].as_str().unwrap();
                assert!(message.len() > 5 && message.contains("non_existent_provider"));

                let bodies: Vec<Value> = ["Spain", "Italy", "Chile"]
                    .iter()
                    .map(|country| format!("What is the capital of {country}?"))
                    .map(|prompt| json!({"prompt": prompt, "task_type": "agent_task"}))
                    .collect();
                let submit = async |body| tasks::submit(http, body).await;
                let ids = tokio::join!(submit(&bodies[0]), submit(&bodies[1]), submit(&bodies[2]));
                for id in [&ids.0, &ids.1, &ids.2] {
                    let task = tasks::ended(http, id).await;
                    assert_eq!(task["status"], "completed", "{task:#}");
                }
                // One call for each task but the one whose provider does not exist.
                assert_eq!(system.stub.requests().unwrap().len(), 4);
                system.stop().await;
            }

            /// Tasks with tools and a task that fails, side by side on both workers, woken by the broker.
            #[tokio::test]
            #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
            async fn tasks_with_tools_run_side_by_side() {
                let system = System::start(150, |_| {}).await;
                let http = system.http();
                system.connected().await;
                let mut ids = Vec::new();
                for number in 0..12 {
                    let name = format!("task-{number}");
                    let calls = [
                        call(
                            "calculator",
                            &json!({"expression": format!("{number} * 100 + 7")}),
                        ),
                        call("write_file", &json!({"path": "note.txt", "content": name})),
                        call("read_file", &json!({"path": "note.txt"})),
                    ];
                    ids.push(tasks::agent(http, &plan(&name, &calls)).await);
                }
                let fails = scripted("[[turn]]\nerror = \"unauthorized\"\n");
                let fails = tasks::submit(http, &fails).await;
                for (number, id) in ids.iter().enumerate() {
                    assert_eq!(
                        tasks::answer(http, id).await,
                        format!("the end of task-{number}")
                    );
                    let steps = tasks::steps(http, id).await;
                    let of = |tool: &str| {
                        let found = steps.iter().find(|step| step["name"] == tool);
                        found
                            .map(|step| step["output"].to_string())
                            .unwrap_or_default()
                    };
                    assert!(
                        of("calculator").contains(&(number * 100 + 7).to_string()),
                        "{steps:#?}"
                    );
                    assert!(
                        of("read_file").contains(&format!("task-{number}")),
                        "{steps:#?}"
                    );
                }
                let failed = tasks::ended(http, &fails).await;
                assert_eq!(failed["status"], "failed", "{failed:#}");
                assert_eq!(system.sessions(), 2, "one worker ran everything");
                let calls = system.stub.requests().unwrap().len();
                assert_eq!(calls, 12 * 4, "a call was repeated or left out");
                // A message that nobody waited for is taken later.
                let woken = wait_until("the broker wakes a worker", TIMEOUT, || async {
                    let mut received = 0.0;
                    for worker in &system.workers {
                        let text = worker.http().get("/metrics").await.ok()?.text();
                        let mut lines = text.lines();
                        let count = lines
                            .find_map(|line| line.strip_prefix("opspawn_queue_received_total "));
                        received += count?.parse::<f64>().ok()?;
                    }
                    (received > 0.0).then_some(())
                });
                woken.await.unwrap();
                system.stop().await;
            }

            /// A server of the Model Context Protocol at each worker, through the proxy tool and by its own tools' names.
            #[tokio::test]
            #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
            async fn workers_use_tools_of_an_mcp_server() {
                let stub = json!({"command": mcp_stub().unwrap(), "args": ["{}"]});
                let file = json!({"mcpServers": {"stub": stub}}).to_string();
                let write = |dir: &TestDir| {
                    std::fs::write(dir.data().join("mcp_servers.json"), &file).unwrap();
                };
                let system = System::start(20, write).await;
                let http = system.http();
                let listed = wait_until("the server's list", TIMEOUT, || async {
                    let server = mcp::server(http, "stub").await;
                    (!server["approved"].is_null()).then_some(())
                });
                listed.await.unwrap();
                let native = system.dirs[0].join("native.toml");
                std::fs::write(&native, "name = \"native\"\ntools = [\"stub/*\"]\n").unwrap();
                let apply = ["agent", "apply", "-f", native.to_str().unwrap()];
                let applied = system.dirs[0]
                    .cli(&[&apply[..], &["--url", &http.base()]].concat())
                    .run();
                applied.await.ends(0);
                let mut ids = Vec::new();
                for number in 0..6 {
                    let echo = json!({"server_name": "stub", "tool_name": "echo", "arguments": {"n": number}});
                    let goal = plan(&format!("proxy-{number}"), &[call("mcp_proxy_tool", &echo)]);
                    ids.push((number, "mcp_proxy_tool", tasks::agent(http, &goal).await));
                    let goal = plan(
                        &format!("native-{number}"),
                        &[call("stub__echo", &json!({"n": number}))],
                    );
                    let body = json!({"task_type": "agent_run", "agent_id": "native", "input_data": {"prompt": goal}});
                    ids.push((number, "stub__echo", tasks::submit(http, &body).await));
                }
                for (number, tool, id) in &ids {
                    tasks::answer(http, id).await;
                    let steps = tasks::steps(http, id).await;
                    let step = steps.iter().find(|step| step["name"] == *tool);
                    let step = step.unwrap_or_else(|| panic!("no call of {tool}: {steps:#?}"));
                    assert_eq!(step["status"], "completed", "{step:#}");
                    assert!(
                        step["output"].to_string().contains(&number.to_string()),
                        "{step:#}"
                    );
                }
                system.stop().await;
            }

            /// A cancel ends a call in flight, a wait and a task that has not begun, and leaves the rest alone.
            #[tokio::test]
            #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
            async fn a_cancel_reaches_the_worker_that_has_the_task() {
                let system = System::start(20, |_| {}).await;
                let http = system.http();
                let slow = scripted("latency_ms = 600000\n[[turn]]\nanswer = \"x\"\n");
                let sleeps = plan("sleeps", &[call("sleep_until", &json!({"seconds": 3_600}))]);
                let mut later = scripted("[[turn]]\nanswer = \"x\"\n");
                later["run_at"] = json!("2099-01-01T00:00:00Z");
                let calling = tasks::submit(http, &slow).await;
                let waiting = tasks::agent(http, &sleeps).await;
                let scheduled = tasks::submit(http, &later).await;
                tasks::in_state(http, &calling, &["running"]).await;
                tasks::in_state(http, &waiting, &["waiting"]).await;
                tasks::in_state(http, &scheduled, &["scheduled"]).await;
                for id in [&calling, &waiting, &scheduled] {
                    assert!((200..300).contains(&cancel(http, id).await));
                    let task = tasks::ended(http, id).await;
                    assert_eq!(task["state"], "cancelled", "{task:#}");
                }
                let asked = system.stub.requests().unwrap().len();
                // The slots are free, and what has ended stays as it is.
                for number in 0..8 {
                    let id = tasks::agent(http, &plan(&format!("after-{number}"), &[])).await;
                    assert_eq!(tasks::ended(http, &id).await["state"], "completed");
                    cancel(http, &id).await;
                    assert_eq!(tasks::get(http, &id).await["state"], "completed");
                }
                let after = system.stub.requests().unwrap();
                assert_eq!(after.len(), asked + 8, "a cancelled task called a model");
                system.stop().await;
            }
        }
    }
}
