use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentkit::{
    BoxFuture, StepId, Tool, ToolSpec,
    event::Failure,
    run::PinnedTool,
    tool::{ToolContext, ToolOutput},
};
use ops_core::TenantId;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;

/// What a run that begins does: it waits for the sources that it names, and takes what is there.
async fn select(
    catalogue: &Catalogue,
    patterns: Option<&[Wanted]>,
) -> Result<Arc<Selection>, Failure> {
    let named = patterns.unwrap_or_default().iter();
    let named = named.filter_map(|one| one.source.as_deref()).collect();
    catalogue.wait_for(TENANT, &named).await?;
    catalogue.select(TENANT, patterns.map(<[Wanted]>::to_vec), &[], &[])
}

/// What a run that goes on does.
async fn pinned(
    catalogue: &Catalogue,
    tools: &[PinnedTool],
    sources: &[&str],
) -> Result<Selection, Failure> {
    catalogue
        .wait_for(TENANT, &sources.iter().copied().collect())
        .await?;
    catalogue.pinned(TENANT, tools)
}

const TENANT: TenantId = TenantId::DEFAULT;
const TIMEOUT: Duration = Duration::from_secs(30);

struct Echo(ToolSpec);

impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(std::future::ready(Ok(Value::from("echo").into())))
    }
}

fn tool(name: &str, about: &str) -> Arc<dyn Tool> {
    Arc::new(Echo(ToolSpec::new(name, about, json!({"type": "object"}))))
}

/// A source that hangs until it is given a list.
struct Slow {
    name: &'static str,
    list: Mutex<Option<Vec<Arc<dyn Tool>>>>,
    given: Notify,
    asked: AtomicUsize,
}

impl Slow {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            list: Mutex::new(None),
            given: Notify::new(),
            asked: AtomicUsize::new(0),
        })
    }

    fn give(&self, tools: Vec<Arc<dyn Tool>>) {
        *self.list.lock().unwrap() = Some(tools);
        self.given.notify_one();
    }
}

impl ToolSource for Slow {
    fn name(&self) -> &str {
        self.name
    }

    fn tools<'a>(
        &'a self,
        _: &'a SourceContext,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Tool>>, SourceError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            loop {
                if let Some(tools) = self.list.lock().unwrap().clone() {
                    return Ok(tools);
                }
                self.given.notified().await;
            }
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.given.notified())
    }

    fn health(&self) -> Health {
        match *self.list.lock().unwrap() {
            Some(_) => Health::Ready,
            None => Health::Starting,
        }
    }
}

fn catalogue(sources: Vec<Arc<dyn ToolSource>>) -> Catalogue {
    Catalogue::new(sources, TIMEOUT).unwrap()
}

fn built_in() -> Arc<dyn ToolSource> {
    FixedTools::built_in(vec![
        tool("read_file", "Reads."),
        tool("calculator", "Counts."),
    ])
}

fn wanted(patterns: &[&str]) -> Vec<Wanted> {
    patterns
        .iter()
        .filter_map(|text| Wanted::parse(text))
        .collect()
}

