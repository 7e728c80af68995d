//! The scripted model, as a run sees it.

use std::{sync::Arc, time::Duration};

use agentkit::{
    event::{FinishReason, StepId},
    model::{
        Message, MessageCall, Model as _, ModelError, ModelErrorKind, NoDeltas, Request, Response,
        scripted::{Script, Scripted},
    },
};
use serde_json::{Value, json};

const SALES: &str = "region,amount,note\nnorth,10,\"a, b\"\nsouth,20,\nnorth,12,x\n";

fn model(script: &str) -> Scripted {
    Scripted::new(Arc::new(Script::parse(script).unwrap()))
}

fn goal(goal: &str) -> Request {
    Request {
        messages: vec![
            Arc::new(Message::System {
                content: "Be brief.".to_owned(),
            }),
            Arc::new(Message::user(goal)),
        ],
        ..Request::default()
    }
}

async fn call(model: &Scripted, request: &Request) -> Result<Response, ModelError> {
    model.call(request, &NoDeltas).await
}

/// Records an answer and the results of its calls, as a run would.
fn record(request: &mut Request, response: &Response, results: &[&str]) {
    assert_eq!(response.calls.len(), results.len());
    let step = |index: usize| StepId(u32::try_from(request.messages.len() + index).unwrap());
    let calls: Vec<MessageCall> = response
        .calls
        .iter()
        .enumerate()
        .map(|(index, call)| MessageCall {
            step: step(index),
            provider_id: call.provider_id.clone(),
            name: call.name.clone(),
            arguments: serde_json::from_str(&call.arguments)
                .unwrap_or_else(|_| Value::String(call.arguments.clone())),
        })
        .collect();
    let answers: Vec<Arc<Message>> = calls
        .iter()
        .zip(results)
        .map(|(call, content)| Message::Tool {
            step: call.step,
            provider_id: call.provider_id.clone(),
            name: call.name.clone(),
            content: (*content).to_owned(),
            is_error: content.starts_with("error"),
            images: Vec::new(),
        })
        .map(Arc::new)
        .collect();
    let content = response.content.clone();
    request.messages.push(Arc::new(Message::Assistant {
        content,
        calls,
        parts: None,
    }));
    request.messages.extend(answers);
}

/// Runs a script, giving these results turn by turn, and returns what it said.
async fn play(script: &str, results: &[&[&str]]) -> Vec<Response> {
    let model = model(script);
    let mut request = goal("Sum up the north.");
    let mut responses = Vec::new();
    for results in results {
        let response = call(&model, &request).await.unwrap();
        record(&mut request, &response, results);
        responses.push(response);
    }
    responses
}

fn arguments(response: &Response) -> Vec<Value> {
    response
        .calls
        .iter()
        .map(|call| serde_json::from_str(&call.arguments).unwrap())
        .collect()
}

#[tokio::test]
async fn follows_the_documented_example() {
    let script = r#"
        name = "sales"
        [[turn]]
        text = "I look at the file first."
        calls = [ { tool = "read_file", arguments = { path = "data/sales.csv" } } ]
        [[turn]]
          [[turn.case]]
          when = "'north' in last"
          calls = [ { tool = "calculator", arguments = { expression = "{{ last | column('amount') | join('+') }}" } } ]
          [[turn.case]]
          answer = "There are no sales in the north."
        [[turn]]
        answer = "Total {{ result(2) }}"
    "#;
    let said = play(script, &[&[SALES], &["42"], &[]]).await;
    assert_eq!(said[0].content, "I look at the file first.");
    assert_eq!(said[0].finish, FinishReason::ToolCalls);
    assert_eq!(said[0].calls[0].name, "read_file");
    assert_eq!(arguments(&said[0]), [json!({ "path": "data/sales.csv" })]);
    assert_eq!(arguments(&said[1]), [json!({ "expression": "10+20+12" })]);
    assert_eq!(
        (said[2].content.as_str(), said[2].finish),
        ("Total 42", FinishReason::Stop)
    );
    assert!(
        said.iter()
            .all(|r| r.model == "scripted/sales" && r.usage.total_tokens() > 0)
    );
    let said = play(script, &[&["region\nsouth\n"], &[]]).await;
    assert_eq!(said[1].content, "There are no sales in the north.");

    let model = model(script);
    assert_eq!((model.name(), model.is_llm()), ("scripted/sales", false));
}

