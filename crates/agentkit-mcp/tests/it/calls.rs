//! Calls: what comes back, what does not, and what is sent twice.

use std::time::{Duration, Instant};

use agentkit::tool::{Effect, OutputPart};
use agentkit_mcp::{HostSettings, Kind, Listed, Outcome, ToolCall};
use serde_json::{Value, json};

use crate::world::{Person, World, call, call_with, log, stub, until, with_effect};

#[tokio::test]
async fn results_of_each_kind_arrive() {
    let world = World::new(&json!({"s": stub(&json!({}))}));
    let server = world.ready("s").await;
    let image = call(&server, "image", json!({})).await.unwrap();
    assert!(
        matches!(&image.parts[..], [OutputPart::Image(bytes)] if bytes.starts_with(b"\x89PNG"))
    );
    assert_eq!(
        call(&server, "structured", json!({}))
            .await
            .unwrap()
            .content,
        json!({"n": 5})
    );
    let failed = call(&server, "fail", json!({})).await.unwrap_err();
    assert_eq!(
        (failed.code.as_str(), failed.message.as_str()),
        ("tool_error", "it did not work")
    );
    let odd = call(&server, "odd", json!({})).await.unwrap();
    assert!(
        odd.content.as_str().unwrap().contains("`hologram`"),
        "{odd:?}"
    );
    assert_eq!(
        call_with(&server, "key", json!({}), "k-1")
            .await
            .unwrap()
            .content,
        "k-1"
    );
    world.host.stop().await;
}

/// ahead-tools/1: noise before, between and after answers, written a byte at a time.
#[tokio::test]
async fn noise_is_not_fatal_and_not_answered() {
    let world = World::new(&json!({
        "noisy": stub(&json!({"noise": true, "byte_by_byte": true})),
        "echoing": stub(&json!({"noise": true, "echo": true})),
    }));
    for name in ["noisy", "echoing"] {
        let server = world.ready(name).await;
        for at in 0..20 {
            let output = call(
                &server,
                "echo",
                json!({"at": at, "text": "\u{2028}\r\u{1f600}"}),
            )
            .await
            .unwrap();
            let back: Value = serde_json::from_str(output.content.as_str().unwrap()).unwrap();
            assert_eq!(
                back,
                json!({"at": at, "text": "\u{2028}\r\u{1f600}"}),
                "{name}"
            );
        }
        assert_eq!(server.counts().connections, 1, "{name}");
    }
    world.host.stop().await;
}

/// ahead-tools/8: a server that fills stderr before it answers, without a newline.
#[tokio::test]
async fn stderr_is_drained_and_told() {
    let world = World::new(&json!({"s": stub(&json!({"stderr_bytes": 262_144}))}));
    let server = world.ready("s").await;
    assert_eq!(
        call(&server, "echo", json!({})).await.unwrap().content,
        "{}"
    );
    let failure = call(&server, "die", json!({})).await.unwrap_err();
    assert!(
        failure.message.contains("the end of stderr"),
        "{}",
        failure.message
    );
    world.host.stop().await;
}

/// ahead-tools/10: a server that dies in a call fails it at once, and its neighbour goes on.
#[tokio::test]
async fn a_death_in_a_call_is_told_at_once_and_the_next_call_finds_a_new_process() {
    let mut server = stub(&json!({}));
    server["timeout"] = "30m".into();
    let world = World::new(&json!({"s": server, "other": stub(&json!({}))}));
    let (server, other) = (world.ready("s").await, world.ready("other").await);
    let slow = call(&other, "slow", json!({"ms": 1_500}));
    let death = async {
        for tool in ["die", "close"] {
            let begun = Instant::now();
            let failure = call(&server, tool, json!({})).await.unwrap_err();
            assert_eq!(
                failure.code, "outcome_unknown",
                "{tool}: {}",
                failure.message
            );
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{tool}: not by a time limit"
            );
            assert_eq!(
                call(&server, "echo", json!({})).await.unwrap().content,
                "{}",
                "after {tool}"
            );
        }
    };
    let (slow, ()) = tokio::join!(slow, death);
    assert_eq!(slow.unwrap().content, "done");
    assert_eq!(
        (server.counts().connections, other.counts().connections),
        (3, 1)
    );
    assert_eq!(server.counts().unknown, 2);
    world.host.stop().await;
}

