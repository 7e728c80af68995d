//! Answers as models write them.

use serde_json::json;

use super::*;

fn tools() -> Vec<Arc<ToolSpec>> {
    let look = json!({"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]});
    let add =
        json!({"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}});
    vec![
        Arc::new(ToolSpec::new("look", "", look)),
        Arc::new(ToolSpec::new("add", "", add)),
    ]
}

/// The calls as name and arguments, or the answer.
fn heard(text: &str) -> Result<Vec<(String, String)>, String> {
    match hear(text, &tools()) {
        Ok(Said::Calls { calls, .. }) => Ok(calls
            .into_iter()
            .map(|call| (call.name, call.arguments))
            .collect()),
        Ok(Said::Answer(answer)) => Err(format!("answer: {answer}")),
        Err(failure) => Err(failure.code),
    }
}

#[test]
fn calls_are_understood_in_the_forms_that_models_use() {
    let oslo = r#"{"place":"Oslo"}"#;
    for text in [
        "Thought: I look.\nAction: look\nAction Input: {\"place\": \"Oslo\"}",
        "**Thought:** I look.\n**Action:** `look`\n**Action Input:** {'place': 'Oslo',}",
        "Action: look\nAction Input:\n```json\n{\n  \"place\": \"Oslo\"\n}\n```\nObservation: sunny\nFinal Answer: sunny",
        "Action: look({\"place\": \"Oslo\"})",
        "Action: look{place: 'Oslo'}",
        "action 1: look\naction input 1: Oslo",
        "Action: [look]\nAction Input: \"Oslo\"",
        "Action: {\"action\": \"look\", \"action_input\": {\"place\": \"Oslo\"}}",
        "Action:\n```\n{\"tool\": \"look\", \"args\": \"Oslo\"}\n```",
        "I look:\n```json\n{\"name\": \"look\", \"arguments\": {\"place\": \"Oslo\"}}\n```",
        "<tool_call>\n{\"name\": \"look\", \"arguments\": \"{\\\"place\\\": \\\"Oslo\\\"}\"}\n</tool_call>",
        "[{\"function\": {\"name\": \"look\", \"arguments\": {\"place\": \"Oslo\"}}}]",
        "Thought: so\nAction: look\nAction Input: {\"place\": \"Oslo\"} I hope that this works.",
    ] {
        assert_eq!(
            heard(text),
            Ok(vec![("look".into(), oslo.into())]),
            "{text}"
        );
    }
    assert_eq!(
        heard(
            "Action: look\nAction Input: Oslo\nAction: add\nAction Input: {a: 1, b: 2}\nFinal Answer: 3"
        ),
        Ok(vec![
            ("look".into(), oslo.into()),
            ("add".into(), r#"{"a":1,"b":2}"#.into())
        ])
    );
    // The gate says what is wrong with these.
    assert_eq!(
        heard("Action: add\nAction Input: one and two"),
        Ok(vec![("add".into(), "one and two".into())])
    );
    assert_eq!(
        heard("Action: fly\nAction Input: {}"),
        Ok(vec![("fly".into(), "{}".into())])
    );
    assert_eq!(heard("Action: add"), Ok(vec![("add".into(), "{}".into())]));
}

#[test]
fn what_a_model_makes_up_after_a_call_is_forgotten() {
    let text = "Thought: I look.\nAction: look\nAction Input: Oslo\nObservation: rain\nThought: done\nFinal Answer: rain";
    let Ok(Said::Calls { words, .. }) = hear(text, &tools()) else {
        panic!("no call")
    };
    assert_eq!(words, "Thought: I look.\nAction: look\nAction Input: Oslo");
}

#[test]
fn answers_are_understood() {
    for (text, answer) in [
        ("Thought: done\nFinal Answer: 42", "42"),
        (
            "**Final Answer:** It is\n\n- 42\n- 43",
            "It is\n\n- 42\n- 43",
        ),
        ("It is 42.", "It is 42."),
        ("Final Answer: {\"action\": 1}", "{\"action\": 1}"),
        ("Action: Final Answer\nAction Input: 42", "42"),
        ("Action: Final Answer: 42", "42"),
        (
            "Final Answer: the plan\nAction: look",
            "the plan\nAction: look",
        ),
        (
            "{\"action\": \"Final Answer\", \"action_input\": \"42\"}",
            "42",
        ),
        ("{\"final_answer\": {\"sum\": 42}}", "{\"sum\":42}"),
        // An object that names a tool without arguments, or no tool that there is, is an answer.
        ("{\"name\": \"look\"}", "{\"name\": \"look\"}"),
        (
            "{\"name\": \"Ada\", \"input\": 1}",
            "{\"name\": \"Ada\", \"input\": 1}",
        ),
    ] {
        assert_eq!(heard(text), Err(format!("answer: {answer}")), "{text}");
    }
}

#[test]
fn what_is_neither_is_refused_with_what_to_write() {
    for text in [
        "Thought: I should look.",
        "Thought: hm\nAction:\nAction Input: {}",
        "Action Input: {}",
    ] {
        assert_eq!(heard(text), Err(UNREADABLE.to_owned()), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_heard_without_a_panic(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "Action:", "action input 2 :", "Final Answer", ":", "Thought:", "Observation:", "\n", " ",
                "look", "final answer", "{", "}", "[", "]", "'", "\"", "\\", "\\u12", "```", "json", "(", ")",
                "\"name\":", "arguments", ",", "ä", "😀", "İ", "*", "1", "{\"tool\": \"look\", \"args\": {}}",
            ]),
            0..40,
        ),
        rest in "\\PC*",
    ) {
        let text = pieces.concat() + &rest;
        if let Ok(Said::Calls { calls, words }) = hear(&text, &tools()) {
            proptest::prop_assert!(!calls.is_empty() && calls.len() <= MOST_CALLS);
            proptest::prop_assert!(text.trim().starts_with(&words) || words.is_empty());
        }
    }
}
