use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::json;

use super::*;
use crate::{BoxFuture, Tool, ToolSpec, event::StepId, policy::ConfiguredPolicy, tool::digest_hex};

/// A tool that does what a closure says.
struct Does<F>(ToolSpec, F);

impl<F> Tool for Does<F>
where
    F: Fn(Value) -> BoxFuture<'static, Result<ToolOutput, Failure>> + Send + Sync,
{
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        self.1(arguments)
    }
}

fn context() -> ToolContext {
    ToolContext::outside_of_runs(StepId(7), Effect::Write, "/nonexistent".into())
}

fn spec(schema: Value) -> ToolSpec {
    ToolSpec::new("subject", "", schema)
}

fn object() -> ToolSpec {
    spec(json!({"type": "object"}))
}

/// A gate for one tool, named `subject`.
fn gate<F>(spec: ToolSpec, does: F) -> Gate
where
    F: Fn(Value) -> BoxFuture<'static, Result<ToolOutput, Failure>> + Send + Sync + 'static,
{
    let registry = Registry::new([Arc::new(Does(spec, does)) as Arc<dyn Tool>]).unwrap();
    Gate::new(registry, Arc::new(ConfiguredPolicy::new(["subject"])))
}

fn echo(spec: ToolSpec) -> Gate {
    gate(spec, |arguments| Box::pin(async { Ok(arguments.into()) }))
}

/// A gate for a tool that returns what it is told, whatever the arguments.
fn returns(output: impl Into<ToolOutput>) -> Gate {
    let output = output.into();
    gate(object(), move |_| {
        let output = output.clone();
        Box::pin(async { Ok(output) })
    })
}

fn admit(gate: &Gate, raw: &str) -> Admission {
    let context = PolicyContext { agent: "tester" };
    let admitted = gate.admit("subject", raw, &context).now_or_never();
    admitted.expect("small arguments are checked where they are")
}

fn refusal(admission: Admission) -> (String, String) {
    let error = admission.error.expect("the call is refused");
    assert!(!error.retryable);
    (error.code, error.message)
}

async fn run(gate: &Gate) -> Result<Outcome, Failure> {
    let mut context = context();
    context.effect = gate.registry().get("subject").unwrap().spec().effect;
    gate.run("subject", json!({}), context).await
}

