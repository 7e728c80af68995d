//! Following a task: no gap, no repeat, from any place.

use std::{sync::Arc, time::Duration};

use ops_core::{
    TaskId, TenantId,
    event::StepStatus,
    ports::{Delta, Live as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    client::{Event, Events, request},
    harness::{App, event},
    logs::worked,
};

fn path(id: &str) -> String {
    format!("/api/v1/tasks/{id}/events")
}

/// Checks that the events are those of the log from `first` on, and then the end.
#[track_caller]
fn whole_from(first: u64, events: &[Event], log: &[Value]) {
    let (end, events) = events.split_last().expect("there is an end");
    assert_eq!(end.name, "end");
    assert_eq!(end.id, None);
    assert_eq!(end.json()["last_seq"], log.len());
    let expected = &log[usize::try_from(first).unwrap() - 1..];
    assert_eq!(events.len(), expected.len());
    for (event, expected) in events.iter().zip(expected) {
        assert_eq!(event.id, expected["seq"].as_u64());
        assert_eq!(event.name, expected["type"].as_str().unwrap());
        assert_eq!(&event.json(), expected);
    }
}

async fn log(app: &App, id: &str) -> Vec<Value> {
    let page = app.get(&format!("{}?limit=1000", path(id))).await.json();
    page["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn from_each_last_event_id_there_is_no_gap_and_no_repeat() {
    let app = App::start().await;
    let id = worked(&app).await;
    let log = log(&app, &id).await;
    for last in 0..=log.len() as u64 {
        let text = last.to_string();
        let header = Events::open(app.addr, &path(&id), &[("last-event-id", &text)]).await;
        whole_from(last + 1, &header.all().await, &log);
        for query in [format!("last_event_id={last}"), format!("after={last}")] {
            let stream = Events::open(app.addr, &format!("{}?{query}", path(&id)), &[]).await;
            whole_from(last + 1, &stream.all().await, &log);
        }
    }
    // A browser comes back to the same address, with the header.
    let both = format!("{}?after=2", path(&id));
    let stream = Events::open(app.addr, &both, &[("last-event-id", "6")]).await;
    whole_from(7, &stream.all().await, &log);
}

#[tokio::test]
async fn a_live_task_is_followed_to_its_end_and_pages_agree() {
    let app = Arc::new(App::start().await);
    let id = app.echo().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(Events::open(app.addr, &path(&id), &[]).await);
    }
    let reading: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(stream.all()))
        .collect();
    let task = app.claim().await.task.id;
    for number in 0..200 {
        let body = json!({"name": "t", "input": number});
        let step = event(number, StepStatus::Started, body);
        app.append(task, vec![step], ops_core::Next::Continue).await;
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let result = ops_core::Json::from(&json!({}));
    app.append(task, Vec::new(), ops_core::Next::Complete { result })
        .await;
    let log = log(&app, &id).await;
    assert_eq!(log.len(), 203);
    for reading in reading {
        whole_from(1, &reading.await.unwrap(), &log);
    }
}

#[tokio::test]
async fn a_follower_that_keeps_coming_back_misses_nothing_while_the_log_grows() {
    let app = Arc::new(App::start().await);
    let id = app.echo().await;
    let (addr, follow) = (app.addr, path(&id));
    let (sender, mut followed) = tokio::sync::watch::channel(0_u64);
    let following = tokio::spawn(async move {
        let mut seen = Vec::new();
        let mut visits = 0;
        loop {
            visits += 1;
            let last = seen.last().copied().unwrap_or(0_u64).to_string();
            let mut stream = Events::open(addr, &follow, &[("last-event-id", &last)]).await;
            for _ in 0..visits % 7 + 1 {
                let event = stream.next().await.unwrap();
                if event.name == "end" {
                    return (seen, visits);
                }
                seen.extend(event.id);
                sender.send_replace(seen.last().copied().unwrap_or(0));
            }
        }
    });
    let task = app.claim().await.task.id;
    for number in 0..150 {
        // It is never further behind than a few events: each visit meets a log that grows.
        let near = |seen: &u64| u64::from(number) < *seen + 5;
        followed.wait_for(near).await.unwrap();
        let step = event(number, StepStatus::Started, json!({"name": "t"}));
        app.append(task, vec![step], ops_core::Next::Continue).await;
    }
    let result = ops_core::Json::from(&json!({}));
    let next = ops_core::Next::Complete { result };
    app.append(task, Vec::new(), next).await;
    let (seen, visits) = following.await.unwrap();
    assert_eq!(seen, (1..=153).collect::<Vec<_>>());
    // A visit takes seven events at the most.
    assert!(visits >= 153 / 7, "it came back {visits} times");
}

#[tokio::test]
async fn the_words_of_an_answer_come_without_an_id() {
    let app = App::start().await;
    let id = app.echo().await;
    let mut stream = Events::open(app.addr, &path(&id), &[]).await;
    assert_eq!(stream.next().await.unwrap().name, "task.submitted");
    let task: TaskId = id.parse().unwrap();
    let delta = Delta {
        step: 1,
        attempt: 1,
        offset: 7,
        text: "two\nlines".into(),
    };
    // The follower listens before its first event is sent.
    app.live.delta(TenantId::DEFAULT, task, delta);
    let event = stream.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.id), ("delta", None));
    assert_eq!(
        event.json(),
        json!({"step": 1, "attempt": 1, "offset": 7, "text": "two\nlines"})
    );
    app.post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))
        .await;
    let rest = stream.all().await;
    let names: Vec<_> = rest.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["task.cancelled", "end"]);
}

