//! Schemas, patterns and templates that ask for hours or gigabytes, fifty at once beside fifty honest
//! tasks (promise P21, security/S1, security/S2 and security/S3).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use ops_testkit::{Http, Opspawn, wait_until};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// What the server may take of the memory, in KiB.
const MAX_KIB: u64 = 512 * 1024;
/// Longer than all bombs take one after the other on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(240);
/// An answer of the server is slow, not dead: other tests may have the cores.
const SLOW: Duration = Duration::from_secs(5);

/// A task of the scripted model that answers with this text.
fn scripted(answer: &str, config: Value) -> Value {
    let script = format!("[[turn]]\nanswer = '''{answer}'''\n");
    let mut config = config;
    config["provider"] = "scripted".into();
    config["script"] = script.into();
    json!({"task_type": "agent_run", "input_data": {"prompt": "go", "agent_config": config}})
}

/// Bombs that are refused with the submit, with what the refusal names.
fn refused() -> Vec<(Value, &'static str)> {
    let patterns: serde_json::Map<String, Value> = (0..200)
        .map(|n| {
            (
                format!("p{n}"),
                json!({"pattern": format!(r"\pL{{100}}{n}")}),
            )
        })
        .collect();
    let schema = |schema: Value| scripted("1", json!({"output_schema": schema}));
    let deep = (0..50).fold(json!({}), |inner, _| json!({"items": {"items": inner}}));
    vec![
        (
            schema(json!({"type": "object", "properties": patterns})),
            "schema_too_large",
        ),
        (schema(json!({"items": deep})), "nested deeper"),
        (schema(json!({"$ref": "#"})), "invalid_schema"),
        (
            scripted(&format!("{{{{ 1{} }}}}", "+1".repeat(7_500)), json!({})),
            "operators",
        ),
        (
            scripted(
                "{% set n = namespace(x=1) %}{% set n.x = n %}{{ n }}",
                json!({}),
            ),
            "namespace",
        ),
    ]
}

/// An operation on two expressions, or a number.
fn expressions() -> Value {
    let operation = |name: &str| {
        json!({
            "type": "object",
            "properties": {"op": {"const": name}, "left": {"$ref": "#"}, "right": {"$ref": "#"}},
            "required": ["op", "left", "right"],
        })
    };
    json!({"anyOf": [operation("add"), operation("sub"), operation("mul"), {"type": "number"}]})
}

/// Bombs that a task goes off with, each with the code that the task fails with.
fn accepted() -> Vec<(Value, &'static str)> {
    let wrong = (0..12).fold(
        json!("x"),
        |left, _| json!({"op": "mul", "left": left, "right": 1}),
    );
    let others = (0..1_000).map(|n| json!({"required": [format!("a{n}")]}));
    let many = json!({"items": {"anyOf": others.chain([json!({})]).collect::<Vec<_>>()}});
    let items = Value::Array(vec![json!({}); 50_000]);
    let checked = |schema: Value, answer: &Value| {
        scripted(
            &answer.to_string(),
            json!({"output_schema": schema, "max_reasks": 0}),
        )
    };
    let loops = "{% for a in range(90000) %}{% for b in range(90000) %}x{% endfor %}{% endfor %}";
    let doubles = (0..60)
        .map(|n| format!("{{% set l{} = l{n} + l{n} %}}", n + 1))
        .collect::<String>();
    vec![
        (checked(expressions(), &wrong), "output_mismatch"),
        (checked(many, &items), "schema_too_costly"),
        (scripted(loops, json!({})), "model_invalid_request"),
        (
            scripted(
                &format!("{{% set l0 = [1] %}}{doubles}{{{{ l60|length }}}}"),
                json!({}),
            ),
            "model_invalid_request",
        ),
    ]
}

