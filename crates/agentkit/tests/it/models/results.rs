//! Results of tools with images: each surface gets what it takes.

use agentkit::{event::Media, model::Image};
use serde_json::Value;

use super::{conformance::DIALECTS, *};

/// The bytes of an image, as far as a client looks at them.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const BASE64: &str = "iVBORw0KGgo=";

/// A call that returned a text and two images, of which one is at hand.
fn looked() -> Request {
    let media = |digest: &str| Media {
        media_type: "image/png".to_owned(),
        digest: digest.to_owned(),
        bytes: PNG.len() as u64,
    };
    let image = Arc::new(Image::from_bytes(PNG).unwrap());
    let messages = [
        Message::user("Look."),
        Message::Assistant {
            content: String::new(),
            calls: vec![MessageCall {
                step: StepId(2),
                provider_id: "call_abc".to_owned(),
                name: "look".to_owned(),
                arguments: json!({}),
            }],
            parts: None,
        },
        Message::Tool {
            step: StepId(2),
            provider_id: "call_abc".to_owned(),
            name: "look".to_owned(),
            content: "two pictures".to_owned(),
            is_error: false,
            images: vec![media("here"), media("gone")],
        },
    ];
    Request {
        messages: messages.into_iter().map(Arc::new).collect(),
        images: Arc::new([("here".to_owned(), image)].into()),
        ..Request::default()
    }
}

/// The last message, item or content of a body.
fn last<'a>(body: &'a Value, key: &str) -> &'a Value {
    body[key].as_array().unwrap().last().unwrap()
}

#[tokio::test]
async fn each_surface_gets_the_images_of_results_that_it_takes() {
    let gone =
        "two pictures\n[1 of its images are left out: there is no room for more, or they are gone]";
    let none = "two pictures\n[2 of its images are left out: this model is shown none in results of tools]";
    let url = format!("data:image/png;base64,{BASE64}");
    let mut seen = 0;
    for dialect in DIALECTS {
        for stream in [true, false] {
            let (_, body) = dialect.sent(&looked(), stream).await;
            seen += 1;
            match dialect.name {
                "chat" | "openrouter" | "deepseek" => assert_eq!(
                    last(&body, "messages"),
                    &json!({"role": "tool", "tool_call_id": "call_abc", "content": none})
                ),
                "responses" => assert_eq!(
                    last(&body, "input"),
                    &json!({"type": "function_call_output", "call_id": "call_abc", "output": [
                        {"type": "input_text", "text": gone},
                        {"type": "input_image", "image_url": url},
                    ]})
                ),
                "messages" => assert_eq!(
                    last(&body, "messages"),
                    &json!({"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "call_abc", "content": [
                            {"type": "text", "text": gone},
                            {"type": "image", "source": {
                                "type": "base64", "media_type": "image/png", "data": BASE64}},
                        ]},
                    ]})
                ),
                // Models before Gemini 3, and those of other names.
                "generate_content" => assert_eq!(
                    last(&body, "contents"),
                    &json!({"role": "user", "parts": [{"functionResponse": {
                        "id": "call_abc", "name": "look", "response": {"result": none}}}]})
                ),
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(seen, 12);
}

#[tokio::test]
async fn a_gemini_of_the_third_generation_is_shown_the_images_of_results() {
    let dialect = DIALECTS
        .iter()
        .find(|it| it.name == "generate_content")
        .unwrap();
    for (model, shown) in [
        ("gemini-3-pro-preview", true),
        ("gemini-3.1-flash", true),
        ("gemini-10-pro", true),
        ("gemini-2.5-pro", false),
        ("gemini-flash-latest", false),
        ("gemma-3", false),
    ] {
        let server = Server::bytes(dialect.bytes("good", false).unwrap()).await;
        let config = Config {
            model: model.to_owned(),
            ..dialect.config(&server, false)
        };
        call(config, &looked()).await.0.unwrap();
        let body: Value = serde_json::from_str(&server.received()[0].body).unwrap();
        let response = &last(&body, "contents")["parts"][0]["functionResponse"];
        let parts = json!([{"inlineData": {"mimeType": "image/png", "data": BASE64}}]);
        match shown {
            true => assert_eq!(response["parts"], parts, "{model}"),
            false => assert_eq!(response.get("parts"), None, "{model}"),
        }
    }
}