/// A `write` is sent once whatever becomes of it; with a key that the server deduplicates by, once more.
#[tokio::test]
async fn a_write_is_never_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let plan = json!({"log": path});
    let world = World::new(&json!({
        "write": stub(&plan),
        "keyed": with_effect(stub(&plan), Effect::Keyed),
    }));
    let (write, keyed) = (world.ready("write").await, world.ready("keyed").await);
    let failure = call_with(&write, "write_once", json!({}), "w")
        .await
        .unwrap_err();
    assert_eq!(failure.code, "outcome_unknown");
    assert!(!failure.retryable);
    let output = call_with(&keyed, "write_once", json!({}), "k")
        .await
        .unwrap();
    assert_eq!(output.content, "written 2");
    let sent = |key: &str| log(&path).iter().filter(|line| line["key"] == key).count();
    assert_eq!((sent("w"), sent("k")), (1, 2));
    assert_eq!((write.counts().again, keyed.counts().again), (0, 1));
    // The second answer is lost as well: if the model were told of a failure, it would call with another key.
    let failure = call_with(&keyed, "write_die", json!({}), "d")
        .await
        .unwrap_err();
    assert_eq!(failure.code, "outcome_unknown", "{}", failure.message);
    assert_eq!(sent("d"), 2);
    world.host.stop().await;
}

/// Promise P19: the server is gone for good after the first sending, which may have been done.
#[tokio::test]
async fn a_keyed_call_whose_second_sending_finds_nobody_is_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("server");
    let stub = stub(&json!({"cut": 1, "log": folder.path().join("log")}));
    std::os::unix::fs::symlink(stub["command"].as_str().unwrap(), &program).unwrap();
    let mut entry = with_effect(stub, Effect::Keyed);
    entry["command"] = json!(program);
    let world = World::new(&json!({"s": entry}));
    let server = world.ready("s").await;
    std::fs::remove_file(&program).unwrap();
    let failure = call_with(&server, "write", json!({}), "k")
        .await
        .unwrap_err();
    assert_eq!(failure.code, "outcome_unknown", "{}", failure.message);
    assert_eq!(log(&folder.path().join("log")).len(), 1);
    world.host.stop().await;
}

/// A server that dies in some of its calls is not away for longer after each death.
#[tokio::test]
async fn a_server_that_answers_between_its_deaths_is_soon_back() {
    let world = World::new(&json!({"s": with_effect(stub(&json!({})), Effect::Pure)}));
    let server = world.ready("s").await;
    for death in 0..7 {
        let echo = call(&server, "echo", json!({})).await;
        assert_eq!(echo.unwrap().content, "{}", "after {death} deaths");
        // Two of them: a call of this class is sent once more.
        assert!(call(&server, "die", json!({})).await.is_err());
    }
    world.host.stop().await;
}

/// Every call ends, and the server is told that the host waits no more.
#[tokio::test]
async fn a_call_without_an_answer_ends() {
    let mut server = stub(&json!({}));
    server["timeout"] = json!("400ms");
    let reading = with_effect(server.clone(), Effect::Pure);
    let keyed = with_effect(server.clone(), Effect::Keyed);
    let world = World::new(&json!({"write": server, "read": reading, "keyed": keyed}));
    let (write, read) = (world.ready("write").await, world.ready("read").await);
    let failure = call(&write, "write_lose", json!({})).await.unwrap_err();
    assert_eq!(failure.code, "outcome_unknown");
    assert!(
        failure.message.contains("400ms without a sign of progress"),
        "{}",
        failure.message
    );
    let keyed = world.ready("keyed").await;
    let failure = call(&keyed, "write_lose", json!({})).await.unwrap_err();
    assert_eq!(failure.code, "outcome_unknown", "{}", failure.message);
    let failure = call(&read, "write_lose", json!({})).await.unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("tool_timeout", true)
    );
    assert_eq!(
        call(&read, "cancelled", json!({})).await.unwrap().content,
        "true"
    );
    world.host.stop().await;
}

/// ahead-tools/24: progress keeps a call alive, and not for ever.
#[tokio::test]
async fn progress_resets_the_idle_limit_and_not_the_total() {
    let mut server = stub(&json!({}));
    server["timeout"] = json!("500ms");
    server["max_timeout"] = json!("3s");
    let world = World::new(&json!({"s": server}));
    let server = world.ready("s").await;
    let output = call(&server, "progress", json!({"ms": 1_500, "every_ms": 100}))
        .await
        .unwrap();
    assert_eq!(output.content, "done");
    let failure = call(&server, "progress", json!({"ms": 60_000, "every_ms": 1}))
        .await
        .unwrap_err();
    assert!(failure.message.contains("3s in all"), "{}", failure.message);
    world.host.stop().await;
}

