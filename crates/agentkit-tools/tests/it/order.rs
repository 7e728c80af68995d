//! The calls of one answer do what they do one by one (tools/T1).

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentkit::{
    Agent, BoxFuture, Event, Model, StepId, Tool, ToolSpec,
    drive::{
        Batch, DriveEnvironment, MemoryRecorder, RecordError, Recorder, Stop, SystemClock, drive,
    },
    event::{Failure, FinishReason, Resolution, ToolResolved, Usage, Wait},
    model::{DeltaSink, ModelError, Request, Response, ResponseCall},
    run::Run,
    tool::{Resources, ToolContext, ToolOutput},
};
use agentkit_tools::http::Settings;
use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tempfile::TempDir;

type Call = (&'static str, Value);

/// Asks for these calls, answer by answer.
struct Script(Vec<Vec<Call>>);

impl Model for Script {
    fn name(&self) -> &'static str {
        "test/script"
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let answers = request.answers.expect("the driver counts answers") as usize;
        let calls = self.0.get(answers).map_or(&[][..], Vec::as_slice);
        let response = Response {
            content: if calls.is_empty() { "done" } else { "" }.to_owned(),
            calls: calls
                .iter()
                .map(|(name, arguments)| ResponseCall {
                    provider_id: String::new(),
                    name: (*name).to_owned(),
                    arguments: arguments.to_string(),
                })
                .collect(),
            usage: Usage::default(),
            finish: FinishReason::Stop,
            model: "script".to_owned(),
            parts: None,
            request_id: None,
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// A log, and a process that dies with one of its appends, before or after the commit.
struct Log {
    events: Mutex<Vec<Event>>,
    blobs: Mutex<BTreeMap<String, Bytes>>,
    appends: AtomicUsize,
    dies: Option<(usize, bool)>,
}

impl Log {
    fn new(dies: Option<(usize, bool)>) -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::default(),
            blobs: Mutex::default(),
            appends: AtomicUsize::new(0),
            dies,
        })
    }

    /// The same log, for the next process.
    fn after(&self, dies: Option<(usize, bool)>) -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::new(self.events()),
            blobs: Mutex::new(self.blobs.lock().unwrap().clone()),
            appends: AtomicUsize::new(0),
            dies,
        })
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// A folder with the files that the log says were written, as another machine makes it.
    fn folder(&self) -> TempDir {
        let (folder, blobs) = (folder(), self.blobs.lock().unwrap());
        for (path, digest) in fold(&self.events()).files() {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let digest = digest.as_ref().expect("no tool removes files");
            std::fs::write(path, &blobs[digest]).unwrap();
        }
        folder
    }
}

impl Recorder for Log {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        let number = self.appends.fetch_add(1, Ordering::SeqCst);
        let (at, commits) = self.dies.unwrap_or((usize::MAX, true));
        if number != at || commits {
            self.events.lock().unwrap().extend_from_slice(batch.events);
            self.blobs.lock().unwrap().extend(batch.blobs);
        }
        Box::pin(std::future::ready(match number == at {
            true => Err(RecordError::LeaseLost),
            false => Ok(()),
        }))
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }

    fn new_child(&self) -> Result<String, Failure> {
        Err(Failure::last("no_children", "a test without children"))
    }
}

fn fold(events: &[Event]) -> Run {
    let mut run = Run::default();
    for event in events {
        run.apply(event).unwrap();
    }
    run
}

/// In memory where that can be had: each write of a file waits for its disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn agent(turns: Vec<Vec<Call>>) -> Agent {
    agent_with(turns, agentkit_tools::standard(&Settings::default()))
}

fn agent_with(turns: Vec<Vec<Call>>, tools: Vec<Arc<dyn Tool>>) -> Agent {
    Agent::builder(Script(turns)).tools(tools).build().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn go(agent: &Agent, log: &Arc<Log>, folder: &Path) -> Option<Stop> {
    let blobs = Arc::new(MemoryRecorder::default());
    let recorder = Arc::clone(log) as _;
    let session = DriveEnvironment::new(recorder, Arc::new(SystemClock), folder.to_owned(), blobs);
    let mut run = fold(&log.events());
    drive(agent, "go", &mut run, &session).await.ok()
}

/// What came of a run: the outcome of each call in the model's order, and the files.
#[derive(Debug, PartialEq)]
struct Report {
    calls: Vec<Result<Value, Failure>>,
    files: BTreeMap<String, String>,
}

fn report(log: &Log, folder: &Path) -> Report {
    let outcomes: BTreeMap<StepId, Result<Value, Failure>> = log
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ToolCompleted(completed) => Some((completed.step, Ok(completed.output))),
            Event::ToolFailed(failed) => Some((failed.step, Err(failed.error))),
            Event::ToolResolved(ToolResolved {
                step,
                resolution: Resolution::Done { output },
            }) => Some((step, Ok(output))),
            _ => None,
        })
        .collect();
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            match path.is_dir() {
                true => {
                    files.insert(name, "a folder".to_owned());
                    folders.push(path);
                }
                false => drop(files.insert(name, std::fs::read_to_string(&path).unwrap())),
            }
        }
    }
    Report {
        calls: outcomes.into_values().collect(),
        files,
    }
}

