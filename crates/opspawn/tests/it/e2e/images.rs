//! Images that a goal comes with.

use ops_testkit::{Aimock, require_aimock};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{tasks, test_dir::TestDir, wire::SURFACES};

/// The beginning of a PNG: nobody here looks further.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";
const DATA: &str = "data:image/png;base64,iVBORw0KGgogYW5kIHNvIG9u";

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn the_model_is_shown_them_in_every_turn() {
    let Some(path) = require_aimock() else { return };
    let fixtures = json!({"fixtures": [
        {"match": {"hasToolResult": false}, "response": {"toolCalls": [
            {"id": "call_a", "name": "calculator", "arguments": {"expression": "1 + 1"}}]}},
        {"match": {"toolCallId": "call_a"}, "response": {"content": "a cat"}},
    ]});
    let mock = Aimock::start(&path, &fixtures, &[]).await.unwrap();
    let test_dir = TestDir::new();
    let surface = &SURFACES[0];
    let _server = surface.dev(&test_dir, &mock, "true").start().await.unwrap();
    let file = test_dir.data().join("cat.png");
    std::fs::write(&file, PNG).unwrap();
    let url = "https://images.test/dog.webp";
    let args = [
        "run",
        "--image",
        file.to_str().unwrap(),
        "--image",
        url,
        "what is it?",
    ];
    let ended = test_dir.cli(&args).run().await.ends(0);
    assert!(ended.stdout.contains("a cat"), "{ended:#?}");

    let seen = surface.seen(&mock).await;
    assert_eq!(seen.len(), 2, "{seen:#?}");
    for entry in seen {
        let content = &entry["body"]["messages"][0]["content"];
        assert_eq!(content[0]["text"], "what is it?", "{entry:#}");
        assert_eq!(content[1]["image_url"]["url"], DATA);
        assert_eq!(content[2]["image_url"]["url"], url);
    }
}

#[tokio::test]
async fn what_is_no_image_is_refused_with_the_submit() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    for (images, says) in [
        (json!("a.png"), "must be a list"),
        (json!([DATA, 5]), "number 2 must be like"),
        (
            json!(["data:image/svg+xml;base64,PHN2Zy8+"]),
            "number 1 must be a PNG",
        ),
        (Value::from(vec![DATA; 21]), "must be 20 at most"),
    ] {
        let body =
            json!({"task_type": "agent_run", "input_data": {"prompt": "look", "images": images}});
        let refused = server.http().post("/api/v1/tasks", &body).await.unwrap();
        assert_eq!(refused.status.as_u16(), 422, "{}", refused.text());
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    let svg = test_dir.data().join("a.svg");
    std::fs::write(&svg, "<svg/>").unwrap();
    let args = ["run", "--image", svg.to_str().unwrap(), "look"];
    let ended = test_dir.cli(&args).run().await.ends(2);
    assert!(ended.stderr.contains("must be a PNG"), "{ended:#?}");
    let gone = ["run", "--image", "/nowhere.png", "look"];
    let ended = test_dir.cli(&gone).run().await;
    assert!(
        ended
            .stderr
            .contains("cannot read the image `/nowhere.png`"),
        "{ended:#?}"
    );
    // What is fine is kept with the run.
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": "look", "images": [DATA],
        "agent_config": {"provider": "scripted", "script": "[[turn]]\nanswer = 'ok'"}}});
    let id = tasks::submit(server.http(), &body).await;
    tasks::answer(server.http(), &id).await;
    let started = tasks::events(server.http(), &id, "run.started").await;
    assert_eq!(
        started[0]["images"][0]["media_type"], "image/png",
        "{started:#?}"
    );
}

/// Fetches a picture, looks at it, and tells what it was.
const LOOKS: &str = r#"
name = "looks"
[[turn]]
calls = [ { tool = "http_fetch", arguments = { url = "{{ goal }}/cat.png", save_as = "cat.png" } } ]
[[turn]]
calls = [ { tool = "read_file", arguments = { path = "cat.png" } } ]
[[turn]]
answer = "{{ result(-1) }}"
"#;

#[tokio::test]
async fn a_file_that_is_an_image_is_a_part_of_the_result() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let length = PNG.len();
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), PNG].concat()).await;
        }
    });
    let test_dir = TestDir::new();
    let server = test_dir
        .dev()
        .env("OPSPAWN_HTTP_ALLOW", &site)
        .start()
        .await
        .unwrap();
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": format!("http://{site}"),
        "agent_config": {"provider": "scripted", "script": LOOKS},
    }});
    let id = tasks::submit(server.http(), &body).await;
    let said: Value = serde_json::from_str(&tasks::answer(server.http(), &id).await).unwrap();
    assert_eq!(said, json!({"media_type": "image/png", "bytes": PNG.len()}));

    let steps = tasks::steps(server.http(), &id).await;
    let looked = steps
        .iter()
        .find(|step| step["name"] == "read_file")
        .unwrap();
    let parts = looked["parts"].as_array().unwrap();
    let [part] = &parts[..] else {
        panic!("{parts:?}")
    };
    assert_eq!(
        (&part["type"], &part["media_type"]),
        (&json!("image"), &json!("image/png"))
    );
    assert_eq!(
        (&looked["initiator"], &part["bytes"]),
        (&json!("model"), &json!(PNG.len()))
    );
    let fetched = steps
        .iter()
        .find(|step| step["name"] == "http_fetch")
        .unwrap();
    assert_eq!(fetched["parts"], Value::Null);

    let path = format!("/api/v1/tasks/{id}/events?limit=1000");
    let page: Value = server.http().get(&path).await.unwrap().json().unwrap();
    let versions: Vec<&Value> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "tool.completed")
        .map(|event| &event["data"]["v"])
        .collect();
    assert_eq!(versions, [&json!(1), &json!(2)]);
    // The bytes are kept by their digest, and an export has them.
    let path = format!("/api/v1/tasks/{id}/export");
    let export = server.http().get(&path).await.unwrap().text();
    let digest = part["digest"].as_str().unwrap();
    let blob = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["type"] == "blob" && line["digest"] == digest)
        .expect("the export has the image");
    let (_, base64) = DATA.split_once(',').unwrap();
    assert_eq!(blob["base64"], base64);
    serving.abort();
}