/// Promise P10: answers without bounds cost their call, and little memory.
#[tokio::test]
async fn answers_without_bounds_cost_their_call() {
    let mut server = stub(&json!({}));
    server["timeout"] = "20s".into();
    let world = World::new(&json!({"s": server.clone(), "endless": server}));
    let (server, endless) = (world.ready("s").await, world.ready("endless").await);
    let before = resident();
    for (tool, arguments) in [
        ("large", json!({"bytes": 104_857_600})),
        ("values", json!({})),
    ] {
        let failure = call(&server, tool, arguments).await.unwrap_err();
        assert_eq!(
            failure.code, "result_too_large",
            "{tool}: {}",
            failure.message
        );
    }
    let (without_end, flood) = tokio::join!(
        call(&endless, "endless", json!({})),
        call(&server, "flood", json!({"count": 50_000}))
    );
    assert_eq!(without_end.unwrap_err().code, "outcome_unknown");
    assert_eq!(flood.unwrap().content, "done");
    let grown = resident().saturating_sub(before);
    println!("grown by {} MiB", grown / 1024);
    assert!(grown < 64 * 1024, "grown by {grown} KiB");
    assert_eq!(
        call(&endless, "echo", json!({})).await.unwrap().content,
        "{}"
    );
    assert_eq!(server.counts().connections, 1);
    world.host.stop().await;
}

/// KiB that this process holds.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// ahead-tools/28: elicitation is declared only where a person is there; a person's time is not the call's.
#[tokio::test]
async fn a_person_is_asked_if_there_is_one() {
    let mut legacy = stub(&json!({"era": "legacy"}));
    legacy["timeout"] = json!("300ms");
    legacy["max_timeout"] = json!("300ms");
    legacy["elicitation_timeout"] = json!("2s");
    let person = |after| HostSettings {
        answers: std::sync::Arc::new(Person { after }),
        ..HostSettings::default()
    };

    let world = World::with(&json!({"s": legacy}), person(Duration::from_millis(900)));
    let server = world.ready("s").await;
    let output = call(&server, "ask", json!({})).await.unwrap();
    assert_eq!(
        output.content,
        "heard {\"action\":\"accept\",\"content\":{\"name\":\"Ada\"}}"
    );
    world.host.stop().await;

    // Nobody answers in time: declined.
    let world = World::with(&json!({"s": legacy}), person(Duration::from_secs(600)));
    let server = world.ready("s").await;
    let output = call(&server, "ask", json!({})).await.unwrap();
    assert_eq!(output.content, "heard {\"action\":\"decline\"}");
    world.host.stop().await;

    let world = World::new(&json!({"s": legacy}));
    let server = world.ready("s").await;
    let output = call(&server, "ask", json!({})).await.unwrap();
    assert_eq!(
        output.content, r#"heard {"code":-32601,"message":"this client does not do that"}"#,
        "nobody is there: the request is refused"
    );
    world.host.stop().await;
}

/// ahead-tools/28: what a server of the newer era wants to be told comes back as an outcome of its own.
#[tokio::test]
async fn required_input_is_an_outcome_and_the_state_goes_back() {
    let world = World::new(&json!({"s": stub(&json!({"era": "modern"}))}));
    let server = world.ready("s").await;
    let definition = server.tool("ask_twice").unwrap();
    let mut answers = None;
    for round in 1..=2 {
        let call = ToolCall {
            definition: &definition,
            arguments: json!({}),
            key: "k",
            answers: answers.take(),
            has_person: true,
        };
        let Outcome::InputRequired { requests, state } = server.call(&call).await.unwrap() else {
            panic!()
        };
        assert_eq!(requests["who"]["params"]["message"], "What is your name?");
        assert_eq!(state.as_deref(), Some(&*format!("round-{round}")));
        answers = Some((
            json!({"who": {"action": "accept", "content": {"name": "Ada"}}}),
            state,
        ));
    }
    let call = ToolCall {
        definition: &definition,
        arguments: json!({}),
        key: "k",
        answers,
        has_person: true,
    };
    let Outcome::Done(output) = server.call(&call).await.unwrap() else {
        panic!()
    };
    assert_eq!(output.content, "hello Ada");
    world.host.stop().await;
}

/// An answer that cannot be read ends its call. A write whose answer cannot be read may have been done.
#[tokio::test]
async fn an_unreadable_answer_ends_its_call() {
    let limits = json!({"timeout": 600, "max_timeout": 600});
    let mut servers = json!({"s": stub(&json!({})), "w": stub(&json!({}))});
    for name in ["s", "w"] {
        for (key, value) in limits.as_object().unwrap() {
            servers[name][key] = value.clone();
        }
    }
    servers["s"]["tools"] = json!({"*": {"effect": "pure"}});
    let world = World::new(&servers);
    for (name, code) in [("s", "server_error"), ("w", "outcome_unknown")] {
        let server = world.ready(name).await;
        for tool in ["wrong", "no_result"] {
            let ended = call(&server, tool, json!({}));
            let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
            let failed = ended
                .expect("the call waits for no other answer")
                .unwrap_err();
            assert_eq!(failed.code, code, "{name} {tool}: {failed:?}");
        }
        let known = call(&server, "text_id", json!({})).await.unwrap();
        assert_eq!(known.content, "known");
        assert_eq!(server.counts().connections, 1, "{name}");
    }
    world.host.stop().await;
}