#[test]
fn admits_valid_arguments_in_canonical_form() {
    let gate = echo(object().effect(Effect::Pure));
    let admission = admit(&gate, r#" {"b": [1, {"z": 1, "y": 2}], "a": "x"} "#);
    assert_eq!(admission.error, None);
    assert_eq!(admission.effect, Effect::Pure);
    assert_eq!(
        admission.input.to_string(),
        r#"{"a":"x","b":[1,{"y":2,"z":1}]}"#
    );
    assert_eq!(admit(&gate, "").input, json!({}));
    assert_eq!(admit(&gate, " \n").error, None);
}

#[test]
fn refuses_a_tool_that_is_not_there() {
    let gate = echo(object());
    let context = PolicyContext::default();
    let admitted = gate.admit("Subjekt", r#"{"a": 1}"#, &context);
    let admission = admitted.now_or_never().unwrap();
    assert_eq!(admission.input, json!({"a": 1}));
    assert_eq!(admission.effect, Effect::Write);
    let (code, message) = refusal(admission);
    assert_eq!(code, "unknown_tool");
    assert_eq!(
        message,
        "there is no tool `Subjekt`; did you mean `subject`?"
    );
}

#[test]
fn refuses_arguments_that_are_not_json() {
    let gate = echo(object());
    for (raw, expected) in [
        (r#"{"a": }"#, "expected value at line 1 column 7"),
        (r#"{"a": 1"#, "EOF while parsing an object"),
        (r#"{"a": 1} and more"#, "trailing characters"),
        ("{'a': 1}", "key must be a string"),
        (r#"{"a": 1e999}"#, "number out of range"),
        (r#"{"a": "\ud800"}"#, "unexpected end of hex escape"),
    ] {
        let admission = admit(&gate, raw);
        assert_eq!(admission.input, json!(raw));
        let (code, message) = refusal(admission);
        assert_eq!(code, "invalid_arguments");
        assert!(message.contains("not valid JSON") && message.contains("send one JSON object"));
        assert!(message.contains(expected), "{raw}: {message}");
    }
}

#[test]
fn refuses_arguments_that_are_too_large_or_too_deep() {
    let gate = echo(object());
    let raw = format!(r#"{{"a": "{}"}}"#, "ä".repeat(524_300));
    let admission = admit(&gate, &raw);
    let Value::String(kept) = &admission.input else {
        panic!("not the text")
    };
    assert!(kept.len() <= 4096 && raw.starts_with(kept));
    assert!(
        refusal(admission)
            .1
            .contains("they have 1048609 bytes, and 1048576 is the limit")
    );

    // A megabyte of small values is a tree of many.
    let many = format!(r#"{{"a": [{}[]]}}"#, "[],".repeat(100_000));
    assert!(
        refusal(admit(&gate, &many))
            .1
            .contains("they hold more than 100000 values")
    );

    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    assert_eq!(admit(&gate, &nested(64)).error, None);
    assert!(
        refusal(admit(&gate, &nested(65)))
            .1
            .contains("deeper than 64 levels")
    );
    let (code, message) = refusal(admit(&gate, &nested(100_000)));
    assert_eq!(code, "invalid_arguments");
    assert!(message.contains("recursion limit exceeded"), "{message}");
}

#[test]
fn tells_where_arguments_break_the_schema() {
    let gate = echo(spec(json!({
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "offset": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        },
        "required": ["path"],
        "additionalProperties": false,
    })));
    let one = |raw| {
        let (code, message) = refusal(admit(&gate, raw));
        assert_eq!(code, "invalid_arguments");
        let prefix = "the arguments do not match the schema of tool `subject`: ";
        message
            .strip_prefix(prefix)
            .expect("a violation")
            .to_owned()
    };
    assert_eq!(one("{}"), r#""path" is a required property"#);
    assert_eq!(one("[]"), r#"[] is not of type "object""#);
    assert_eq!(
        one(r#"{"path": "x", "offset": -1}"#),
        "at `/offset`: -1 is less than the minimum of 0"
    );
    assert_eq!(
        one(r#"{"path": "x", "tags": ["a", "c"]}"#),
        r#"at `/tags/1`: "c" is not one of "a" or "b""#
    );
    assert_eq!(
        one(r#"{"path": "x", "pth": 1}"#),
        r#""pth" is not a property that is allowed; did you mean "path"?"#
    );

    let five = one(r#"{"tags": [1, 2, 3, 4, 5, 6, 7]}"#);
    assert_eq!(five.matches("; ").count(), 5, "{five}");
    assert!(five.ends_with("; and more"), "{five}");
    let long = format!(r#"{{"path": "x", "offset": "{}"}}"#, "y".repeat(100_000));
    assert!(one(&long).len() < 400);
}

#[test]
fn denies_only_calls_that_are_valid() {
    let spec = spec(json!({"type": "object", "required": ["a"]}));
    let registry = echo(spec).registry().clone();
    let gate = Gate::new(registry, Arc::new(ConfiguredPolicy::default()));
    assert_eq!(refusal(admit(&gate, "{}")).0, "invalid_arguments");
    let admission = admit(&gate, r#"{"a": 1}"#);
    assert_eq!(admission.input, json!({"a": 1}));
    let (code, message) = refusal(admission);
    assert_eq!(code, "denied");
    assert!(message.contains("`subject` is not configured"));
}

#[tokio::test]
async fn shows_small_results_whole() {
    for content in [
        json!("x".repeat(16 * 1024)),
        json!({"a": [1, 2]}),
        json!(null),
        json!(""),
    ] {
        let outcome = run(&returns(content.clone())).await.unwrap();
        assert_eq!(
            outcome,
            Outcome {
                output: content,
                handle: None,
                parts: Vec::new(),
                blobs: Vec::new(),
                files: Vec::new(),
                follow_up: None,
            }
        );
    }
}

#[tokio::test]
async fn keeps_large_results_apart() {
    let text = format!("x{}", "ä".repeat(10_000));
    let outcome = run(&returns(json!(text))).await.unwrap();
    let (handle, bytes) = outcome.handle.unwrap();
    assert_eq!(bytes, text.as_bytes());
    assert_eq!(
        handle,
        Handle {
            digest: digest_hex(text.as_bytes()),
            bytes: 20_001
        }
    );
    let preview = outcome.output["preview"].as_str().unwrap();
    assert_eq!(preview.len(), 4095, "cut between two characters");
    assert!(text.starts_with(preview));
    assert_eq!(outcome.output["handle"], "call_7");
    assert_eq!(outcome.output["bytes"], 20_001);
    assert_eq!(outcome.output["next_offset"], 4095);
    assert_eq!(
        outcome.output["note"],
        "use read_result with this handle to read the rest"
    );

    let content = json!({"b": vec![1; 10_000], "a": 1});
    let (_, bytes) = run(&returns(content.clone()))
        .await
        .unwrap()
        .handle
        .unwrap();
    assert_eq!(bytes, content.to_string().as_bytes());
}

#[tokio::test]
async fn a_preview_is_small_whatever_it_holds() {
    let outcome = run(&returns(json!("\u{1}".repeat(20_000)))).await.unwrap();
    assert!(outcome.output.to_string().len() < 4300);
}

#[tokio::test]
async fn refuses_results_over_the_hard_cap() {
    let limits = GateLimits {
        inline_limit: 0,
        max_result: 40_000,
    };
    let file = ToolOutput {
        content: json!(null),
        files: vec![("a.txt".to_owned(), Some(Bytes::from(vec![b'x'; 40_001])))],
        parts: Vec::new(),
        follow_up: None,
    };
    for output in [
        json!("x".repeat(40_001)).into(),
        json!(vec!["xxxx"; 10_000]).into(),
        file,
    ] {
        let error = run(&returns(output).limits(limits)).await.unwrap_err();
        assert_eq!(error.code, "result_too_large");
        assert!(
            error
                .message
                .ends_with("more than 40000 bytes, the limit `max_result`")
        );
    }
    let outcome = run(&returns(json!("x".repeat(40_000))).limits(limits))
        .await
        .unwrap();
    assert_eq!(outcome.handle.unwrap().0.bytes, 40_000);
    let outcome = run(&returns(json!("x".repeat(INLINE_LIMIT))).limits(limits))
        .await
        .unwrap();
    assert_eq!(
        outcome.handle, None,
        "a page of a result is never kept apart itself"
    );
}

#[tokio::test]
async fn records_the_files_that_a_call_wrote() {
    let output = ToolOutput {
        content: json!("done"),
        files: vec![
            ("a/b.txt".to_owned(), Some(Bytes::from_static(b"hello"))),
            ("old.txt".to_owned(), None),
        ],
        parts: Vec::new(),
        follow_up: None,
    };
    let files = run(&returns(output)).await.unwrap().files;
    let (written, content) = &files[0];
    assert_eq!((written.path.as_str(), written.bytes), ("a/b.txt", 5));
    assert_eq!(written.digest, Some(digest_hex(b"hello")));
    assert_eq!(content.as_deref(), Some(b"hello".as_slice()));
    let removed = FileDelta {
        path: "old.txt".to_owned(),
        digest: None,
        bytes: 0,
    };
    assert_eq!(files[1], (removed, None));
    for path in ["", "..", "a/../../b", "/etc/passwd", "./a"] {
        let output = ToolOutput {
            content: json!(1),
            files: vec![(path.to_owned(), None)],
            parts: Vec::new(),
            follow_up: None,
        };
        assert_eq!(
            run(&returns(output)).await.unwrap_err().code,
            "invalid_output",
            "{path}"
        );
    }
}

#[tokio::test]
async fn checks_the_result_against_its_schema() {
    let spec = ToolSpec {
        output_schema: Some(json!({"type": "object", "required": ["sum"]})),
        ..object()
    };
    let gate = echo(spec);
    let good = gate
        .run("subject", json!({"sum": 3}), context())
        .await
        .unwrap();
    assert_eq!(good.output, json!({"sum": 3}));
    let error = run(&gate).await.unwrap_err();
    assert_eq!(error.code, "invalid_output");
    assert!(error.message.contains(r#""sum" is a required property"#));
}

#[tokio::test(start_paused = true)]
async fn stops_a_call_whose_time_is_over() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    for (effect, retryable) in [
        (Effect::Pure, true),
        (Effect::Idempotent, true),
        (Effect::Write, false),
    ] {
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = Arc::clone(&dropped);
        let spec = object().timeout(Duration::from_secs(5)).effect(effect);
        let gate = gate(spec, move |_| {
            let guard = Dropped(Arc::clone(&guard));
            Box::pin(async move {
                let _guard = guard;
                std::future::pending().await
            })
        });
        let start = tokio::time::Instant::now();
        let error = run(&gate).await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        let code = match retryable {
            true => "tool_timeout",
            // It was dropped in the middle of what it did.
            false => "outcome_unknown",
        };
        assert_eq!((error.code.as_str(), error.retryable), (code, retryable));
        assert!(error.message.contains("within its timeout of 5s"));
        assert_eq!(error.message.contains("may have taken effect"), !retryable);
        assert!(dropped.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn stops_a_call_when_the_run_is_cancelled() {
    let context = context();
    let cancel = context.cancel.clone();
    let gate = gate(object(), move |_| {
        cancel.cancel();
        Box::pin(std::future::pending())
    });
    let error = gate
        .run("subject", json!({}), context.clone())
        .await
        .unwrap_err();
    assert_eq!(error.code, "cancelled");
    assert!(
        error
            .message
            .contains("while tool `subject` was running; it may have taken effect")
    );
    let error = gate.run("subject", json!({}), context).await.unwrap_err();
    assert_eq!(
        error.message,
        "the run was cancelled before tool `subject` started"
    );
}

#[tokio::test]
async fn a_result_that_is_there_counts_although_the_run_was_cancelled() {
    let context = context();
    let cancel = context.cancel.clone();
    let gate = gate(object(), move |_| {
        cancel.cancel();
        Box::pin(async { Ok(json!("sent").into()) })
    });
    assert_eq!(
        gate.run("subject", json!({}), context)
            .await
            .unwrap()
            .output,
        json!("sent")
    );
}

#[tokio::test]
async fn survives_a_tool_that_panics() {
    let late = gate(object(), |_| Box::pin(async { panic!("secret detail") }));
    let early = gate(object(), |_| panic!("secret detail"));
    for gate in [late, early] {
        let error = run(&gate).await.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("tool_panicked", false)
        );
        assert!(!error.message.contains("secret"));
    }
}

#[tokio::test]
async fn passes_on_what_a_tool_failed_with() {
    let fails = |message: String| {
        gate(object(), move |_| {
            let error = Failure::passing("busy", message.clone());
            Box::pin(async { Err(error) })
        })
    };
    let error = run(&fails("try later".to_owned())).await.unwrap_err();
    assert_eq!(error, Failure::passing("busy", "try later"));
    let error = run(&fails("ä".repeat(100_000))).await.unwrap_err();
    assert_eq!(error.message.len(), 4099);
    let error = echo(object())
        .run("gone", json!({}), context())
        .await
        .unwrap_err();
    assert_eq!(error.code, "unknown_tool");
}

#[test]
fn measures_text_as_json_does() {
    let text = "a\"\\\n\u{1}\u{7f}ä€😀z";
    for max in 0..40 {
        let cut = json_prefix(text, max);
        let size = |text: &str| json!(text).to_string().len() - 2;
        assert!(size(cut) <= max);
        let longer = text[cut.len()..]
            .chars()
            .next()
            .map(|c| size(&format!("{cut}{c}")));
        assert!(longer.is_none_or(|longer| longer > max), "{max}: {cut:?}");
    }
}

/// Passes calls on to tools by their names.
struct PassesOn(ToolSpec);

impl Tool for PassesOn {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn permission(&self, arguments: &Value) -> Permission {
        match arguments["tool"].as_str() {
            Some("asked") => Permission::Ask {
                reason: "the file asks".to_owned(),
                terms: Default::default(),
            },
            Some("refused") => Permission::Deny {
                reason: "the file refuses".to_owned(),
            },
            _ => Permission::Allow,
        }
    }

    fn delegates(&self, arguments: &Value) -> Result<Option<Delegated>, Failure> {
        match arguments["tool"].as_str() {
            None => Err(Failure::last("invalid_arguments", "which tool?")),
            Some(name) => Ok(Some(Delegated {
                spec: ToolSpec::new(name, "", json!({"type": "object"})),
                arguments: arguments["arguments"].clone(),
            })),
        }
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move { Ok(arguments.into()) })
    }
}

/// A rule about a tool binds every way to it.
#[tokio::test]
async fn a_call_that_is_passed_on_is_judged_as_both() {
    let tool = PassesOn(ToolSpec::new("proxy", "", json!({"type": "object"})));
    let rule = |tool: &str, action, when: Vec<crate::policy::Condition>| crate::policy::Rule {
        tool: tool.parse().unwrap(),
        action,
        reason: None,
        when,
        unless: Vec::new(),
        expiry: None,
        preview: None,
    };
    let policy = crate::policy::ConfiguredPolicy {
        rules: vec![
            rule("git__push", crate::policy::RuleAction::Deny, Vec::new()),
            rule("git__tag", crate::policy::RuleAction::Ask, Vec::new()),
        ],
        ..crate::policy::ConfiguredPolicy::new(["proxy"])
    };
    let gate = Gate::new(
        Registry::new([Arc::new(tool) as Arc<dyn Tool>]).unwrap(),
        Arc::new(policy),
    );
    let admit = async |arguments: Value| {
        gate.admit("proxy", &arguments.to_string(), &PolicyContext::default())
            .await
    };
    let allowed = admit(json!({"tool": "git__log"})).await;
    assert_eq!((allowed.error, allowed.approval), (None, None));
    let denied = admit(json!({"tool": "git__push"})).await.error.unwrap();
    assert_eq!(denied.code, "denied");
    assert!(admit(json!({"tool": "git__tag"})).await.approval.is_some());
    assert_eq!(
        admit(json!({"tool": "asked"}))
            .await
            .approval
            .unwrap()
            .reason,
        "the file asks"
    );
    assert_eq!(
        admit(json!({"tool": "refused"}))
            .await
            .error
            .unwrap()
            .message,
        "the file refuses"
    );
    assert_eq!(
        admit(json!({})).await.error.unwrap().code,
        "invalid_arguments"
    );
}

/// Says yes once it is ready.
struct Starting {
    spec: ToolSpec,
    is_ready: AtomicBool,
}

impl Tool for Starting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn ready<'a>(&'a self, arguments: &'a Value) -> Option<BoxFuture<'a, ()>> {
        assert_ne!(
            arguments["panics"], true,
            "a tool that panics is asked at once"
        );
        Some(Box::pin(async {
            tokio::task::yield_now().await;
            self.is_ready.store(true, Ordering::SeqCst);
        }))
    }

    fn permission(&self, _: &Value) -> Permission {
        match self.is_ready.load(Ordering::SeqCst) {
            true => Permission::Allow,
            false => Permission::Deny {
                reason: "it is not ready".to_owned(),
            },
        }
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(std::future::ready(Ok(json!(null).into())))
    }
}

#[tokio::test]
async fn a_tool_is_asked_about_a_call_once_it_is_ready() {
    let gate = || {
        let tool = Starting {
            spec: ToolSpec::new("starting", "", json!({"type": "object"})),
            is_ready: false.into(),
        };
        Gate::new(
            Registry::new([Arc::new(tool) as Arc<dyn Tool>]).unwrap(),
            Arc::new(ConfiguredPolicy::new(["starting"])),
        )
    };
    let context = PolicyContext::default();
    assert_eq!(gate().admit("starting", "{}", &context).await.error, None);
    assert_eq!(
        gate().recheck("starting", json!({}), &context).await.error,
        None
    );
    let panicked = gate()
        .admit("starting", r#"{"panics": true}"#, &context)
        .await;
    assert_eq!(panicked.error.unwrap().message, "it is not ready");
}