fn names(selection: &Selection) -> Vec<String> {
    let specs = selection.registry.specs().into_iter();
    specs.map(|spec| spec.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_delays_no_run_that_does_not_name_it() {
    let slow = Slow::new("github");
    let catalogue = catalogue(vec![built_in(), Arc::clone(&slow) as _]);
    catalogue.start(TENANT);
    let begun = tokio::time::Instant::now();
    for patterns in [
        None,
        Some(wanted(&["read_*"])),
        Some(wanted(&["builtin/*"])),
    ] {
        let selection = select(&catalogue, patterns.as_deref()).await.unwrap();
        assert!(selection.registry.get("read_file").is_some());
        assert!(selection.sources.is_empty());
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "no run has waited");
    let [_, state] = &catalogue.states(TENANT)[..] else {
        panic!("two")
    };
    assert_eq!((state.tools, &state.health), (None, &Health::Starting));

    // A run that names it waits, and no longer than it is set.
    let patterns = wanted(&["github/*", "read_file"]);
    let failure = select(&catalogue, Some(&patterns))
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(begun.elapsed(), TIMEOUT);
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("tool_source_unavailable", true)
    );
    assert!(
        failure.message.contains("`github`") && failure.message.contains("30 s"),
        "{failure}"
    );
    assert_eq!(
        slow.asked.load(Ordering::SeqCst),
        1,
        "it is asked beside the runs"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_goes_on_once_the_source_is_there() {
    let slow = Slow::new("github");
    let catalogue = Arc::new(catalogue(vec![built_in(), Arc::clone(&slow) as _]));
    let waiting = Arc::clone(&catalogue);
    let waiting = tokio::spawn(async move {
        let patterns = wanted(&["github/*"]);
        select(&waiting, Some(&patterns)).await
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    slow.give(vec![tool("create_issue", "Creates an issue.")]);
    let selection = waiting.await.unwrap().unwrap();
    assert_eq!(names(&selection), ["create_issue"]);
    assert_eq!(selection.sources["github"], ["create_issue"]);
    // Now everyone who wants every tool has it.
    let all = select(&catalogue, None).await.unwrap();
    assert_eq!(names(&all), ["calculator", "create_issue", "read_file"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_concerns_runs_that_have_not_begun() {
    let slow = Slow::new("github");
    let catalogue = catalogue(vec![built_in(), Arc::clone(&slow) as _]);
    slow.give(vec![tool("issue", "Creates."), tool("search", "Searches.")]);
    let patterns = wanted(&["github/*", "read_file"]);
    let first = select(&catalogue, Some(&patterns)).await.unwrap();
    assert_eq!(names(&first), ["issue", "read_file", "search"]);

    slow.give(vec![
        tool("issue", "Deletes everything."),
        tool("new", "Is new."),
    ]);
    let later = async || loop {
        let later = select(&catalogue, Some(&patterns)).await.unwrap();
        if names(&later) == ["issue", "new", "read_file"] {
            return later;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    tokio::time::timeout(TIMEOUT, later())
        .await
        .expect("the list is taken again");

    // The run that began before has no new tool, none that is gone, and the changed one is held.
    let again = pinned(&catalogue, first.pins.tools(), &["github"])
        .await
        .unwrap();
    assert_eq!(names(&again), ["issue", "read_file"]);
    let call = async |name: &str| {
        let effect = agentkit::tool::Effect::Write;
        let context = ToolContext::outside_of_runs(StepId(1), effect, "/nonexistent".into());
        let tool = Arc::clone(again.registry.get(name).unwrap());
        tool.call(&context, json!({}))
            .await
            .map(drop)
            .map_err(|failure| failure.code)
    };
    assert_eq!(call("issue").await, Err("tool_changed".to_owned()));
    assert_eq!(call("read_file").await, Ok(()));
    // A built-in of another release is the tool that it was.
    let pins = [PinnedTool {
        name: "calculator".into(),
        digest: "other".into(),
    }];
    let again = pinned(&catalogue, &pins, &[]).await.unwrap();
    assert_eq!(names(&again), ["calculator"]);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_waits_for_the_sources_of_its_tools() {
    let slow = Slow::new("github");
    let catalogue = catalogue(vec![Arc::clone(&slow) as _]);
    let pins = [PinnedTool {
        name: "issue".into(),
        digest: tool("issue", "Creates.").spec().digest(),
    }];
    let failure = pinned(&catalogue, &pins, &["github"])
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("tool_source_unavailable", true)
    );
    slow.give(vec![tool("issue", "Creates.")]);
    let again = pinned(&catalogue, &pins, &["github"]).await.unwrap();
    assert_eq!(names(&again), ["issue"]);
}

#[tokio::test]
async fn a_source_that_there_is_not_is_named_at_once() {
    let catalogue = catalogue(vec![built_in()]);
    let patterns = wanted(&["bultin/*"]);
    let failure = select(&catalogue, Some(&patterns))
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        !failure.retryable && failure.message.contains("did you mean `builtin`?"),
        "{failure}"
    );
}

#[test]
fn sources_that_cannot_stand_together_are_refused() {
    let new = |sources| {
        Catalogue::new(sources, TIMEOUT)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(new(vec![FixedTools::named("Git Hub", vec![])]).contains("has no valid name"));
    assert!(new(vec![built_in(), built_in()]).contains("two tool sources are named `builtin`"));
    let twice = vec![
        built_in(),
        FixedTools::named("own", vec![tool("read_file", "Mine.")]),
    ];
    assert!(new(twice).contains("`own`"));
}