/// P13: a server that gives its credential away gives it to nobody.
#[tokio::test]
async fn answers_do_not_show_credentials() {
    let mut entry = stub(&json!({}));
    entry["env"] = json!({"STUB_TOKEN": "canary-of-the-stub", "STUB_ROOT": "structured"});
    let world = World::new(&json!({"s": entry}));
    let server = world.ready("s").await;
    for how in ["text", "structured", "tool_error", "error"] {
        let told = match call(&server, "leak", json!({"how": how})).await {
            Ok(output) => format!("{} {:?}", output.content, output.parts),
            Err(failure) => failure.message,
        };
        assert!(told.contains("[secret]"), "{how}: {told}");
        assert!(!told.contains("canary"), "{how}: {told}");
        // A value that is no credential stays, as it may be a path or a mode.
        assert!(how != "structured" || told.contains("structured"), "{told}");
    }
    world.host.stop().await;
}

/// A server whose tools are known from an earlier start is waited for. What it lists then has to be what was approved.
#[tokio::test]
async fn a_call_waits_for_a_server_that_starts() {
    let slow =
        json!({"start_ms": 1_500, "tools": [{"name": "echo", "inputSchema": {"type": "object"}}]});
    let world = World::new(&json!({"known": stub(&slow), "changed": stub(&slow)}));
    let approved = |description: Option<&str>| {
        let mut raw = json!({"name": "echo", "inputSchema": {"type": "object"}});
        if let Some(description) = description {
            raw["description"] = description.into();
        }
        [Listed::of(Kind::Tool, "echo", &raw)]
    };
    let known = world.server("known");
    known.approve(&approved(None));
    let changed = world.server("changed");
    changed.approve(&approved(Some("what it was")));
    assert!(known.listing().is_none() && changed.listing().is_none());
    let echoed = call(&known, "echo", json!({"at": 1})).await.unwrap();
    assert_eq!(echoed.content, json!({"at": 1}).to_string());
    let held = call(&changed, "echo", json!({})).await.unwrap_err();
    assert_eq!(held.code, "tool_held");
    assert!(held.message.contains("is held"), "{held:?}");
    world.host.stop().await;
}

/// ahead-tools/34: a tool of 2025-11-25 that is called as a task and in no other way.
#[tokio::test]
async fn a_call_that_is_a_task_ends_with_the_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let capabilities =
        json!({"tools": {}, "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}});
    let plan = json!({"era": "legacy", "capabilities": capabilities, "log": path});
    let mut hasty = stub(&plan);
    hasty["timeout"] = "2s".into();
    hasty["max_timeout"] = "2s".into();
    let world = World::new(&json!({
        "s": stub(&plan), "keyed": with_effect(stub(&plan), Effect::Keyed), "hasty": hasty,
    }));
    let server = world.ready("s").await;
    let done = call(&server, "write_task", json!({"polls": 3})).await;
    assert_eq!(done.unwrap().content, "done after 3 looks");
    // The task is gone with its server. Whether it was done is not known.
    let lost = call_with(
        &server,
        "write_task",
        json!({"polls": 9, "die_at": 2}),
        "lost",
    )
    .await;
    let lost = lost.unwrap_err();
    assert_eq!(lost.code, "outcome_unknown", "{}", lost.message);
    // The task of the keyed call is gone as well, and who has the key is asked again by the engine.
    let keyed = world.ready("keyed").await;
    let lost = call_with(
        &keyed,
        "write_task",
        json!({"polls": 9, "die_at": 2}),
        "lost",
    )
    .await;
    assert_eq!(lost.unwrap_err().code, "outcome_unknown");
    // One that takes too long is cancelled.
    let hasty = world.ready("hasty").await;
    let late = call_with(&hasty, "write_task", json!({"polls": 1_000_000}), "late").await;
    let late = late.unwrap_err();
    assert_eq!(late.code, "outcome_unknown", "{}", late.message);
    let is_told = || log(&path).iter().any(|line| line["cancelled"] == "task-1");
    until(is_told, "the server is told").await;
    world.host.stop().await;
}
