//! Large results are read in pages.

use std::sync::Arc;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, ToolContext, ToolOutput},
};
use serde_json::{Value, json};

use crate::harness::Harness;

/// Returns a text as it is.
struct Speak(ToolSpec, String);

impl Speak {
    fn harness(text: &str) -> Harness {
        let spec = ToolSpec::new("speak", "", json!({"type": "object"})).effect(Effect::Pure);
        Harness::with([Arc::new(Self(spec, text.to_owned())) as Arc<dyn Tool>])
    }
}

impl Tool for Speak {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async { Ok(Value::from(self.1.as_str()).into()) })
    }
}

#[tokio::test]
async fn pages_make_up_the_whole_result() {
    for unit in ["plain ", "ä€😀", "\"\\\n", "\u{1}"] {
        let text = unit.repeat(50_000 / unit.len());
        let mut harness = Speak::harness(&text);
        let shown = harness.ok("speak", json!({})).await;
        assert_eq!(shown["handle"], "call_1");
        let mut whole = shown["preview"].as_str().unwrap().to_owned();
        let mut offset = shown["next_offset"].as_u64();
        while let Some(at) = offset {
            let outcome = harness
                .call("read_result", json!({"handle": "call_1", "offset": at}))
                .await
                .unwrap();
            assert_eq!(outcome.handle, None, "a page is shown whole");
            assert_eq!(outcome.output["offset"], at);
            assert_eq!(outcome.output["total_bytes"], text.len());
            whole += outcome.output["text"].as_str().unwrap();
            offset = outcome.output["next_offset"].as_u64();
        }
        assert_eq!(whole, text);
    }
}

#[tokio::test]
async fn windows_are_honoured() {
    let mut harness = Speak::harness(&"0123456789".repeat(2_000));
    harness.ok("speak", json!({})).await;
    let mut read = async |offset: u64, limit: u64| {
        let arguments = json!({"handle": "call_1", "offset": offset, "limit": limit});
        harness.ok("read_result", arguments).await
    };
    let page = read(5, 10).await;
    assert_eq!(
        page,
        json!({"text": "5678901234", "offset": 5, "next_offset": 15, "total_bytes": 20_000})
    );
    assert_eq!(read(19_995, 100).await["text"], "56789");
    assert_eq!(read(19_995, 100).await["next_offset"], Value::Null);
    for past in [20_000, u64::MAX] {
        let page = read(past, 100).await;
        assert_eq!(
            (&page["text"], &page["next_offset"]),
            (&json!(""), &Value::Null)
        );
    }
    let default = harness.ok("read_result", json!({"handle": "call_1"})).await;
    assert_eq!(default["next_offset"], 8192);
}

#[tokio::test]
async fn an_unknown_handle_tells_the_known() {
    let mut harness = Speak::harness(&"x".repeat(20_000));
    let error = harness
        .call("read_result", json!({"handle": "call_1"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "unknown_handle");
    assert_eq!(
        error.message,
        "there is no large result `call_1`; this run has none"
    );
    harness.ok("speak", json!({})).await;
    harness.ok("speak", json!({})).await;
    for wrong in [
        "call_3",
        "call_",
        "1",
        "call_01",
        "call_+1",
        "call_99999999999",
    ] {
        let error = harness
            .call("read_result", json!({"handle": wrong}))
            .await
            .unwrap_err();
        let expected = format!("there is no large result `{wrong}`; there are call_1, call_2");
        assert_eq!(error.message, expected);
    }
}

/// tools/T13: what is in a large result is found, and read from there.
#[tokio::test]
async fn a_large_result_is_searched_and_read_by_lines() {
    let text: String = (1..=5_000).map(|line| format!("line {line}\n")).collect();
    let mut harness = Speak::harness(&text);
    harness.ok("speak", json!({})).await;
    let arguments = json!({"handle": "call_1", "pattern": "^line 4(000|321)$"});
    let found = harness.ok("search_result", arguments).await;
    let offset = |line: &str| text.find(&format!("line {line}\n")).unwrap();
    assert_eq!(
        found,
        json!({
            "count": 2,
            "total_bytes": text.len(),
            "matches": [
                {"line": 4000, "offset": offset("4000"), "text": "line 4000"},
                {"line": 4321, "offset": offset("4321"), "text": "line 4321"},
            ],
        })
    );
    let arguments = json!({"handle": "call_1", "line": 4320, "lines": 2});
    let page = harness.ok("read_result", arguments).await;
    assert_eq!(page["text"], "line 4320\nline 4321\n");
    assert_eq!(
        (&page["line"], &page["total_lines"]),
        (&json!(4320), &json!(5000))
    );
    // Page by page.
    let mut arguments = json!({"handle": "call_1", "pattern": "0$", "max_matches": 300});
    let mut count = 0;
    loop {
        let found = harness.ok("search_result", arguments.clone()).await;
        let matches = found.get("matches").cloned();
        let matches = matches.unwrap_or_else(|| {
            let whole = found["preview"].as_str().unwrap();
            panic!("it is shown whole: {whole}")
        });
        count += matches.as_array().unwrap().len();
        match found.get("next") {
            Some(next) => arguments["after"] = next.clone(),
            None => break,
        }
    }
    assert_eq!(count, 500);
}

#[tokio::test]
async fn a_text_in_a_large_result_is_searched_and_read() {
    let mut harness = Harness::new();
    let text: String = (1..=2_000)
        .map(|line| format!("row \"{line}\"\n"))
        .collect();
    let arguments = json!({"query": "$", "json": {"text": text, "n": 1}});
    let shown = harness.ok("json_query", arguments).await;
    let handle = shown["handle"].as_str().unwrap().to_owned();
    let arguments =
        json!({"handle": handle, "pattern": "^row \"1999\"$", "inside": "/values/0/text"});
    let found = harness.ok("search_result", arguments).await;
    assert_eq!(found["matches"][0]["line"], 1999);
    let arguments = json!({"handle": handle, "inside": "/values/0/text", "line": 1999, "lines": 1});
    assert_eq!(
        harness.ok("read_result", arguments).await["text"],
        "row \"1999\"\n"
    );
    let offset = found["matches"][0]["offset"].clone();
    let arguments =
        json!({"handle": handle, "inside": "/values/0/text", "offset": offset, "limit": 10});
    assert_eq!(
        harness.ok("read_result", arguments).await["text"],
        "row \"1999\""
    );
    for (tool, arguments, code) in [
        (
            "search_result",
            json!({"handle": "call_7", "pattern": "x"}),
            "unknown_handle",
        ),
        (
            "search_result",
            json!({"handle": handle, "pattern": "("}),
            "invalid_pattern",
        ),
        (
            "search_result",
            json!({"handle": handle, "pattern": "x", "inside": "/n"}),
            "invalid_arguments",
        ),
        (
            "read_result",
            json!({"handle": handle, "inside": "/values/0/n"}),
            "invalid_arguments",
        ),
        (
            "read_result",
            json!({"handle": handle, "line": 1, "offset": 1}),
            "invalid_arguments",
        ),
    ] {
        assert_eq!(
            harness.code(tool, arguments.clone()).await,
            code,
            "{arguments}"
        );
    }
}
