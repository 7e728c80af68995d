//! Calls of one answer that overlap: what begins when, and what is recorded when.

use std::time::Duration;

use tokio::sync::Notify;

use super::*;
use crate::tool::{Resource, Resources};

/// Records that it began, and returns once it may.
struct SlowTool {
    spec: ToolSpec,
    resources: Resources,
    begun: Arc<Mutex<Vec<String>>>,
    /// It returns when this fires; at once if there is none.
    until: Option<Arc<Notify>>,
    /// Fires when it begins.
    tells: Option<Arc<Notify>>,
    /// It has the run stop.
    stops: Option<Arc<AtomicBool>>,
}

impl SlowTool {
    fn new(name: &str, resources: Resources, begun: &Arc<Mutex<Vec<String>>>) -> Self {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        Self {
            spec: ToolSpec::new(name, "", schema).effect(Effect::Idempotent),
            resources,
            begun: Arc::clone(begun),
            until: None,
            tells: None,
            stops: None,
        }
    }
}

impl Tool for SlowTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, _: &Value) -> Resources {
        self.resources.clone()
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let name = format!("{}{}", self.spec.name, arguments["n"]);
            self.begun.lock().unwrap().push(name);
            if let Some(tells) = &self.tells {
                tells.notify_one();
            }
            if let Some(stops) = &self.stops {
                stops.store(true, Ordering::SeqCst);
            }
            if let Some(until) = &self.until {
                until.notified().await;
            }
            Ok(json!("done").into())
        })
    }
}

fn recorder() -> Arc<Dying> {
    Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    })
}

/// Returns once so many calls are recorded as returned.
async fn returned(recorder: &Dying, count: usize) {
    let returned = |event: &&Event| matches!(event, Event::ToolCompleted(_));
    while recorder
        .events
        .lock()
        .unwrap()
        .iter()
        .filter(returned)
        .count()
        < count
    {
        tokio::task::yield_now().await;
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// tests/X9: of four calls at once three have returned when the process dies.
#[tokio::test]
async fn an_outcome_is_recorded_while_other_calls_are_under_way() {
    struct Hangs(SlowTool, bool);
    impl Tool for Hangs {
        fn spec(&self) -> &ToolSpec {
            &self.0.spec
        }
        fn resources(&self, _: &Value) -> Resources {
            Resources::none()
        }
        fn call<'a>(
            &'a self,
            context: &'a ToolContext,
            arguments: Value,
        ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
            let hangs = arguments["n"] == 2 && self.1;
            let call = self.0.call(context, arguments);
            Box::pin(async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                call.await
            })
        }
    }
    let begun = Arc::default();
    let agent = |hangs: bool| {
        let turn = ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}"];
        let turn = turn.into_iter().map(|arguments| ("look", arguments));
        let tool = SlowTool::new("look", Resources::none(), &begun);
        Agent::builder(Turns::new(vec![Ok(turn.collect())]))
            .tool(Hangs(tool, hangs))
            .build()
            .unwrap()
    };
    let recorder = recorder();
    let three = returned(&recorder, 3);
    let first = agent(true);
    tokio::select! {
        _ = step(&first, Arc::clone(&recorder)) => panic!("a call that hangs returned"),
        recorded = tokio::time::timeout(TIMEOUT, three) => recorded.expect("they are recorded"),
    }
    let run = fold(&recorder.events.lock().unwrap());
    let left: Vec<_> = run.in_flight().map(|state| state.call.step).collect();
    assert_eq!(left, [StepId(3)]);

    begun.lock().unwrap().clear();
    let again = Arc::new(Dying {
        events: Mutex::new(recorder.events.lock().unwrap().clone()),
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let stop = step(&agent(false), again).await.0.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    assert_eq!(*begun.lock().unwrap(), ["look2"], "one call is repeated");
}

#[tokio::test]
async fn a_call_begins_as_soon_as_those_that_it_relies_on_have_returned() {
    let begun = Arc::default();
    let service = |name: &str| Resource::service(name);
    let mut slow = SlowTool::new("slow", Resources::reads([service("far")]), &begun);
    let write = SlowTool::new("write", Resources::writes([service("near")]), &begun);
    let mut read = SlowTool::new("read", Resources::reads([service("near")]), &begun);
    // The slow call returns once the last call has begun.
    let signal = Arc::new(Notify::new());
    slow.until = Some(Arc::clone(&signal));
    read.tells = Some(signal);
    let turn = vec![("slow", "{}"), ("write", "{}"), ("read", "{}")];
    let agent = Agent::builder(Turns::new(vec![Ok(turn)]))
        .tool(slow)
        .tool(write)
        .tool(read)
        .build()
        .unwrap();
    let recorder = recorder();
    let driven = tokio::time::timeout(TIMEOUT, step(&agent, Arc::clone(&recorder))).await;
    let (stop, run) = driven.expect("the last call does not wait for the slow one");
    assert_eq!(stop.unwrap(), Stop::Completed(json!("done")));
    assert_eq!(
        *begun.lock().unwrap(),
        ["slownull", "writenull", "readnull"]
    );
    let events = recorder.events.lock().unwrap();
    assert_eq!(run, fold(&events), "the fold is the run");
    // The outcome of the write and the intent of the read are one append. The others: the first model
    // call, its answer, the outcome of the read, the second model call, the end.
    let appends = recorder.appends.load(Ordering::SeqCst);
    assert_eq!(appends, 6, "{events:#?}");
}

/// A stop in the middle begins nothing more, and lets the calls under way return.
#[tokio::test]
async fn a_run_that_is_to_stop_begins_no_further_call() {
    let begun = Arc::default();
    let service = |name: &str| Resource::service(name);
    let mut slow = SlowTool::new("slow", Resources::reads([service("far")]), &begun);
    let mut write = SlowTool::new("write", Resources::writes([service("near")]), &begun);
    let read = SlowTool::new("read", Resources::reads([service("near")]), &begun);
    let (release, recorder) = (Arc::new(Notify::new()), recorder());
    slow.until = Some(Arc::clone(&release));
    write.stops = Some(Arc::clone(&recorder.stopping));
    let turn = vec![("slow", "{}"), ("write", "{}"), ("read", "{}")];
    let agent = Agent::builder(Turns::new(vec![Ok(turn)]))
        .tool(slow)
        .tool(write)
        .tool(read)
        .build()
        .unwrap();
    let stops = async {
        returned(&recorder, 1).await;
        release.notify_one();
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        (result, _) = step(&agent, Arc::clone(&recorder)) => result,
        _ = tokio::time::timeout(TIMEOUT, stops) => panic!("it does not stop"),
    };
    let stopped = matches!(result, Err(DriveError::Record(RecordError::Stopping)));
    assert!(stopped, "{result:?}");
    assert_eq!(*begun.lock().unwrap(), ["slownull", "writenull"]);
    let run = fold(&recorder.events.lock().unwrap());
    assert_eq!(run.in_flight().count(), 0, "both outcomes are recorded");

    recorder.stopping.store(false, Ordering::SeqCst);
    let stop = step(&agent, recorder).await.0.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    assert_eq!(begun.lock().unwrap().len(), 3);
}