#[tokio::test]
async fn a_place_beyond_the_end_is_answered_with_resync_and_the_whole_log() {
    let app = App::start().await;
    let id = worked(&app).await;
    let log = log(&app, &id).await;
    let stream = Events::open(app.addr, &path(&id), &[("last-event-id", "10")]).await;
    let events = stream.all().await;
    assert_eq!(events[0].name, "resync");
    assert_eq!(events[0].id, None);
    assert_eq!(
        events[0].json(),
        json!({"last_event_id": 10, "last_seq": 9})
    );
    whole_from(1, &events[1..], &log);
}

#[tokio::test]
async fn a_last_event_id_that_is_none_gives_422() {
    let app = App::start().await;
    let id = worked(&app).await;
    let large = "9223372036854775808";
    for bad in ["x", "-1", "1.5", "+1", large, "99999999999999999999999"] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", bad)];
        let reply = request(app.addr, "GET", &path(&id), &headers, b"").await;
        let problem = reply.problem(422, "invalid_query");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("Last-Event-ID"),
            "{problem}"
        );
        let place = &problem["errors"][0]["loc"];
        assert_eq!(*place, serde_json::json!(["header", "Last-Event-ID"]));
    }
    let query = format!("{}?last_event_id={large}", path(&id));
    app.get(&query).await.problem(422, "invalid_query");
    let headers = [("accept", "text/event-stream")];
    let missing = "/api/v1/tasks/task_6ba7b810-9dad-41d1-80b4-00c04fd430c8/events";
    let reply = request(app.addr, "GET", missing, &headers, b"").await;
    reply.problem(404, "task_not_found");
}

/// A stream without a reader.
async fn stalled(app: &App, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    let head = format!(
        "GET {} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n",
        path(id)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn from_each_last_event_id_of_200_events_there_is_no_gap_and_no_repeat() {
    let app = Arc::new(App::start().await);
    let id = app.echo().await;
    let task = app.claim().await.task.id;
    let grow = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let step = event(number, StepStatus::Started, json!({"name": "t"}));
            app.append(task, vec![step], ops_core::Next::Continue).await;
        }
    };
    // Each begins while the task runs, and comes from the log first and then from what is heard.
    grow(0..100).await;
    let mut streams = Vec::new();
    for last in 0..=102_u64 {
        let text = last.to_string();
        let stream = Events::open(app.addr, &path(&id), &[("last-event-id", &text)]).await;
        streams.push((last, tokio::spawn(stream.all())));
    }
    grow(100..197).await;
    let result = ops_core::Json::from(&json!({}));
    let next = ops_core::Next::Complete { result };
    app.append(task, Vec::new(), next).await;
    let log = log(&app, &id).await;
    assert_eq!(log.len(), 200);
    for last in 103..=200_u64 {
        let text = last.to_string();
        let stream = Events::open(app.addr, &path(&id), &[("last-event-id", &text)]).await;
        streams.push((last, tokio::spawn(stream.all())));
    }
    assert_eq!(streams.len(), 201);
    for (last, stream) in streams {
        whole_from(last + 1, &stream.await.unwrap(), &log);
    }
}

