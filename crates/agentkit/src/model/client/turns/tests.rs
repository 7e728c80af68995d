use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::model::{
    Request,
    client::{Config, Provider, learnt::Learnt},
};

#[test]
fn names_keep_the_letters_that_a_server_takes() {
    for (given, marks, sent) in [
        ("list_files", "", "list_files"),
        ("api.list:files", ".:", "api.list:files"),
        ("api.list:files", "", "api_list_files"),
        ("list_files<|channel|>commentary", "", "list_files"),
        ("<|start|>list_files", "", "start__list_files"),
        ("list files()", "", "list_files"),
        (" x ", "", "x"),
        ("", "", NAMELESS),
        ("<|", "", NAMELESS),
        ("()", "", NAMELESS),
        ("täglich", "", "t_glich"),
    ] {
        assert_eq!(name(given, marks), sent, "{given}");
    }
    assert_eq!(name(&"ä".repeat(100), "").len(), NAMELESS.len());
    assert_eq!(name(&"a".repeat(65), "").len(), 64);
}

#[test]
fn arguments_are_an_object_whatever_the_model_wrote() {
    for (given, sent) in [
        (json!({"a": 1}), json!({"a": 1})),
        (json!(null), json!({})),
        (json!(""), json!({})),
        (json!(" \n"), json!({})),
        (json!("{oops"), json!({"invalid_arguments": "{oops"})),
        (json!([1]), json!({"invalid_arguments": [1]})),
        (json!(7), json!({"invalid_arguments": 7})),
    ] {
        let arguments = Arguments(&given);
        assert_eq!(arguments.value(), sent, "{given}");
        let text = serde_json::to_value(ArgumentsText(arguments)).unwrap();
        assert_eq!(text, json!(sent.to_string()), "{given}");
    }
}

fn ids(calls: &[(u32, &str)], ids: Ids, parts: Option<&str>) -> Vec<(String, String)> {
    let config = Config::new(Provider::OpenAi, "m");
    let mut messages = Vec::new();
    for (step, id) in calls {
        messages.push(Message::Assistant {
            content: String::new(),
            calls: vec![MessageCall {
                step: StepId(*step),
                provider_id: (*id).to_owned(),
                name: "x".to_owned(),
                arguments: json!({}),
            }],
            parts: parts.map(|json| parts::keep("openai/m", json.to_owned())),
        });
        messages.push(Message::Tool {
            step: StepId(*step),
            provider_id: (*id).to_owned(),
            name: "x".to_owned(),
            content: String::new(),
            is_error: false,
            images: Vec::new(),
        });
    }
    let request = Request {
        messages: messages.into_iter().map(Arc::new).collect(),
        ..Request::default()
    };
    let outgoing = Outgoing {
        config: &config,
        name: "openai/m",
        request: &request,
        learnt: &Learnt::default(),
    };
    let turns = outgoing.turns(&Rules {
        ids,
        name_marks: "",
        result_images: ResultImages::Taken,
        own: |raw, _| Some(raw),
    });
    let id = |turn: &Turn<'_, &RawValue>| match turn {
        Turn::Model { calls, .. } => calls[0].id.as_str().to_owned(),
        Turn::Result { id, .. } => id.as_str().to_owned(),
        Turn::System(_) | Turn::User { .. } => panic!("nobody said that"),
    };
    let pairs = turns.chunks(2).map(|pair| (id(&pair[0]), id(&pair[1])));
    pairs.collect()
}

/// `models/M1`
#[test]
fn a_call_and_its_result_share_an_id_that_no_other_call_has() {
    let long = "x".repeat(65);
    let calls = [
        (2, "a"),
        (4, "a"),
        (6, ""),
        (8, "functions.x:0"),
        (10, "call_6"),
        (12, &*long),
        (14, "call_16"),
        (16, ""),
    ];
    for (rule, parts, sent) in [
        (
            Ids::Plain,
            None,
            [
                "a", "call_4", "call_6", "call_8", "call_10", "call_12", "call_16", "call_16_",
            ],
        ),
        (
            Ids::Plain,
            Some("[]"),
            [
                "a",
                "call_4",
                "call_6",
                "functions.x:0",
                "call_10",
                &long,
                "call_16",
                "call_16_",
            ],
        ),
        (
            Ids::Short,
            None,
            [
                "a",
                "call_4",
                "call_6",
                "functions.x:0",
                "call_10",
                "call_12",
                "call_16",
                "call_16_",
            ],
        ),
        (
            Ids::Any,
            None,
            [
                "a",
                "a",
                "",
                "functions.x:0",
                "call_6",
                &long,
                "call_16",
                "",
            ],
        ),
    ] {
        let pairs = ids(&calls, rule, parts);
        let expected = sent.map(|id| (id.to_owned(), id.to_owned()));
        assert_eq!(pairs, expected, "{rule:?} {parts:?}");
    }
}