#[tokio::test]
async fn templates_see_the_run() {
    let script = r#"
        [[turn]]
        calls = [ { tool = "a" }, { tool = "b", arguments = { goal = "{{ goal }}", turn = "{{ turn }}" } } ]
        [[turn]]
        calls = [ { tool = "c", arguments = { nested = [ 1, true, { deep = "{{ last | upper }}" } ], count = { "$expr" = "results | length" }, rows = { "$expr" = "result(1) | rows | selectattr('region', 'eq', 'north') | list" } } } ]
        [[turn]]
        answer = """
{{ result(1) | column(1) | unique | join(',') }}
{{ result(1) | rows | map(attribute='amount') | map('float') | sum }}
{{ results[1].tool }} {{ results[1].error }} {{ result(-1) }} {{ (result(3) | fromjson).x[1] }}
{% for line in results[0].text | lines %}{{ loop.index }}{% endfor %}
{# gone #}literal <b> & "quotes"
"""
    "#;
    let said = play(script, &[&[SALES, "error: no"], &["{\"x\": [1, 2]}"], &[]]).await;
    assert_eq!(
        arguments(&said[0]),
        [
            json!({}),
            json!({ "goal": "Sum up the north.", "turn": "1" })
        ]
    );
    assert_eq!(
        arguments(&said[1]),
        [json!({
            "nested": [1, true, { "deep": format!("{SALES}\nerror: no").to_uppercase() }],
            "count": 2,
            "rows": [
                { "region": "north", "amount": "10", "note": "a, b" },
                { "region": "north", "amount": "12", "note": "x" },
            ],
        })]
    );
    assert_eq!(
        said[2].content,
        "north,south\n42.0\nb True {\"x\": [1, 2]} 2\n1234\nliteral <b> & \"quotes\""
    );
}

#[tokio::test]
async fn a_run_of_any_length_repeats_turns_and_keeps_its_place() {
    let script = r#"
        repeat_from = 2
        [[turn]]
        calls = [ { tool = "start" } ]
        [[turn]]
          [[turn.case]]
          when = "turn > 6"
          answer = "done in {{ turn }}"
          [[turn.case]]
          calls = [ { tool = "even" }, { tool = "even" } ]
        [[turn]]
        calls = [ { tool = "odd" } ]
    "#;
    let model = model(script);
    let mut request = goal("go");
    let mut tools = Vec::new();
    loop {
        let response = call(&model, &request).await.unwrap();
        if response.calls.is_empty() {
            assert_eq!(response.content, "done in 8");
            break;
        }
        // The same question gives the same answer: nothing is kept between calls.
        assert_eq!(call(&model, &request).await.unwrap(), response);
        tools.push(response.calls[0].name.clone());
        let results = vec!["ok"; response.calls.len()];
        record(&mut request, &response, &results);
        // A window that shows but the newest exchange does not lose the place.
        let mut shown = request.clone();
        let newest = shown
            .messages
            .iter()
            .rposition(|message| matches!(**message, Message::Assistant { .. }));
        shown.messages.drain(2..newest.unwrap());
        assert_eq!(
            call(&model, &shown).await.unwrap().calls,
            call(&model, &request).await.unwrap().calls
        );
    }
    assert_eq!(
        tools,
        ["start", "even", "odd", "even", "odd", "even", "odd"]
    );
}