/// Thirty-seven definitions that refer to the next one twice: 2^36 questions about the number 1.
fn doubling() -> Value {
    let mut defs: serde_json::Map<String, Value> = (0..36)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            (format!("d{n}"), json!({"allOf": [next, next]}))
        })
        .collect();
    defs.insert("d36".to_owned(), json!({}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

/// Asks for the health of the server until told to stop; gives how long each answer took, in order of time.
async fn watch(http: Http, mut stop: tokio::sync::oneshot::Receiver<()>) -> Vec<Duration> {
    let mut took = Vec::new();
    while stop.try_recv().is_err() {
        let begun = Instant::now();
        http.get("/health").await.unwrap().ok().unwrap();
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.sort();
    took
}

fn most_memory(server: &mut Opspawn) -> u64 {
    let path = format!("/proc/{}/status", server.process().id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).unwrap()
}

async fn ends(http: &Http, id: &str) -> Value {
    let ended = || async {
        let task = tasks::get(http, id).await;
        let state = task["state"].as_str()?;
        ["completed", "failed"].contains(&state).then_some(task)
    };
    let task = wait_until("the end of a task", TIMEOUT, ended).await;
    task.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_bombs_beside_fifty_honest_tasks() {
    let test_dir = TestDir::new();
    let mut server = test_dir.dev().start().await.unwrap();
    let http = server.http().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let watching = tokio::spawn(watch(http.clone(), stopped));

    // Twenty-five refused ones, twenty accepted ones, and five agents.
    let refused = refused().into_iter().cycle().take(25);
    let refused = refused.map(|(body, says)| {
        let http = http.clone();
        async move {
            let reply = http.post("/api/v1/tasks/", &body).await.unwrap();
            let text = reply.text();
            assert_eq!(reply.status.as_u16(), 422, "{text}");
            assert!(
                text.contains("invalid_body") && text.contains(says),
                "{text}"
            );
        }
    });
    let accepted = accepted().into_iter().cycle().take(20);
    let accepted = accepted.map(|(body, code)| {
        let http = http.clone();
        async move {
            let id = tasks::submit(&http, &body).await;
            let task = ends(&http, &id).await;
            assert_eq!(task["error"]["code"], code, "{task:#}");
        }
    });
    let agents = (0..5).map(|n| {
        let http = http.clone();
        async move {
            let instructions = format!("{{{{ 1{} }}}}", "+1".repeat(7_500));
            let agent = json!({"name": format!("a{n}"), "instructions": instructions});
            let path = format!("/api/v1/agents/a{n}");
            let request = http.request(Method::PUT, &path, Some(&agent)).unwrap();
            let reply = http.send(request).await.unwrap();
            assert_eq!(reply.status.as_u16(), 422, "{}", reply.text());
        }
    });
    let honest = (0..50).map(|n| {
        let http = http.clone();
        async move {
            let (answer, config) = match n % 2 {
                0 => ("1".to_owned(), json!({"output_schema": doubling()})),
                _ => (format!("{{{{ {n} + 0 }}}}"), json!({})),
            };
            let id = tasks::submit(&http, &scripted(&answer, config)).await;
            let task = ends(&http, &id).await;
            assert_eq!(task["status"], "completed", "{task:#}");
        }
    });
    tokio::join!(
        join_all(refused),
        join_all(accepted),
        join_all(agents),
        join_all(honest),
    );

    stop.send(()).unwrap();
    let took = watching.await.unwrap();
    let (asked, slowest) = (took.len(), took[took.len() - 1]);
    let p99 = took[(asked * 99).div_ceil(100) - 1];
    println!("health: {asked} answers, p99 {p99:?}, the slowest in {slowest:?}");
    assert!(asked > 10 && slowest < SLOW, "{asked} {slowest:?}");
    let kib = most_memory(&mut server);
    println!("memory: {kib} KiB at the most");
    assert!(kib < MAX_KIB, "{kib} KiB");
    assert_calm(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_sigterm_are_kept_while_bombs_go_off() {
    let test_dir = TestDir::new();
    let mut server = test_dir.dev().start().await.unwrap();
    let http = server.http().clone();
    let (costly, _) = accepted().swap_remove(1);
    for _ in 0..10 {
        tasks::submit(&http, &costly).await;
    }
    // It stands behind the others when its time is over.
    let mut late = costly.clone();
    late["limits"] = json!({"timeout": 0.5});
    let id = tasks::submit(&http, &late).await;
    let task = ends(&http, &id).await;
    assert_eq!(task["error"]["code"], "timeout", "{task:#}");
    for _ in 0..10 {
        tasks::submit(&http, &costly).await;
    }
    let status = server.stop(Duration::from_secs(60)).await.unwrap();
    assert!(status.success(), "{status}\n{}", server.output());
}
