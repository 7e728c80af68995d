//! `sql_query`, through the program: declared in the configuration file, judged by the policy.

use std::fs;

use ops_testkit::Http;
use serde_json::Value;

use super::{tasks, test_dir::TestDir};

/// A SQLite file, made by the program that every machine of the tests has.
fn database(dir: &TestDir, name: &str) {
    fs::create_dir_all(dir.data()).unwrap();
    let script = format!(
        "import sqlite3\nc = sqlite3.connect({:?})\n\
         c.executescript('create table orders (id, total); insert into orders values (1, 12.5), (2, 7)')\n",
        dir.data().join(name)
    );
    let made = std::process::Command::new("python3")
        .args(["-c", &script])
        .status();
    assert!(made.unwrap().success());
}

#[tokio::test]
async fn a_mistake_refuses_to_start_and_names_the_line() {
    let dir = TestDir::new();
    for (text, says) in [
        (
            "# x\n[tools.sql.shop]\ndescription = 'x'\nfil = 'x'\n",
            "line 4: database `shop`, `fil`: there is no key `fil`; did you mean `file`?",
        ),
        (
            "# x\n[tools.sql.shop]\ndescription = 'x'\n",
            "line 2: database `shop`: write either `file`",
        ),
        (
            "# x\n[tools.sql.shop]\ndescription = 'x'\nfile = 'absent.db'\n",
            "line 2: database `shop`: `file` names",
        ),
    ] {
        dir.configure(text);
        let ran = dir.cli(&["run", "x"]).run().await.ends(2);
        assert!(ran.stderr.contains(says), "{text}: {ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_asks_a_database_within_the_policy() {
    let dir = TestDir::new();
    database(&dir, "shop.db");
    dir.configure(
        "[tools.sql.shop]\ndescription = 'Orders'\nfile = 'shop.db'\n\
         [tools.sql.staff]\ndescription = 'Salaries'\nfile = 'shop.db'\n",
    );
    fs::write(
        dir.data().join("policy.toml"),
        "[[rule]]\naction = 'deny'\nreason = 'salaries'\nwhen = { touches = { service = 'database staff' } }\n",
    )
    .unwrap();
    let doctor = dir.cli(&["doctor"]).run().await.ends(0);
    assert!(doctor.stdout.contains("shop answers"), "{doctor:#?}");
    let server = dir.server().await;
    let http = server.http();
    let (answer, events) = asked(
        http,
        &[
            "{ tool = \"sql_query\", arguments = { database = \"staff\", query = \"SELECT 1\" } }",
            "{ tool = \"sql_query\", arguments = { database = \"shop\", query = \"DELETE FROM orders\" } }",
            "{ tool = \"sql_query\", arguments = { database = \"shop\", query = \"SELECT sum(total) AS sum FROM orders\" } }",
        ],
    )
    .await;
    assert!(answer.contains("| 19.5 |"), "{answer}");
    let codes: Vec<&Value> = events.iter().map(|event| &event["error"]["code"]).collect();
    assert_eq!(codes, ["denied", "query_refused"], "{events:#?}");
}

/// SQLite looks at no clock within a function, and at no bound over the columns of a row.
#[tokio::test(flavor = "multi_thread")]
async fn no_query_takes_the_server_along() {
    let dir = TestDir::new();
    database(&dir, "shop.db");
    dir.configure(
        "[tools.sql.shop]\ndescription = 'Orders'\nfile = 'shop.db'\ntimeout = '1s'\nconcurrency = 1\n",
    );
    let mut server = dir.server().await;
    let endless = "select instr(printf('%.3999999c', 'a'), printf('%.1999999c', 'a') || 'b')";
    let wide = vec!["printf('%.3999999c', 'a')"; 400].join(", ");
    let query = |sql: &str| {
        format!(
            "{{ tool = \"sql_query\", arguments = {{ database = \"shop\", query = \"{sql}\" }} }}"
        )
    };
    let calls = [
        query(endless),
        query(&format!("select {wide}")),
        query("select count(*) as n from orders"),
    ];
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let (answer, events) = asked(server.http(), &calls).await;
    assert!(answer.contains("| 2 |"), "{answer}");
    let codes: Vec<&Value> = events.iter().map(|event| &event["error"]["code"]).collect();
    assert_eq!(codes, ["query_timeout", "query_failed"], "{events:#?}");
    let stopped = server.stop(std::time::Duration::from_secs(30)).await;
    assert!(stopped.unwrap().success());
}

/// The answer of a task whose script makes these calls, and the calls that failed.
async fn asked(http: &Http, calls: &[&str]) -> (String, Vec<Value>) {
    let id = tasks::scripted(http, calls).await;
    let ended = tasks::ended(http, &id).await;
    assert_eq!(ended["status"], "completed", "{ended:#}");
    // A call that the gate refuses has its error with the call.
    let mut failed = tasks::events(http, &id, "tool.called").await;
    failed.extend(tasks::events(http, &id, "tool.failed").await);
    failed.retain(|event| event["error"]["code"] != Value::Null);
    (ended["output"].to_string(), failed)
}