#[tokio::test]
async fn messages_of_another_model_are_counted() {
    let model = model("[[turn]]\nanswer = '1'\n[[turn]]\nanswer = '2'\n[[turn]]\nanswer = '3'");
    let mut request = goal("go");
    for (id, expected) in [("call_abc", "1"), ("", "2")] {
        assert_eq!(call(&model, &request).await.unwrap().content, expected);
        let calls = vec![MessageCall {
            step: StepId(2),
            provider_id: id.to_owned(),
            name: "x".to_owned(),
            arguments: json!({}),
        }];
        request.messages.push(Arc::new(Message::Assistant {
            content: String::new(),
            calls,
            parts: None,
        }));
    }
    assert_eq!(call(&model, &request).await.unwrap().content, "3");
}

#[tokio::test]
async fn a_script_that_does_not_fit_says_so() {
    let script = r#"
        [[turn]]
        calls = [ { tool = "x" } ]
        [[turn]]
          [[turn.case]]
          when = "'a' in last"
          answer = "a"
          [[turn.case]]
          when = "'b' in last"
          answer = "{{ nobody }}"
          [[turn.case]]
          when = "last == 'c'"
          answer = "{{ result(5) }}"
          [[turn.case]]
          when = "last == 'd'"
          answer = "{{ 'x,y' | column('z') }}"
          [[turn.case]]
          when = "last == 'e' and missing"
          answer = "e"
    "#;
    for (result, kind, says) in [
        ("a", None, "a"),
        (
            "b",
            Some(ModelErrorKind::InvalidRequest),
            "turn 2 of script `script` cannot be written: undefined value",
        ),
        (
            "c",
            Some(ModelErrorKind::InvalidRequest),
            "result(5) is none of the 1 results",
        ),
        (
            "d",
            Some(ModelErrorKind::InvalidRequest),
            "no column z; the header has 2",
        ),
        (
            "e",
            Some(ModelErrorKind::InvalidRequest),
            "the condition `last == 'e' and missing` has no value",
        ),
        (
            "f",
            Some(ModelErrorKind::ScriptExhausted),
            "no condition holds (`'a' in last`, `'b' in last`, `last == 'c'`, `last == 'd'`, `last == 'e' and missing`); add a [[turn.case]] without `when`",
        ),
    ] {
        let model = model(script);
        let mut request = goal("go");
        let response = call(&model, &request).await.unwrap();
        record(&mut request, &response, &[result]);
        match (call(&model, &request).await, kind) {
            (Ok(response), None) => assert_eq!(response.content, says),
            (Err(error), Some(kind)) => {
                assert_eq!(error.kind, kind, "{result}");
                assert!(!error.kind.is_retryable() && !error.maybe_charged);
                assert!(error.message.contains(says), "{}", error.message);
            }
            (outcome, _) => panic!("{result}: {outcome:?}"),
        }
    }

    let model = model("name = 'short'\n[[turn]]\ncalls = [{ tool = 'x' }]");
    let mut request = goal("go");
    let response = call(&model, &request).await.unwrap();
    record(&mut request, &response, &["ok"]);
    let error = call(&model, &request).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::ScriptExhausted);
    assert_eq!(
        error.message,
        "script `short` ends after turn 1, but the run asks for turn 2; end it with an `answer`, \
         add a [[turn]], or set `repeat_from`"
    );
}

#[tokio::test(start_paused = true)]
async fn faults_and_latency_come_as_they_are_asked_for() {
    let model = model(
        r#"
        latency_ms = 1000
        [[turn]]
        error = "rate_limited"
        error_times = 2
        retry_after_ms = 250
        calls = [ { tool = "x", malformed_arguments = "{oops {{" } ]
        [[turn]]
        latency_ms = 0
        finish = "length"
        answer = "cut"
        [[turn]]
        error = "timeout"
        "#,
    );
    let start = tokio::time::Instant::now();
    let mut request = goal("go");
    for _ in 0..2 {
        let error = call(&model, &request).await.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::RateLimited);
        assert_eq!(error.retry_after, Some(Duration::from_millis(250)));
    }
    let response = call(&model, &request).await.unwrap();
    assert_eq!(response.calls[0].arguments, "{oops {{");
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    record(&mut request, &response, &["error: invalid arguments"]);
    let response = call(&model, &request).await.unwrap();
    assert_eq!(
        (response.content.as_str(), response.finish),
        ("cut", FinishReason::Length)
    );
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    record(&mut request, &response, &[]);
    for _ in 0..3 {
        let error = call(&model, &request).await.unwrap_err();
        assert_eq!(
            (error.kind, error.maybe_charged),
            (ModelErrorKind::Timeout, true)
        );
    }
}

