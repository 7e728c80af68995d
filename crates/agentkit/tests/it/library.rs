//! What programs without a server meet: a cancelled drive, tools that fail for a while, no runtime.

use std::{
    error::Error as _,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use agentkit::{
    Agent, BoxFuture, Event, Tool, ToolSpec,
    agent::{CallDecision, RunBuilder, RunError, RunStream},
    drive::{DriveEnvironment, MemoryRecorder, Stop, SystemClock},
    event::Failure,
    model::scripted::Scripted,
    policy::{Action, Permission, Policy, PolicyContext},
    run::Run,
    tool::{Effect, ToolContext, ToolOutput, function},
};
use serde_json::{Value, json};

/// Fails in a passing way, and counts its calls.
struct Busy(ToolSpec, Arc<AtomicU32>);

impl Tool for Busy {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(Failure::passing("busy", "try later")) })
    }
}

fn agent(script: &str, calls: &Arc<AtomicU32>) -> Agent {
    let spec = ToolSpec::new("busy", "Is busy.", json!({"type": "object"})).effect(Effect::Pure);
    Agent::builder(Scripted::parse(script).unwrap())
        .tool(Busy(spec, Arc::clone(calls)))
        .build()
        .unwrap()
}

fn environment(log: &Arc<MemoryRecorder>) -> DriveEnvironment {
    DriveEnvironment::new(
        log.clone(),
        Arc::new(SystemClock),
        PathBuf::from("."),
        log.clone(),
    )
}

const CALL: &str = "[[turn]]\ncalls = [{ tool = \"busy\" }]\n[[turn]]\nanswer = \"{{ last }}\"\n";

/// `library/L6`
#[tokio::test]
async fn a_drive_that_was_cancelled_says_so_and_its_run_goes_on_later() {
    let (log, calls) = (Arc::<MemoryRecorder>::default(), Arc::default());
    let agent = agent(CALL, &calls);
    let cancelled = environment(&log);
    cancelled.cancel.cancel();
    let mut run = Run::default();
    let error = agent
        .run_in("look", &mut run, &cancelled)
        .await
        .unwrap_err();
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        told += &format!(": {error}");
        source = error.source();
    }
    assert!(told.contains("the drive was told to stop"), "{told}");
    assert!(!told.contains("worker"), "{told}");
    let answer = agent.run_in("look", &mut run, &environment(&log)).await;
    assert_eq!(answer.unwrap(), "try later");
}

/// `library/L9`: the machine repeats no call of a tool. What passes is recorded as such, and the model decides.
#[tokio::test]
async fn a_tool_that_fails_in_a_passing_way_is_called_once_and_the_log_says_that_it_passes() {
    let (log, calls) = (Arc::<MemoryRecorder>::default(), Arc::default());
    let agent = agent(CALL, &calls);
    let mut run = Run::default();
    let answer = agent.run_in("look", &mut run, &environment(&log)).await;
    assert_eq!(answer.unwrap(), "try later");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let events = log.events();
    let failed: Vec<&Failure> = events
        .iter()
        .filter_map(|event| match event {
            Event::ToolFailed(failed) => Some(&failed.error),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [&Failure::passing("busy", "try later")]);
}

/// Asks about every call.
struct Careful;

impl Policy for Careful {
    fn check_permissions(&self, action: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        Permission::Ask {
            reason: format!("{} is guarded", action.tool.name),
            terms: agentkit::policy::ApprovalTerms::default(),
        }
    }
}

/// `library/G7`: approvals in the program, without a log of its own.
#[tokio::test]
async fn a_program_decides_about_calls() {
    let script = "[[turn]]\ncalls = [{ tool = \"echo\", arguments = { text = \"a\" } }]\n\
                  [[turn]]\nanswer = \"{{ last }}\"\n";
    let echo = |echoed: &Arc<AtomicU32>| {
        let echoed = Arc::clone(echoed);
        function("echo", "Says it again.", move |Line { text }: Line| {
            echoed.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, String>(text) }
        })
    };
    let ask = async |decision: CallDecision| {
        let (echoed, asked) = (Arc::new(AtomicU32::new(0)), Arc::<Mutex<Vec<_>>>::default());
        let agent = Agent::builder(Scripted::parse(script).unwrap())
            .tool(echo(&echoed))
            .policy(Arc::new(Careful));
        let calls = Arc::clone(&asked);
        let run = agent.build().unwrap().run("go").approve(move |call| {
            calls
                .lock()
                .unwrap()
                .push((call.tool, call.input, call.reason));
            let decision = decision.clone();
            async move { decision }
        });
        let answer = run.await;
        let asked = asked.lock().unwrap().clone();
        let guarded = (
            "echo".to_owned(),
            json!({"text": "a"}),
            "echo is guarded".to_owned(),
        );
        assert_eq!(asked, [guarded]);
        (answer, echoed.load(Ordering::SeqCst))
    };
    let (answer, echoed) = ask(CallDecision::Approve).await;
    assert_eq!((answer.unwrap().output, echoed), (json!("a"), 1));
    let edited = CallDecision::ApproveWith(json!({"text": "b"}));
    let (answer, echoed) = ask(edited).await;
    let told = "a person changed the arguments of this call to {\"text\":\"b\"}\nb";
    assert_eq!((answer.unwrap().output, echoed), (json!(told), 1));
    let (answer, echoed) = ask(CallDecision::Deny("not today".to_owned())).await;
    let output = answer.unwrap().output.to_string();
    assert!(output.contains("not today"), "{output}");
    assert_eq!(echoed, 0);
    let (answer, echoed) = ask(CallDecision::Leave).await;
    assert!(matches!(answer, Err(RunError::Waiting(_))), "{answer:?}");
    assert_eq!(echoed, 0);
}