async fn run(turns: Vec<Vec<Call>>) -> Report {
    let (folder, log) = (folder(), Log::new(None));
    let stop = go(&agent(turns), &log, folder.path()).await;
    assert_eq!(stop, Some(Stop::Completed(json!("done"))));
    report(&log, folder.path())
}

fn one_by_one(calls: &[Call]) -> Vec<Vec<Call>> {
    calls.iter().map(|call| vec![call.clone()]).collect()
}

/// How many scripts, unless `OPSPAWN_ORDER_SCRIPTS` says another number.
fn scripts(usual: u32) -> u32 {
    let wanted = std::env::var("OPSPAWN_ORDER_SCRIPTS").ok();
    wanted.map_or(usual, |wanted| wanted.parse().unwrap())
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "./b", "B", "d", "d/a", "d/e/a", "nowhere/x"])
}

fn place() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![".", "d", "d/e", "a"])
}

fn write() -> impl Strategy<Value = Call> {
    // Long ones take longer, so that a later short one would overtake them.
    let content = (0..3_usize).prop_map(|size| "xy".repeat([0, 1, 5_000][size]));
    (path(), content)
        .prop_map(|(path, content)| ("write_file", json!({"path": path, "content": content})))
}

fn read() -> impl Strategy<Value = Call> {
    prop_oneof![
        path().prop_map(|path| ("read_file", json!({"path": path, "limit": 8}))),
        (place(), any::<bool>())
            .prop_map(|(path, all)| ("list_files", json!({"path": path, "recursive": all}))),
        Just(("list_files", json!({}))),
        place().prop_map(|path| ("search_files", json!({"pattern": "y", "path": path}))),
        Just(("search_files", json!({"pattern": "^$"}))),
        path().prop_map(|path| ("json_query", json!({"query": "$", "path": path}))),
        Just(("calculator", json!({"expression": "1 + 1"}))),
    ]
}

fn edit() -> impl Strategy<Value = Call> {
    (path(), any::<bool>()).prop_map(|(path, all)| {
        let arguments = json!({"path": path, "old": "xy", "new": "xxyy", "all": all});
        ("edit_file", arguments)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scripts(1_000)))]

    #[test]
    fn calls_of_one_answer_do_what_they_do_one_by_one(
        calls in prop::collection::vec(prop_oneof![write(), write(), read(), read(), edit()], 2..9),
    ) {
        runtime().block_on(async {
            let together = run(vec![calls.clone()]).await;
            prop_assert_eq!(together.calls.len(), calls.len());
            prop_assert_eq!(together, run(one_by_one(&calls)).await);
            Ok(())
        })?;
    }
}

/// `edit_file`, and the content of each file before its edit by that.
struct Watched {
    tool: Arc<dyn Tool>,
    before: Arc<Before>,
}

type Before = Mutex<BTreeMap<StepId, Option<Vec<u8>>>>;

impl Tool for Watched {
    fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }

    fn resources(&self, arguments: &Value) -> Resources {
        self.tool.resources(arguments)
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let path = arguments["path"].as_str().unwrap();
        let before = std::fs::read(context.workspace.join(path)).ok();
        self.before.lock().unwrap().insert(context.step, before);
        self.tool.call(context, arguments)
    }
}

/// The built-in tools, with edits that are watched.
fn watched(before: &Arc<Before>) -> Vec<Arc<dyn Tool>> {
    let watch = |tool: Arc<dyn Tool>| match tool.spec().name == "edit_file" {
        true => Arc::new(Watched {
            tool,
            before: Arc::clone(before),
        }),
        false => tool,
    };
    let tools = agentkit_tools::standard(&Settings::default());
    tools.into_iter().map(watch).collect()
}