#[test]
fn a_wrong_script_names_the_line_and_the_remedy() {
    for (script, line, says) in [
        ("", 1, "add a [[turn]]"),
        ("[[turn]]\nanswer = 'a'\n[[turn]\n", 3, "`]`"),
        (
            "[[turn]]\nansver = 'a'",
            2,
            "unknown field `ansver`, expected one of",
        ),
        (
            "[[turn]]\nanswer = 'a'\n\n[[turn]]\n",
            4,
            "the turn does nothing; add an `answer`",
        ),
        ("\n[[turn]]\ntext = 'a'", 2, "the turn does nothing"),
        (
            "[[turn]]\nanswer = 'a'\ncalls = [{ tool = 'x' }]",
            1,
            "not both; use `text`",
        ),
        ("[[turn]]\nanswer = 'a'\ntext = 'b'", 1, "not both"),
        (
            "[[turn]]\nanswer = '{{ oops'",
            1,
            "the text is no template: syntax error",
        ),
        (
            "[[turn]]\nanswer = '{{ x | nofilter }}'\n[[turn]]\nwhen = ')'\nanswer = 'a'",
            3,
            "`when` is no expression",
        ),
        (
            "[[turn]]\n[[turn.case]]\nanswer = 'a'\n[[turn.case]]\nwhen = 'a b'\nanswer = 'b'",
            4,
            "`when` is no expression",
        ),
        (
            "[[turn]]\nanswer = 'a'\n[[turn.case]]\nanswer = 'b'",
            1,
            "move the rest into a [[turn.case]]",
        ),
        (
            "[[turn]]\n[[turn.case]]\n[[turn.case.case]]\nanswer = 'b'",
            2,
            "no cases of its own",
        ),
        (
            "[[turn]]\nerror = 'oops'",
            1,
            "use one of unreachable, timeout, conflict, rate_limited",
        ),
        (
            "[[turn]]\nerror = 'timeout'\nanswer = 'a'",
            1,
            "add `error_times`",
        ),
        (
            "[[turn]]\nerror_times = 2\nanswer = 'a'",
            1,
            "go with an `error`",
        ),
        (
            "[[turn]]\ncalls = [{ tool = 'x', arguments = {}, malformed_arguments = '' }]",
            1,
            "the call of `x` has",
        ),
        (
            "[[turn]]\ncalls = [{ tool = 'x', arguments = { a = nan } }]",
            1,
            "JSON has no number `NaN`",
        ),
        (
            "[[turn]]\ncalls = [{ tool = 'x', arguments = { a = { '$expr' = 1 } } }]",
            1,
            "`$expr` is not a string",
        ),
        (
            "[[turn]]\ncalls = [{ tool = 'x', arguments = { a = { '$expr' = '(' } } }]",
            1,
            "arguments of the call of `x`",
        ),
        (
            "[[turn]]\ncalls = [{ name = 'x' }]",
            2,
            "unknown field `name`",
        ),
        (
            "repeat_from = 3\n[[turn]]\nanswer = 'a'",
            1,
            "use one from 1 to 1",
        ),
    ] {
        let error = Script::parse(script).expect_err(script);
        assert_eq!(error.line, line, "{script}: {error}");
        assert!(error.message.contains(says), "{script}: {error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("script, line {line}: "))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_model_serves_many_runs_at_once() {
    let model = Arc::new(model("[[turn]]\nanswer = 'For {{ goal }}'"));
    let runs: Vec<_> = (0..50)
        .map(|run| {
            let model = model.clone();
            tokio::spawn(async move { call(&model, &goal(&run.to_string())).await })
        })
        .collect();
    for (run, task) in runs.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().unwrap().content, format!("For {run}"));
    }
}
