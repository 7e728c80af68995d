//! Workers whose machine's clock is wrong: dates are those of the database.

mod postgres_15 {
    use std::{path::PathBuf, process::Command, time::Duration};

    use ops_testkit::{
        Http, Launch, ModelStub, clock,
        postgres::{Database, Server},
        skip,
    };
    use serde_json::{Value, json};

    use crate::e2e::{tasks, test_dir::TestDir};

    const HOUR_US: i64 = 3_600_000_000;
    const SLEEP: i64 = 2_000_000;

    /// The library that gives a process another clock, which `cargo xtask test --install` installs.
    fn library() -> Option<PathBuf> {
        let found = std::env::var_os("OPSPAWN_TEST_FAKETIME").map(PathBuf::from);
        if found.is_none() {
            skip("libfaketime is not installed");
        }
        found
    }

    /// The time that a program is told by a clock that is so many hours off, in microseconds since 1970.
    fn told(library: &std::path::Path, hours: i64) -> i64 {
        let mut date = Command::new("date");
        date.arg("+%s").envs(wrong_clock(library, hours));
        let told = String::from_utf8(date.output().unwrap().stdout).unwrap();
        told.trim().parse::<i64>().unwrap() * 1_000_000
    }

    fn wrong_clock(library: &std::path::Path, hours: i64) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME", format!("{hours:+}h")),
            // A clock that is set wrong: those that measure durations go on as ever.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// When events of a task were recorded, by their type, in microseconds since 1970.
    async fn times(http: &Http, id: &str) -> Vec<(String, i64)> {
        let path = format!("/api/v1/tasks/{id}/events?limit=1000");
        let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
        let time = |event: &Value| {
            let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
            let kind = event["type"].as_str().unwrap().to_owned();
            (kind, at.as_microsecond())
        };
        page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(time)
            .collect()
    }

    /// A server with the right time, and a worker whose clock is an hour off: a wait of two seconds takes two seconds,
    /// a deadline of half an hour is not over, and the lease holds.
    async fn waits_are_those_of_the_database(hours: i64) {
        let Some(library) = library() else {
            return;
        };
        let off = told(&library, hours) - clock::wall_us();
        assert!((off - hours * HOUR_US).abs() < HOUR_US / 10, "{off}");
        let database = Database::create(Server::Postgres15);
        let dirs = [TestDir::new(), TestDir::new()];
        let stub = ModelStub::start(dirs[0].join("model.log"), &[]);
        let stub = stub.await.unwrap();
        let launch = |role: &str, dir: &TestDir, listen: &str| {
            std::fs::create_dir_all(dir.data()).unwrap();
            Launch::new(role, dir.data())
                .args([listen, "127.0.0.1:0"])
                .timeout(Duration::from_secs(60))
                .env("DATABASE_URL", database.url())
                .env("OPENAI_BASE_URL", stub.base_url())
        };
        let server = launch("serve", &dirs[0], "--listen").start().await.unwrap();
        let worker = launch("worker", &dirs[1], "--health-listen");
        let worker = wrong_clock(&library, hours)
            .into_iter()
            .fold(worker, |worker, (name, value)| worker.env(name, value));
        let mut worker = worker.start().await.unwrap();
        let maps = format!("/proc/{}/maps", worker.process().id());
        assert!(
            std::fs::read_to_string(maps)
                .unwrap()
                .contains("libfaketime"),
            "the worker has the right clock"
        );
        let http = server.http();
        let sleep = json!({"tool": "sleep_until", "arguments": {"seconds": SLEEP / 1_000_000}});
        let goal = json!({"key": "sleeps", "plan": [sleep], "answer": "awake"}).to_string();
        let body = json!({"task_type": "agent_run", "limits": {"timeout": "30m"},
            "input_data": {"prompt": goal}});
        let id = tasks::submit(http, &body).await;
        assert_eq!(tasks::answer(http, &id).await, "awake");
        let events = times(http, &id).await;
        let of = |kind: &str| {
            let found = events.iter().find(|(of, _)| of == kind);
            found.unwrap_or_else(|| panic!("no {kind}: {events:?}")).1
        };
        let slept = of("tool.completed") - of("tool.called");
        assert!(slept >= SLEEP, "it slept {slept} us: {events:?}");
        for kind in ["task.lease_lost", "task.clock_corrected"] {
            assert!(events.iter().all(|(of, _)| of != kind), "{events:?}");
        }
        let now = clock::wall_us();
        assert!(
            (of("task.completed") - now).abs() < HOUR_US / 10,
            "{events:?}"
        );
        for process in [&server, &worker] {
            assert!(process.alarms().is_empty(), "{:?}", process.alarms());
        }
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL and libfaketime: run by cargo xtask test --install"]
    async fn a_worker_whose_clock_is_an_hour_ahead_waits_as_long_as_others() {
        waits_are_those_of_the_database(1).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL and libfaketime: run by cargo xtask test --install"]
    async fn a_worker_whose_clock_is_an_hour_behind_waits_as_long_as_others() {
        waits_are_those_of_the_database(-1).await;
    }
}