#[tokio::test]
async fn a_task_that_nobody_follows_any_more_is_forgotten() {
    let app = App::start().await;
    let id = app.echo().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = Events::open(app.addr, &path(&id), &[]).await;
        assert_eq!(stream.next().await.unwrap().id, Some(1));
        streams.push(stream);
    }
    assert_eq!(app.live.followed(), 1, "one reader for all of them");
    drop(streams);
    let end = std::time::Instant::now() + crate::client::TIMEOUT;
    while app.live.followed() > 0 {
        assert!(std::time::Instant::now() < end, "it is still followed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Who comes later is served.
    let mut late = Events::open(app.addr, &path(&id), &[]).await;
    assert_eq!(late.next().await.unwrap().id, Some(1));
    app.post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))
        .await;
    let names: Vec<_> = late
        .all()
        .await
        .into_iter()
        .map(|event| event.name)
        .collect();
    assert_eq!(names, ["task.cancelled", "end"]);
}

#[tokio::test]
async fn a_follower_that_takes_nothing_is_cut_and_the_others_go_on() {
    let settings = ops_server::serve::Settings {
        write_timeout: Duration::from_millis(300),
        ..ops_server::serve::Settings::default()
    };
    let app = App::start_with(settings).await;
    let id = app.echo().await;
    let mut stuck = stalled(&app, &id).await;
    let reading = tokio::spawn(Events::open(app.addr, &path(&id), &[]).await.all());
    let task = app.claim().await.task.id;
    // More than the sockets of both sides hold.
    let large = "x".repeat(1 << 20);
    for number in 0..40 {
        let body = json!({"name": "t", "input": large});
        let step = event(number, StepStatus::Started, body);
        app.append(task, vec![step], ops_core::Next::Continue).await;
    }
    // Nothing was taken for longer than the bound: what still comes ends without its end.
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(crate::client::TIMEOUT, stuck.read_to_end(&mut rest)).await;
    // A reset says the same.
    drop(read.expect("it was cut"));
    assert!(rest.len() < 40 << 20, "{}", rest.len());
    assert!(!rest.windows(10).any(|window| window == b"event: end"));

    let result = ops_core::Json::from(&json!({}));
    let next = ops_core::Next::Complete { result };
    app.append(task, Vec::new(), next).await;
    let seqs: Vec<_> = reading
        .await
        .unwrap()
        .iter()
        .filter_map(|event| event.id)
        .collect();
    assert_eq!(seqs, (1..=43).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_follower_that_does_not_read_disturbs_nobody() {
    let app = App::start().await;
    let id = app.echo().await;
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(stalled(&app, &id).await);
    }
    let reading = tokio::spawn(Events::open(app.addr, &path(&id), &[]).await.all());
    let task = app.claim().await.task.id;
    let large = "x".repeat(100_000);
    for number in 0..100 {
        let step = event(
            number,
            StepStatus::Started,
            json!({"name": "t", "input": large}),
        );
        app.append(task, vec![step], ops_core::Next::Continue).await;
    }
    let result = ops_core::Json::from(&json!({}));
    app.append(task, Vec::new(), ops_core::Next::Complete { result })
        .await;
    let events = reading.await.unwrap();
    let seqs: Vec<_> = events.iter().filter_map(|event| event.id).collect();
    assert_eq!(seqs, (1..=103).collect::<Vec<_>>());
    assert_eq!(app.get("/health").await.status, 200);
    // One that comes back to reading late has missed nothing.
    let late =
        crate::client::parse(&crate::client::read_until(&mut unread[0], b"event: end").await);
    assert_eq!(late.text().matches("\nid: ").count(), 103);
}

#[tokio::test]
async fn a_stop_ends_streams_without_an_end_event() {
    let app = App::start().await;
    let id = app.echo().await;
    let mut stream = Events::open(app.addr, &path(&id), &[]).await;
    assert_eq!(stream.next().await.unwrap().id, Some(1));
    app.stop.cancel();
    assert_eq!(
        stream.next().await,
        None,
        "the client comes back with Last-Event-ID 1"
    );
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_comments() {
    let app =
        App::adjusted(|rest_settings| rest_settings.keep_alive = Duration::from_millis(20)).await;
    let id = app.echo().await;
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    let head = format!(
        "GET {} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n",
        path(&id)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut all = String::new();
    while all.matches("\n: keep-alive\n\n").count() < 3 {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0);
        all.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert_eq!(
        all.matches("\nid: ").count(),
        1,
        "no event is sent twice: {all}"
    );
}