/// `library/G7`: of two calls one is left. It is asked about once, and the other one runs.
#[tokio::test]
async fn a_call_that_is_left_is_asked_about_once() {
    let script = "[[turn]]\ncalls = [{ tool = \"echo\", arguments = { text = \"a\" } }, \
                  { tool = \"echo\", arguments = { text = \"b\" } }]\n[[turn]]\nanswer = \"done\"\n";
    let (echoed, asked) = (
        Arc::<Mutex<Vec<String>>>::default(),
        Arc::<Mutex<Vec<_>>>::default(),
    );
    let said = Arc::clone(&echoed);
    let echo = function("echo", "Says it again.", move |Line { text }: Line| {
        said.lock().unwrap().push(text.clone());
        async move { Ok::<_, String>(text) }
    });
    let agent = Agent::builder(Scripted::parse(script).unwrap())
        .tool(echo)
        .policy(Arc::new(Careful));
    let calls = Arc::clone(&asked);
    let run = agent.build().unwrap().run("go").approve(move |call| {
        let text = call.input["text"].clone();
        calls.lock().unwrap().push(text.clone());
        async move {
            match text == "a" {
                true => CallDecision::Approve,
                false => CallDecision::Leave,
            }
        }
    });
    let answer = run.await;
    assert!(matches!(answer, Err(RunError::Waiting(_))), "{answer:?}");
    assert_eq!(*echoed.lock().unwrap(), ["a"]);
    assert_eq!(*asked.lock().unwrap(), [json!("a"), json!("b")]);
}

#[derive(serde::Deserialize, agentkit::JsonSchema)]
struct Line {
    text: String,
}

/// `library/L10`: as the documentation of `Agent::run` says.
#[test]
#[should_panic(expected = "no reactor running")]
fn a_run_without_a_runtime_panics() {
    let agent = agent(CALL, &Arc::default());
    let mut run = pin!(agent.run("look").into_future());
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(answer) = run.as_mut().poll(&mut context) {
            panic!("it needs no runtime: {answer:?}");
        }
    }
}

/// `library/L7`: a program that dropped an outcome compiled without a word. Once an outcome may be dropped in
/// silence, the expectation below is not met, and this file does not compile.
#[deny(unfulfilled_lint_expectations)]
fn dropped(
    run: fn() -> RunBuilder,
    stop: fn() -> Stop,
    permission: fn() -> Permission,
    stream: fn() -> RunStream,
) {
    #[expect(unused_must_use, reason = "each has to be used")]
    {
        run();
    }
    #[expect(unused_must_use, reason = "each has to be used")]
    {
        stop();
    }
    #[expect(unused_must_use, reason = "each has to be used")]
    {
        permission();
    }
    #[expect(unused_must_use, reason = "each has to be used")]
    {
        stream();
    }
}

#[test]
#[should_panic(expected = "an agent")]
fn outcomes_have_to_be_used() {
    dropped(
        || panic!("an agent"),
        || panic!("a stop"),
        || panic!("a permission"),
        || panic!("a stream"),
    );
}
