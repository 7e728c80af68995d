//! Streams of events: from any event on, over a kill of the server, and to the end.

use std::time::Duration;

use ops_proto::{
    tonic::{Code, Request, Streaming},
    v1::{FollowTaskRequest, FollowTaskResponse, follow_task_response::Item},
};
use ops_testkit::Opspawn;
use serde_json::{Value, json};

use super::{
    super::{tasks, test_dir::TestDir},
    Clients, code, server, value,
};

const ASKING: &str = r#"
[[turn]]
calls = [{ tool = "ask_human", arguments = { question = "Which colour?" } }]
[[turn]]
answer = "You said {{ last }}."
"#;

fn asking() -> Value {
    json!({"task_type": "agent_run", "input_data": {
        "prompt": "paint", "agent_config": {"provider": "scripted", "script": ASKING},
    }})
}

async fn follow(server: &Opspawn, task: &str, after: u64) -> Streaming<FollowTaskResponse> {
    let request = FollowTaskRequest {
        task_id: task.to_owned(),
        after,
        deltas: false,
    };
    let mut clients = Clients::of(server).await;
    clients
        .tasks
        .follow_task(request)
        .await
        .unwrap()
        .into_inner()
}

/// The events up to the end of the stream, and how the stream ended.
async fn events(stream: &mut Streaming<FollowTaskResponse>) -> (Vec<(u64, String)>, Option<u64>) {
    let mut events = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
        match next.expect("the stream is silent") {
            Ok(Some(item)) => match item.item.unwrap() {
                Item::Event(event) => {
                    assert_eq!(value(event.data.as_ref())["type"], event.r#type.as_str());
                    events.push((event.seq, event.r#type));
                }
                Item::End(end) => {
                    assert!(stream.message().await.unwrap().is_none());
                    return (events, Some(end.last_seq));
                }
                Item::Delta(_) | Item::Resync(_) | Item::Idle(_) => {}
            },
            Ok(None) | Err(_) => return (events, None),
        }
    }
}

#[tokio::test]
async fn a_follower_goes_on_after_a_kill_without_a_gap_or_a_repetition() {
    let test_dir = TestDir::new();
    let mut first = server(&test_dir).await;
    let id = tasks::submit(first.http(), &asking()).await;
    tasks::in_state(first.http(), &id, &["waiting"]).await;
    let mut stream = follow(&first, &id, 0).await;
    // The log up to the question is there at once.
    let mut seen = Vec::new();
    let waiting = tasks::get(first.http(), &id).await;
    let log = format!("/api/v1/tasks/{id}/events?limit=1000");
    let log: Value = first.http().get(&log).await.unwrap().json().unwrap();
    let so_far = log["events"].as_array().unwrap().len();
    while seen.len() < so_far {
        let Some(Item::Event(event)) = stream.message().await.unwrap().unwrap().item else {
            continue;
        };
        seen.push((event.seq, event.r#type));
    }
    first.sigkill().unwrap();
    assert_eq!(events(&mut stream).await, (vec![], None));

    let second = server(&test_dir).await;
    let last = seen.last().unwrap().0;
    let mut stream = follow(&second, &id, last).await;
    let signal = json!({"name": waiting["state_detail"]["signals"][0], "payload": "red"});
    let path = format!("/api/v1/tasks/{id}/signals");
    second
        .http()
        .post(&path, &signal)
        .await
        .unwrap()
        .ok()
        .unwrap();
    let (rest, end) = events(&mut stream).await;
    seen.extend(rest);
    let numbers: Vec<u64> = seen.iter().map(|(seq, _)| *seq).collect();
    let all: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, all);
    assert_eq!(end, numbers.last().copied());
    assert_eq!(seen.last().unwrap().1, "task.completed");
    // A follower that comes later sees the same log, from any event on.
    for after in [0, 1, last, numbers.len() as u64] {
        let again = events(&mut follow(&second, &id, after).await).await;
        let index = usize::try_from(after).unwrap();
        assert_eq!(again, (seen[index..].to_vec(), end), "after {after}");
    }
}

#[tokio::test]
async fn a_place_beyond_the_log_starts_it_again_and_a_stop_ends_a_stream_as_passing() {
    let test_dir = TestDir::new();
    let mut server = server(&test_dir).await;
    let id = tasks::submit(server.http(), &asking()).await;
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let mut stream = follow(&server, &id, 1_000).await;
    let Some(Item::Resync(resync)) = stream.message().await.unwrap().unwrap().item else {
        panic!("no resync")
    };
    assert_eq!(resync.after, 1_000);
    let Some(Item::Event(event)) = stream.message().await.unwrap().unwrap().item else {
        panic!("no event")
    };
    assert_eq!(event.seq, 1);
    // The client's own deadline ends a stream as well.
    let mut clients = Clients::of(&server).await;
    let mut request = Request::new(FollowTaskRequest {
        task_id: id.clone(),
        after: 0,
        deltas: true,
    });
    request.set_timeout(Duration::from_millis(300));
    let mut short = clients
        .tasks
        .follow_task(request)
        .await
        .unwrap()
        .into_inner();
    let over = loop {
        match short.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if the task had"),
            Err(status) => break status,
        }
    };
    assert!(
        matches!(over.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{over:?}"
    );
    let begun = std::time::Instant::now();
    let stopping = async {
        let status = server.stop(Duration::from_secs(20)).await.unwrap();
        (status, begun.elapsed())
    };
    let ending = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended as if the task had"),
                Err(status) => break status,
            }
        }
    };
    let ((status, took), ended) = tokio::join!(stopping, ending);
    assert!(status.success());
    assert!(
        took < Duration::from_secs(8),
        "an open stream held up the stop for {took:?}"
    );
    assert_eq!(
        (ended.code(), code(&ended).as_str()),
        (Code::Unavailable, "shutting_down")
    );
}
