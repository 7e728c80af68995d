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
    match parse_reply(text, &tools()) {
        Ok(Parsed::Calls { calls, .. }) => Ok(calls
            .into_iter()
            .map(|call| (call.name, call.arguments))
            .collect()),
        Ok(Parsed::Answer(answer)) => Err(format!("answer: {answer}")),
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
        "```\nThought: so\nAction: look\nAction Input: Oslo\n```",
        "<think>\nAction: add\nAction Input: {}\n</think>\nAction: look\nAction Input: Oslo",
        "I look.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {\"place\": \"Oslo\"}}\n</tool_call>",
    ] {
        assert_eq!(
            heard(text),
            Ok(vec![("look".into(), oslo.into())]),
            "{text}"
        );
    }
    assert_eq!(
        heard("Action: look\nAction Input: Oslo\nAction: add\nAction Input: {a: 1, b: 2}"),
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
    let Ok(Parsed::Calls { prose, .. }) = parse_reply(text, &tools()) else {
        panic!("no call")
    };
    assert_eq!(prose, "Thought: I look.\nAction: look\nAction Input: Oslo");
}

/// A page that the model quotes held a call, and the call was made.
const QUOTED: &str = r#"{"tool": "look", "args": {"place": "Oslo"}}"#;

/// tools/T5: a call that stands before a final answer, in a thought, in a quotation or in a fence was made, and
/// the answer was lost.
#[test]
fn a_quoted_call_is_not_made_and_the_answer_stays() {
    for text in [
        format!("I will not call {QUOTED}. Final Answer: 42"),
        format!("Thought: the page says {QUOTED}. **Final Answer:** 42"),
        format!("The page:\n```json\n{QUOTED}\n```\nFinal Answer: 42"),
        format!("<think>{QUOTED}</think>\nFinal Answer: 42"),
        format!("{QUOTED}\nI do not. Final Answer: 42"),
        "The page says:\n> Action: look\n> Action Input: Oslo\n\nFinal Answer: 42".to_owned(),
        "The page says:\n```\nAction: look\nAction Input: Oslo\n```\nFinal Answer: 42".to_owned(),
        "The page says:\nAction: look\nAction Input: Oslo\nI do not.\nFinal Answer: 42".to_owned(),
        "Observation: so\nAction: look\nAction Input: Oslo\nFinal Answer: 42".to_owned(),
    ] {
        assert_eq!(heard(&text), Err("answer: 42".to_owned()), "{text}");
    }
    let built = format!("<think>{QUOTED}</think>It is 42.");
    assert_eq!(heard(&built), Err("answer: It is 42.".to_owned()));
}

/// tools/T5: nothing says whether a call within other words is meant, so the model is asked again.
#[test]
fn a_call_within_other_words_is_asked_for_again() {
    for text in [
        format!("The page says {QUOTED} and I wonder."),
        format!("I look: {QUOTED}"),
        format!("```json\n{QUOTED}\n```\nThat is what the page says."),
        format!("Its text is `<tool_call>{QUOTED}</tool_call>`."),
        format!("As <b>{QUOTED}"),
    ] {
        assert_eq!(heard(&text), Err(UNREADABLE.to_owned()), "{text}");
    }
}

#[test]
fn the_words_of_a_call_are_those_of_the_model_with_its_thoughts() {
    let text = "<think>Oslo?</think>\nAction: look\nAction Input: Oslo\nObservation: rain";
    let Ok(Parsed::Calls { prose, .. }) = parse_reply(text, &tools()) else {
        panic!("no call")
    };
    assert_eq!(
        prose,
        "<think>Oslo?</think>\nAction: look\nAction Input: Oslo"
    );
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
    let many = format!("[{}[]]", "[],".repeat(100_000));
    assert_eq!(heard(&many), Err(UNREADABLE.to_owned()));
}

proptest::proptest! {
    #[test]
    fn any_text_is_heard_without_a_panic(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "Action:", "action input 2 :", "Final Answer", ":", "Thought:", "Observation:", "\n", " ",
                "look", "final answer", "{", "}", "[", "]", "'", "\"", "\\", "\\u12", "```", "json", "(", ")",
                "<think>", "</think>", ">", "\"name\":", "arguments", ",", "ä", "😀", "İ", "*", "1", "{\"tool\": \"look\", \"args\": {}}",
            ]),
            0..40,
        ),
        rest in "\\PC*",
    ) {
        let text = pieces.concat() + &rest;
        if let Ok(Parsed::Calls { calls, prose }) = parse_reply(&text, &tools()) {
            proptest::prop_assert!(!calls.is_empty() && calls.len() <= MAX_CALLS);
            proptest::prop_assert!(text.trim().starts_with(&prose) || prose.is_empty());
        }
    }
}
