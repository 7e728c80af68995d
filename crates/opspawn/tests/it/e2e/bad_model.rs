//! Endpoints that cannot be used: the task ends with what is wrong and what to set.

use ops_testkit::{ModelStub, Opspawn};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// A server that gives up fast, on this endpoint.
async fn server(test_dir: &TestDir, base_url: &str) -> Opspawn {
    test_dir
        .dev()
        .env("OPENAI_BASE_URL", base_url)
        .env("OPENAI_API_KEY", "sk-wrong-but-secret")
        .env("OPSPAWN_MODEL_TRIES", "2")
        .env("OPSPAWN_MAX_ATTEMPTS", "2")
        .env("OPSPAWN_BACKOFF", "50ms")
        .start()
        .await
        .unwrap()
}

async fn stub(test_dir: &TestDir, args: &[&str]) -> ModelStub {
    ModelStub::start(test_dir.join("stub.jsonl"), args)
        .await
        .unwrap()
}

/// A task that failed with this code; its message has all of this in it.
#[track_caller]
fn assert_failed(task: &Value, code: &str, says: &[&str]) {
    assert_eq!(
        (&task["status"], &task["error"]["code"]),
        (&json!("failed"), &json!(code)),
        "{task:#}"
    );
    let message = task["error_message"].as_str().unwrap();
    for word in says {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
    assert_eq!(tasks::tokens(task), (0, 0));
}

#[tokio::test]
async fn a_wrong_key_fails_at_once_and_names_its_variable() {
    let test_dir = TestDir::new();
    let stub = stub(&test_dir, &["--faults", "401,403"]).await;
    let server = server(&test_dir, &stub.base_url()).await;
    let task = tasks::run(server.http(), "hello").await;
    assert_failed(&task, "model_unauthorized", &["401", "OPENAI_API_KEY"]);
    let task = tasks::run(server.http(), "hello").await;
    assert_failed(
        &task,
        "model_unauthorized",
        &["403", "OPENAI_API_KEY", "gpt-4o-mini"],
    );
    assert_eq!(
        (&task["attempt"], &task["dead_letter"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(stub.requests().unwrap().len(), 2, "neither is tried again");
    let events = tasks::events(server.http(), &tasks::id(&task), "model.failed").await;
    for shown in [server.output(), task.to_string(), json!(events).to_string()] {
        assert!(!shown.contains("sk-wrong"), "{shown}");
    }
    assert_calm(&server);
}

#[tokio::test]
async fn no_key_at_all_is_told_as_such() {
    let test_dir = TestDir::new();
    let stub = stub(&test_dir, &["--faults", "401"]).await;
    let run = test_dir
        .cli(&["run", "hello"])
        .env("OPENAI_BASE_URL", stub.base_url());
    run.run()
        .await
        .ends(3)
        .says(&["no API key was sent: set OPENAI_API_KEY"]);
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_is_tried_again_then_the_task_is_a_dead_letter() {
    let test_dir = TestDir::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = server(&test_dir, &format!("http://{nobody}/v1")).await;
    let task = tasks::run(server.http(), "hello").await;
    let says = [
        "cannot be reached",
        &nobody.to_string(),
        "is the server up",
        "OPENAI_BASE_URL",
        "refused",
    ];
    assert_failed(&task, "model_unreachable", &says);
    assert_eq!(
        (&task["attempt"], &task["dead_letter"]),
        (&json!(2), &json!(true)),
        "{task:#}"
    );
    let failures = tasks::events(server.http(), &tasks::id(&task), "model.failed").await;
    assert_eq!(
        failures.len(),
        4,
        "two tries in each of two attempts: {failures:#?}"
    );
    assert!(
        failures.iter().all(|failed| failed["charged_tokens"] == 0),
        "nothing was served"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn an_endpoint_that_answers_garbage_is_given_up_and_another_task_goes_on() {
    let test_dir = TestDir::new();
    let faults = "garbage,error200,truncate,garbage";
    let stub = stub(&test_dir, &["--faults", faults]).await;
    let server = server(&test_dir, &stub.base_url()).await;
    let task = tasks::run(server.http(), "hello").await;
    assert_failed(
        &task,
        "model_malformed_response",
        &["the answer of openai/gpt-4o-mini", "OPENAI_BASE_URL"],
    );
    assert_eq!(task["dead_letter"], true, "{task:#}");
    assert_eq!(stub.requests().unwrap().len(), 4);
    let id = tasks::agent(server.http(), "hello again").await;
    assert_eq!(tasks::answer(server.http(), &id).await, "done");
    assert_calm(&server);
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_asked_a_few_times_at_most() {
    let test_dir = TestDir::new();
    let stub = stub(&test_dir, &[]).await;
    let server = server(&test_dir, &stub.base_url()).await;
    let task = tasks::run(
        server.http(),
        &json!({"plan": [], "answer": ""}).to_string(),
    )
    .await;
    assert_eq!(task["error"]["code"], "model_unusable", "{task:#}");
    assert!(
        task["error_message"]
            .as_str()
            .unwrap()
            .contains("use another model"),
        "{task:#}"
    );
    assert_eq!(stub.requests().unwrap().len(), 4, "three repairs");
    assert_calm(&server);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_given_up_in_time() {
    let test_dir = TestDir::new();
    let stub = stub(&test_dir, &["--faults", "hang"]).await;
    let run = test_dir
        .cli(&["run", "hello"])
        .env("OPENAI_BASE_URL", stub.base_url())
        .env("OPSPAWN_MODEL_TIMEOUT", "500ms");
    let ran = run.run().await.ends(0);
    assert_eq!(ran.stdout, "done\n", "the second try is answered: {ran:#?}");
    ran.says(&["did not answer within 0.5 s"]);
}

#[tokio::test]
async fn a_base_url_that_is_none_is_told_at_the_start() {
    let test_dir = TestDir::new();
    let ran = test_dir
        .cli(&["dev"])
        .env("OPENAI_BASE_URL", "not a url")
        .run()
        .await;
    assert!(![Some(0), Some(101)].contains(&ran.code), "{ran:#?}");
    ran.says(&["base URL"]);
}
