use std::sync::Mutex;

use super::*;
use crate::{
    event::{FinishReason, Usage},
    model::{Message, NoDeltas, ResponseCall},
};

/// Answers each call with the next of these.
struct Deck(Mutex<Vec<Result<Response, ModelError>>>);

impl Model for Deck {
    fn name(&self) -> &str {
        "deck/one"
    }

    fn call<'a>(
        &'a self,
        _: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let answer = self.0.lock().unwrap().remove(0);
        Box::pin(std::future::ready(answer))
    }
}

fn response(content: &str) -> Response {
    Response {
        content: content.to_owned(),
        calls: vec![ResponseCall {
            provider_id: "call_1".into(),
            name: "read".into(),
            arguments: r#"{"key":"sk-abcdefghijklmnop1234"}"#.into(),
        }],
        usage: Usage {
            input_tokens: 7,
            cost_micros: 3,
            ..Usage::default()
        },
        finish: FinishReason::ToolCalls,
        model: "one".into(),
        parts: Some(json!({"opaque": "T3BhcXVl=="})),
        request_id: Some("r1".into()),
    }
}

fn ask(text: &str) -> Request {
    Request {
        messages: vec![
            Arc::new(Message::System {
                content: "Be brief.".into(),
            }),
            Arc::new(Message::user(text)),
        ],
        temperature: Some(0.5),
        ..Request::default()
    }
}

async fn call(model: &Arc<dyn Model>, text: &str) -> Result<Response, ModelError> {
    model.call(&ask(text), &NoDeltas).await
}

fn redactor() -> Redactor {
    let patterns = Redactor::new([r"customer-\d+"]).unwrap();
    patterns.secrets(["hunter2hunter2".to_owned()])
}

fn folder(name: &str) -> PathBuf {
    let name = format!("agentkit-cassette-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[tokio::test]
async fn what_was_recorded_is_played_in_its_order_and_holds_no_secret() {
    let folder = folder("order");
    let limited = ModelError {
        status: Some(429),
        retry_after: Some(std::time::Duration::from_secs(2)),
        ..ModelError::new(ModelErrorKind::RateLimited, "slow down, hunter2hunter2")
    };
    let deck = Deck(Mutex::new(vec![
        Err(limited.clone()),
        Ok(response("first")),
        Ok(response("other")),
    ]));
    let model = Cassette::record(&folder, redactor())
        .unwrap()
        .model(Arc::new(deck));
    let secret = "for customer-17 with hunter2hunter2 and Bearer abcdefghijklmnopqrst";
    assert_eq!(call(&model, secret).await, Err(limited));
    // Who records gets what the model said, unredacted.
    assert_eq!(call(&model, secret).await, Ok(response("first")));
    assert_eq!(call(&model, "other").await, Ok(response("other")));

    let mut kept = String::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        kept += &std::fs::read_to_string(file.unwrap().path()).unwrap();
    }
    for secret in ["customer-17", "hunter2", "abcdefghijklmnop"] {
        assert!(!kept.contains(secret), "{secret} in {kept}");
    }

    let player = Cassette::replay(&folder, redactor()).unwrap();
    let player = player.player("deck/one", None);
    let error = call(&player, secret).await.unwrap_err();
    assert_eq!(
        (error.status, error.kind),
        (Some(429), ModelErrorKind::RateLimited)
    );
    assert_eq!(error.retry_after, Some(std::time::Duration::from_secs(2)));
    // What stands in place of a secret is the same request.
    let redacted = "for [redacted] with [redacted] and [redacted]";
    for _ in 0..2 {
        let played = call(&player, redacted).await.unwrap();
        let mut wanted = response("first");
        wanted.calls[0].arguments = r#"{"key":"[redacted]"}"#.into();
        assert_eq!(played, wanted);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_second_recording_keeps_the_first() {
    let folder = folder("twice");
    for (question, answer) in [("a", "one"), ("b", "two"), ("a", "three")] {
        let deck = Deck(Mutex::new(vec![Ok(response(answer))]));
        let model = Cassette::record(&folder, redactor())
            .unwrap()
            .model(Arc::new(deck));
        call(&model, question).await.unwrap();
    }
    let player = Cassette::replay(&folder, redactor()).unwrap();
    let player = player.player("deck/one", None);
    for (question, answer) in [("b", "two"), ("a", "one"), ("a", "three"), ("a", "three")] {
        let played = call(&player, question).await.unwrap();
        assert_eq!(played.content, answer, "{question}");
    }
    std::fs::write(folder.join("a.json"), "{}").unwrap();
    let error = Cassette::record(&folder, redactor()).unwrap_err();
    assert!(error.to_string().contains("a.json"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_miss_shows_what_differs_from_the_nearest() {
    let folder = folder("miss");
    let deck = Deck(Mutex::new(vec![Ok(response("a")), Ok(response("b"))]));
    let cassette = Cassette::record(&folder, redactor()).unwrap();
    let model = cassette.model(Arc::new(deck));
    call(&model, "What is the total of the sales of March?")
        .await
        .unwrap();
    model.call(&Request::default(), &NoDeltas).await.unwrap();

    let player = Cassette::replay(&folder, redactor()).unwrap();
    let player = player.player("deck/one", None);
    let error = call(&player, "What is the total of the sales of April?")
        .await
        .unwrap_err();
    assert!(!error.kind.is_retryable());
    let says = "differs in `messages[1].content`: recorded \"tal of the sales of March?\", now \
                \"tal of the sales of April?\". Record it again";
    assert!(error.message.contains(says), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();

    std::fs::create_dir_all(&folder).unwrap();
    let empty = Cassette::replay(&folder, redactor())
        .unwrap()
        .player("deck/one", None);
    let error = call(&empty, "x").await.unwrap_err();
    assert!(error.message.contains("it is empty"), "{error}");
    std::fs::write(folder.join("a.json"), "{}").unwrap();
    let error = Cassette::replay(&folder, redactor()).unwrap_err();
    assert!(
        error.to_string().contains("a.json is no exchange"),
        "{error}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(Cassette::replay(&folder, redactor()).is_err());
    assert!(Redactor::new(["("]).is_err());
}