#[derive(Debug, Default)]
struct Seen {
    deaths: AtomicUsize,
    lost_folders: AtomicUsize,
    /// Edits in doubt that had been made, and that had not.
    done: AtomicUsize,
    not_done: AtomicUsize,
}

/// Works through the calls as one answer, in a process for each kill and one more, and decides about edits in doubt as
/// a person does who looks at the file. A kill is where it falls, whether its append commits, and whether the
/// folder outlives it.
fn killed(calls: &[Call], kills: &[(usize, bool, bool)], alone: &Report, seen: &Seen) -> Report {
    let before = Arc::default();
    let agent = agent_with(vec![calls.to_vec()], watched(&before));
    let (mut folder, mut kills) = (folder(), kills.iter());
    let dies = |kill: &(usize, bool, bool)| (kill.0, kill.1);
    let mut kill = kills.next();
    let mut log = Log::new(kill.map(dies));
    let mut is_decided = false;
    loop {
        // Each process has a runtime of its own: with it end the threads that still write.
        let mut resolved = Vec::new();
        match runtime().block_on(go(&agent, &log, folder.path())) {
            None => {
                seen.deaths.fetch_add(1, Ordering::Relaxed);
                let (_, _, keeps_files) = kill.expect("only a kill ends a process");
                // The log does not hold a file of which a person said that it was edited.
                if !keeps_files && !is_decided {
                    seen.lost_folders.fetch_add(1, Ordering::Relaxed);
                    folder = log.folder();
                }
            }
            Some(Stop::Waiting(Wait::InDoubt { steps })) => {
                assert_eq!(steps.len(), 1, "writes run one at a time");
                let call = steps[0].0 as usize - 2;
                let (name, arguments) = &calls[call];
                assert_eq!(*name, "edit_file", "what else is in doubt?");
                let path = folder.path().join(arguments["path"].as_str().unwrap());
                let known = before.lock().unwrap().get(&steps[0]).cloned();
                // An edit that is made changes its file.
                let is_done = known.is_some_and(|known| known != std::fs::read(path).ok());
                let (count, resolution) = match is_done {
                    true => {
                        let output = alone.calls[call].clone().expect("an edit that was made");
                        (&seen.done, Resolution::Done { output })
                    }
                    false => (&seen.not_done, Resolution::Retry),
                };
                count.fetch_add(1, Ordering::Relaxed);
                is_decided |= is_done;
                let step = steps[0];
                resolved.push(Event::ToolResolved(ToolResolved { step, resolution }));
            }
            Some(stop) => {
                assert_eq!(stop, Stop::Completed(json!("done")));
                return report(&log, folder.path());
            }
        }
        kill = kills.next();
        log = log.after(kill.map(dies));
        log.events.lock().unwrap().extend(resolved);
    }
}

/// Two files that can be edited, and edits that find what they replace, among other calls.
fn edited() -> impl Strategy<Value = Vec<Call>> {
    let begin = ["a", "d/a"].map(|path| ("write_file", json!({"path": path, "content": "xy"})));
    let edit_of = |path| {
        let arguments = json!({"path": path, "old": "xy", "new": "xxyy", "all": true});
        ("edit_file", arguments)
    };
    let finds = prop::sample::select(vec!["a", "./a", "d/a"]).prop_map(edit_of);
    let call = prop_oneof![write(), read(), edit(), finds.clone(), finds];
    prop::collection::vec(call, 1..8)
        .prop_map(move |calls| begin.iter().cloned().chain(calls).collect())
}

/// Of writes, reads, lists and edits; an edit that was under way is in doubt.
#[test]
fn kills_change_nothing_of_that() {
    let cases = scripts(300);
    let mut runner = TestRunner::new(ProptestConfig {
        source_file: Some(file!()),
        ..ProptestConfig::with_cases(cases)
    });
    let kills = prop::collection::vec((1_usize..12, any::<bool>(), any::<bool>()), 1..4);
    let seen = Seen::default();
    let result = runner.run(&(edited(), kills), |(calls, kills)| {
        let alone = runtime().block_on(run(one_by_one(&calls)));
        prop_assert_eq!(killed(&calls, &kills, &alone, &seen), alone);
        Ok(())
    });
    println!("{cases} scripts: {seen:?}");
    if let Err(error) = result {
        panic!("{error}");
    }
    for landed in [&seen.deaths, &seen.lost_folders, &seen.done, &seen.not_done] {
        let landed = landed.load(Ordering::Relaxed);
        assert!(landed >= cases as usize / 50, "too few landed: {seen:?}");
    }
}
