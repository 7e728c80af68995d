//! The stand-in answers as it is told, and knows what it was asked again.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use ops_testkit::{Answer, Http, StandIn, wait_until};
use serde_json::json;
use tokio::sync::Notify;

#[tokio::test]
async fn answers_are_whole_late_begun_or_none() {
    let gate = Arc::new(Notify::new());
    let when = Arc::clone(&gate);
    let stand_in = StandIn::start(move |asked| match (asked.nth, asked.repeat) {
        (0, 0) => Answer::Whole("whole".to_owned()),
        (0, _) => Answer::When(
            Arc::clone(&when),
            Box::new(Answer::Whole("whole".to_owned())),
        ),
        (1, 0) => Answer::Part("beg".to_owned()),
        (1, _) => Answer::Late(Duration::from_millis(20), "begun".to_owned()),
        _ => Answer::Silence,
    })
    .await
    .unwrap();
    let http = Http::new(stand_in.url());
    let ask = async |body: &str| http.post("/x", &json!(body)).await.unwrap().text();
    assert_eq!(ask("a").await, "whole");

    let request = http.request(http::Method::POST, "/y", Some(&json!("b")));
    let mut begun = http.open(request.unwrap()).await.unwrap();
    let frame = begun.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "beg");
    let more = tokio::time::timeout(Duration::from_millis(50), begun.frame());
    assert!(more.await.is_err(), "the rest does not come");
    assert_eq!(ask("b").await, "begun");
    let mut early = std::pin::pin!(ask("a"));
    let waiting = tokio::time::timeout(Duration::from_millis(50), &mut early);
    assert!(waiting.await.is_err(), "nobody was notified");
    gate.notify_one();
    assert_eq!(early.await, "whole");

    let never = tokio::spawn({
        let http = http.clone();
        async move { http.post("/x", &json!("c")).await }
    });
    let there = || async { (stand_in.asked().len() == 5).then_some(()) };
    wait_until("the last request", Duration::from_secs(5), there)
        .await
        .unwrap();
    assert!(!never.is_finished());
    let asked = stand_in.asked();
    let seen: Vec<_> = asked
        .iter()
        .map(|asked| {
            (
                &*asked.path,
                &*asked.body,
                asked.nth,
                asked.repeat,
                asked.sent,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("/x", "\"a\"", 0, 0, 5),
            ("/y", "\"b\"", 1, 0, 3),
            ("/x", "\"b\"", 1, 1, 5),
            ("/x", "\"a\"", 0, 1, 5),
            ("/x", "\"c\"", 2, 0, 0),
        ]
    );
}
