//! Runs that wait for a world outside, whose word may come at any time and whose driver may die at
//! any append.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    Agent, BoxFuture, Tool, ToolSpec,
    drive::{
        Approval, Batch, DriveEnvironment, MemoryRecorder, RecordError, Recorder, RunClock, Stop,
        drive,
        tests::{Counting, Turns, fold},
    },
    event::{
        ChildEnded, ChildResult, MessageAdded, Resolution, SignalReceived, ToolApproved,
        ToolDenied, ToolReset, ToolResolved, Wait,
    },
    model::Message,
    policy::{Action, Permission, Policy},
    run::Run,
    tool::{Effect, FollowUp, Resource, Resources, ToolContext, ToolOutput, control},
};

/// Asks about `send`, denies what `denied` holds, and allows everything else.
#[derive(Default)]
struct Asking {
    denied: AtomicBool,
}

impl Policy for Asking {
    fn check_permissions(&self, action: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        match action.tool.name.as_str() {
            "send" if self.denied.load(Ordering::SeqCst) => Permission::Deny {
                reason: "no more mail".into(),
            },
            "send" => Permission::Ask {
                reason: "it sends mail".into(),
                terms: crate::policy::ApprovalTerms {
                    timeout: Some(std::time::Duration::from_secs(10)),
                    ..Default::default()
                },
            },
            _ => Permission::Allow,
        }
    }
}

struct TestClock(AtomicI64);

impl RunClock for TestClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// How the world outside answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Approve,
    Edit,
    Deny,
    /// Nothing comes, and the time passes.
    Silence,
}

/// A log that survives its processes, and the world outside.
struct World {
    events: Mutex<Vec<Event>>,
    /// Lengths of the log between appends.
    boundaries: Mutex<Vec<usize>>,
    commands: Mutex<Vec<Command>>,
    clock: Arc<TestClock>,
    replies: Vec<Reply>,
    /// After so many appends a word comes that the driver does not see; none: only once it waits.
    delay: Option<usize>,
    /// What is yet to come, with the number of the append before which it does.
    coming: Mutex<Vec<(usize, Event)>>,
    said: Mutex<usize>,
}

impl World {
    fn new(events: Vec<Event>) -> Self {
        Self {
            boundaries: Mutex::new(vec![events.len()]),
            events: Mutex::new(events),
            commands: Mutex::default(),
            clock: Arc::new(TestClock(AtomicI64::new(1_000_000))),
            replies: vec![Reply::Approve],
            delay: None,
            coming: Mutex::default(),
            said: Mutex::new(0),
        }
    }

    fn log(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn put(&self, event: Event) {
        let mut events = self.events.lock().unwrap();
        events.push(event);
        self.boundaries.lock().unwrap().push(events.len());
    }

    fn reply(&self) -> Reply {
        let mut said = self.said.lock().unwrap();
        *said += 1;
        self.replies[(*said - 1) % self.replies.len()]
    }

    /// What comes to these from outside; nothing for silence.
    fn answers(&self, wait: &Wait) -> Vec<Event> {
        let mut events = Vec::new();
        match wait {
            Wait::Approval { steps, .. } => {
                for step in steps {
                    let (step, by) = (*step, Some("ann".to_owned()));
                    events.extend(match self.reply() {
                        Reply::Approve => Some(Event::ToolApproved(ToolApproved {
                            step,
                            input: None,
                            by,
                        })),
                        Reply::Edit => Some(Event::ToolApproved(ToolApproved {
                            step,
                            input: Some(json!({"n": 9})),
                            by,
                        })),
                        Reply::Deny => Some(Event::ToolDenied(ToolDenied {
                            step,
                            reason: "no".into(),
                            by,
                        })),
                        Reply::Silence => None,
                    });
                }
            }
            Wait::Signal { names, .. } => {
                for name in names {
                    if self.reply() != Reply::Silence {
                        events.push(Event::SignalReceived(SignalReceived {
                            name: name.clone(),
                            payload: json!("yes"),
                        }));
                    }
                }
            }
            Wait::Children { tasks, .. } => events.extend(tasks.iter().map(|task| ended(task))),
            Wait::Timer { .. } | Wait::Budget { .. } => {}
            Wait::InDoubt { steps } => events.extend(steps.iter().map(|step| {
                Event::ToolResolved(ToolResolved {
                    step: *step,
                    resolution: Resolution::Done {
                        output: json!("it was"),
                    },
                })
            })),
        }
        events
    }

    /// Lets come what is due, and what answers the wait; if nothing does, its time passes.
    fn answer(&self, wait: &Wait) {
        let coming = std::mem::take(&mut *self.coming.lock().unwrap());
        let mut events: Vec<Event> = coming.into_iter().map(|(_, event)| event).collect();
        if events.is_empty() {
            events = self.answers(wait);
        }
        let until = match wait {
            Wait::Timer { until_micros } => Some(*until_micros),
            Wait::Approval { until_micros, .. }
            | Wait::Signal { until_micros, .. }
            | Wait::Children { until_micros, .. }
            | Wait::Budget { until_micros, .. } => *until_micros,
            Wait::InDoubt { .. } => None,
        };
        if events.is_empty() {
            let until = until.expect("somebody must answer a wait that has no end");
            self.clock.0.fetch_max(until, Ordering::SeqCst);
        }
        events.into_iter().for_each(|event| self.put(event));
    }
}

fn ended(task: &str) -> Event {
    let handle = None;
    let output = json!(format!("{task} is done"));
    Event::ChildEnded(ChildEnded {
        task: task.to_owned(),
        result: ChildResult::Completed { output, handle },
        used_tokens: 7,
        used_cost_micros: 0,
    })
}

/// One process that writes the world's log, and dies at the append `dies_at`, before or after the
/// commit.
struct Process {
    world: Arc<World>,
    appends: Mutex<usize>,
    dies_at: usize,
    commits: bool,
    stopping: AtomicBool,
    children: Mutex<usize>,
}

impl Process {
    fn new(world: &Arc<World>, dies_at: usize, commits: bool) -> Arc<Self> {
        let begun = fold(&world.log()).children().len();
        Arc::new(Self {
            world: Arc::clone(world),
            appends: Mutex::new(0),
            dies_at,
            commits,
            stopping: AtomicBool::new(false),
            children: Mutex::new(begun),
        })
    }
}

/// The steps that the events and the commands of one append ask about and begin children with.
fn caused(batch: &Batch<'_>) -> [BTreeSet<(bool, StepId)>; 2] {
    let events = batch.events.iter().filter_map(|event| match event {
        Event::ToolCalled(called) if matches!(called.decision, GateDecision::Ask { .. }) => {
            Some((true, called.step))
        }
        Event::ToolCompleted(completed) if completed.child.is_some() => {
            Some((false, completed.step))
        }
        _ => None,
    });
    let commands = batch.commands.iter().map(|command| match command {
        Command::RequestApproval(approval) => (true, approval.step),
        Command::Spawn(child) => (false, child.step),
    });
    [events.collect(), commands.collect()]
}

impl Recorder for Process {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        let mut appends = self.appends.lock().unwrap();
        let number = *appends;
        *appends += 1;
        let dies = number == self.dies_at;
        assert!(number <= self.dies_at, "a dead process appends");
        let [events, commands] = caused(&batch);
        assert_eq!(events, commands, "commands go with their events");
        if !dies || self.commits {
            let due = |(at, _): &mut (usize, Event)| *at <= number;
            let unseen: Vec<_> = self
                .world
                .coming
                .lock()
                .unwrap()
                .extract_if(.., due)
                .collect();
            unseen
                .into_iter()
                .for_each(|(_, event)| self.world.put(event));
            let stored = batch
                .events
                .iter()
                .map(|event| Event::decode(&event.encode()).unwrap());
            let mut log = self.world.events.lock().unwrap();
            log.extend(stored);
            self.world.boundaries.lock().unwrap().push(log.len());
            drop(log);
            if let Some(delay) = self.world.delay {
                for wait in asked_for(batch.events) {
                    let answers = self.world.answers(&wait).into_iter();
                    let due = answers.map(|event| (number + 1 + delay, event));
                    self.world.coming.lock().unwrap().extend(due);
                }
            }
            self.world.commands.lock().unwrap().extend(batch.commands);
        }
        let result = if dies {
            Err(RecordError::LeaseLost)
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }

    fn check(&self) -> Result<(), RecordError> {
        match self.stopping.load(Ordering::SeqCst) {
            true => Err(RecordError::Stopping),
            false => Ok(()),
        }
    }

    fn new_child(&self) -> Result<String, Failure> {
        let mut children = self.children.lock().unwrap();
        *children += 1;
        Ok(format!("task_{}", *children - 1))
    }
}

/// What the world outside can answer as soon as these events are in the log.
fn asked_for(events: &[Event]) -> Vec<Wait> {
    let until_micros = None;
    let wait = |event: &Event| match event {
        Event::ToolCalled(called) if matches!(called.decision, GateDecision::Ask { .. }) => {
            let steps = vec![called.step];
            Some(Wait::Approval {
                steps,
                until_micros,
            })
        }
        Event::ToolWaiting(waiting) => match &waiting.wait {
            CallWait::Signal { name, .. } => Some(Wait::Signal {
                names: vec![name.clone()],
                until_micros,
            }),
            CallWait::Time { .. } | CallWait::Children { .. } => None,
        },
        Event::ToolCompleted(completed) => completed.child.as_ref().map(|child| Wait::Children {
            tasks: vec![child.task.clone()],
            until_micros,
        }),
        _ => None,
    };
    events.iter().filter_map(wait).collect()
}

/// An agent that asks, waits, sleeps and has others work for it, and what its `send` did.
struct Subject {
    agent: Agent,
    sent: Arc<Mutex<Vec<StepId>>>,
    policy: Arc<Asking>,
}

fn subject_with(turns: Vec<Vec<(&'static str, &'static str)>>, limits: Limits) -> Subject {
    let (send, sent) = Counting::new("send", Effect::Write);
    let (look, _) = Counting::new("look", Effect::Pure);
    let policy = Arc::new(Asking::default());
    let agent = Agent::builder(Turns::new(turns.into_iter().map(Ok).collect()))
        .tools(control::all())
        .tool(send)
        .tool(look)
        .policy(Arc::clone(&policy) as _)
        .limits(limits)
        .build()
        .unwrap();
    Subject {
        agent,
        sent,
        policy,
    }
}

fn subject(turns: Vec<Vec<(&'static str, &'static str)>>) -> Subject {
    subject_with(turns, Limits::default())
}

fn everything() -> Subject {
    subject(vec![
        vec![
            ("send", r#"{"n": 1}"#),
            ("look", "{}"),
            ("send", r#"{"n": 2}"#),
        ],
        vec![
            (
                "ask_human",
                r#"{"question": "now?", "timeout_seconds": 60}"#,
            ),
            ("sleep_until", r#"{"seconds": 5}"#),
            ("look", "{}"),
        ],
        vec![
            ("spawn_agent", r#"{"goal": "a"}"#),
            ("spawn_agent", r#"{"goal": "b"}"#),
        ],
        vec![("await_agents", r#"{"tasks": ["task_1", "task_0"]}"#)],
    ])
}

/// Drives until the run waits or ends, or the process dies.
async fn go(agent: &Agent, process: &Arc<Process>) -> (Result<Stop, DriveError>, Run) {
    let mut run = fold(&process.world.log());
    let blobs = Arc::new(MemoryRecorder::default());
    let clock = Arc::clone(&process.world.clock) as _;
    let environment = DriveEnvironment::new(Arc::clone(process) as _, clock, ".".into(), blobs);
    let result = drive(agent, "count", &mut run, &environment).await;
    (result, run)
}

/// Drives to the end; the world answers whenever the run waits.
async fn finish(agent: &Agent, world: &Arc<World>) -> Run {
    for _ in 0..100 {
        let process = Process::new(world, usize::MAX, true);
        match go(agent, &process).await {
            (Ok(Stop::Waiting(wait)), _) => world.answer(&wait),
            (Ok(stop), run) => {
                assert_eq!(stop, Stop::Completed(json!("done")));
                assert_eq!(run, fold(&world.log()), "the fold is the run");
                return run;
            }
            (Err(error), _) => panic!("{error}"),
        }
    }
    panic!("the run does not end: {:#?}", world.log());
}

/// What the model was told of its calls, in their order.
fn told(run: &Run) -> Vec<(String, bool)> {
    let messages = run.memory().messages().iter();
    messages
        .filter_map(|message| match &**message {
            Message::Tool {
                content, is_error, ..
            } => Some((content.clone(), *is_error)),
            Message::System { .. } | Message::User { .. } | Message::Assistant { .. } => None,
        })
        .collect()
}

fn assert_sent_once(sent: &Mutex<Vec<StepId>>) {
    let sent = sent.lock().unwrap();
    let steps: BTreeSet<_> = sent.iter().collect();
    assert_eq!(steps.len(), sent.len(), "a write ran twice: {sent:?}");
}

#[tokio::test]
async fn a_run_that_waits_gets_every_answer() {
    let world = Arc::new(World {
        replies: vec![Reply::Approve, Reply::Edit, Reply::Approve],
        ..World::new(vec![])
    });
    let subject = everything();
    let run = finish(&subject.agent, &world).await;
    let told = told(&run);
    let contents: Vec<&str> = told.iter().map(|(content, _)| content.as_str()).collect();
    assert_eq!(
        contents,
        [
            "counted",
            "counted",
            "a person changed the arguments of this call to {\"n\":9}\ncounted",
            "yes",
            "{\"now\":\"1970-01-01T00:00:06Z\"}",
            "counted",
            "{\"note\":\"it has begun; await_agents gives its result\",\"task\":\"task_0\"}",
            "{\"note\":\"it has begun; await_agents gives its result\",\"task\":\"task_1\"}",
            "[{\"output\":\"task_1 is done\",\"status\":\"completed\",\"task\":\"task_1\"},\
             {\"output\":\"task_0 is done\",\"status\":\"completed\",\"task\":\"task_0\"}]",
        ]
    );
    assert!(told.iter().all(|(_, is_error)| !is_error));
    assert_eq!(run.charged_tokens(), 5 * 15 + 2 * 7);
    let commands = world.commands.lock().unwrap();
    let [
        Command::RequestApproval(first),
        Command::RequestApproval(second),
        Command::Spawn(a),
        Command::Spawn(b),
    ] = commands.as_slice()
    else {
        panic!("{commands:?}")
    };
    let send = subject.agent.gate.registry().get("send").unwrap();
    assert_eq!(
        *first,
        Approval {
            step: StepId(2),
            tool: "send".into(),
            tool_digest: send.spec().digest(),
            agent_digest: subject.agent.config().digest(),
            input: json!({"n": 1}),
            input_digest: crate::tool::digest_hex(b"{\"n\":1}"),
            input_schema: send.spec().input_schema.clone(),
            reason: "it sends mail".into(),
            until_micros: Some(11_000_000),
            escalation: None,
            preview: None,
        }
    );
    assert_eq!((second.step, &second.input), (StepId(4), &json!({"n": 2})));
    let limits = ChildLimits {
        max_tokens: None,
        max_cost_micros: None,
        max_steps: None,
        spawn_depth_left: 2,
    };
    for (child, task, goal) in [(a, "task_0", "a"), (b, "task_1", "b")] {
        assert_eq!((child.task.as_str(), child.goal.as_str()), (task, goal));
        assert_eq!((child.limits, child.deadline_micros), (limits, None));
    }
}

/// cli/C11: the `agent_digest` of an approval was another thing than that of its task.
#[test]
fn the_agent_of_an_approval_is_the_version_of_its_definition() {
    let config = subject(Vec::new()).agent.config().clone();
    assert_eq!(agent_digest(&config), config.digest());
    let versioned = RunConfig {
        agent_digest: Some("d".into()),
        ..config
    };
    assert_eq!(agent_digest(&versioned), "d");
}

#[tokio::test]
async fn a_driver_that_dies_at_any_append_leaves_a_log_that_goes_on() {
    let mut in_doubt = 0;
    for commits in [false, true] {
        for dies_at in 0.. {
            let subject = everything();
            let world = Arc::new(World::new(vec![]));
            let mut appends = dies_at;
            // Several processes write the log until one of them has died.
            let died = loop {
                let process = Process::new(&world, appends, commits);
                match go(&subject.agent, &process).await.0 {
                    Ok(Stop::Waiting(wait)) => world.answer(&wait),
                    Ok(_) => break false,
                    Err(_) => break true,
                }
                appends -= *process.appends.lock().unwrap();
            };
            if died {
                in_doubt += fold(&world.log()).in_doubt().len();
                finish(&subject.agent, &world).await;
            }
            assert_sent_once(&subject.sent);
            let commands = world.commands.lock().unwrap();
            assert_eq!(commands.len(), 4, "each is committed once: {commands:?}");
            drop(commands);
            if !died {
                break;
            }
        }
    }
    assert!(in_doubt > 0, "no death left a write in doubt");
}

#[tokio::test]
async fn every_boundary_of_a_log_resumes() {
    let world = Arc::new(World {
        replies: vec![Reply::Edit, Reply::Approve],
        ..World::new(vec![])
    });
    finish(&everything().agent, &world).await;
    let (log, boundaries) = (world.log(), world.boundaries.lock().unwrap().clone());
    assert!(boundaries.len() > 15, "{boundaries:?}");
    for end in boundaries {
        let resumed = Arc::new(World::new(log[..end].to_vec()));
        let subject = everything();
        finish(&subject.agent, &resumed).await;
        assert_sent_once(&subject.sent);
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Approve),
        Just(Reply::Edit),
        Just(Reply::Deny),
        Just(Reply::Silence)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Words come while the driver is at work and does not see them, and the driver dies.
    #[test]
    fn any_order_of_words_and_deaths_is_lawful(
        replies in proptest::collection::vec(reply(), 1..8),
        delay in proptest::option::of(0_usize..4),
        deaths in proptest::collection::vec((0_usize..6, any::<bool>()), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = Arc::new(World { replies, delay, ..World::new(vec![]) });
            let subject = everything();
            for (dies_at, commits) in deaths {
                let process = Process::new(&world, dies_at, commits);
                if let Ok(Stop::Waiting(wait)) = go(&subject.agent, &process).await.0 {
                    world.answer(&wait);
                }
            }
            let mut ended = false;
            for _ in 0..100 {
                let process = Process::new(&world, usize::MAX, true);
                match go(&subject.agent, &process).await.0.unwrap() {
                    Stop::Waiting(wait) => world.answer(&wait),
                    stop => {
                        assert_eq!(stop, Stop::Completed(json!("done")));
                        ended = true;
                        break;
                    }
                }
            }
            assert!(ended, "the run does not end: {:#?}", world.log());
            assert_sent_once(&subject.sent);
            let log = world.log();
            for end in world.boundaries.lock().unwrap().iter() {
                fold(&log[..*end]);
            }
            // What the model was told is what the whole log says.
            let run = fold(&log);
            assert_eq!(told(&run).len(), 9);
        });
    }
}

/// tests/T1: a read after a write sees what was written, also if the write waits for somebody.
#[tokio::test]
async fn a_read_after_a_write_that_waits_for_an_approval_waits_too() {
    let mail = || [Resource::service("mail")];
    let (mut send, sent) = Counting::new("send", Effect::Write);
    send.resources = Some(Resources::writes(mail()));
    let (mut look, looks) = Counting::new("look", Effect::Pure);
    look.resources = Some(Resources::reads(mail()));
    let (mut other, others) = Counting::new("other", Effect::Idempotent);
    other.resources = Some(Resources::writes([Resource::file("a")]));
    let turn = vec![
        ("look", "{}"),
        ("send", "{}"),
        ("look", "{}"),
        ("other", "{}"),
    ];
    let agent = Agent::builder(Turns::new(vec![Ok(turn)]))
        .tool(send)
        .tool(look)
        .tool(other)
        .policy(Arc::new(Asking::default()))
        .build()
        .unwrap();
    let world = Arc::new(World::new(vec![]));
    let process = Process::new(&world, usize::MAX, true);
    let stop = go(&agent, &process).await.0.unwrap();
    assert!(
        matches!(stop, Stop::Waiting(Wait::Approval { .. })),
        "{stop:?}"
    );
    assert_eq!(*looks.lock().unwrap(), [StepId(2)]);
    assert_eq!(*others.lock().unwrap(), [StepId(5)]);
    assert!(sent.lock().unwrap().is_empty());
    finish(&agent, &world).await;
    assert_eq!(*looks.lock().unwrap(), [StepId(2), StepId(4)]);
    let order: Vec<_> = world
        .log()
        .iter()
        .filter_map(|event| match event {
            Event::ToolCompleted(completed) => Some(completed.step.0),
            _ => None,
        })
        .collect();
    assert_eq!(order, [2, 5, 3, 4]);
}

/// A run with one call of `send` that was approved, before it goes on.
async fn approved(subject: &Subject, input: Option<Value>) -> Arc<World> {
    let world = Arc::new(World::new(vec![]));
    let process = Process::new(&world, usize::MAX, true);
    let stop = go(&subject.agent, &process).await.0.unwrap();
    let wait = Wait::Approval {
        steps: vec![StepId(2)],
        until_micros: Some(11_000_000),
    };
    assert_eq!(stop, Stop::Waiting(wait));
    let (step, by) = (StepId(2), None);
    world.put(Event::ToolApproved(ToolApproved { step, input, by }));
    world
}

fn one_send() -> Subject {
    subject(vec![vec![("send", r#"{"n": 1}"#)]])
}

fn failure_code(world: &World, step: u32) -> String {
    let log = world.log();
    let failed = log.iter().find_map(|event| match event {
        Event::ToolFailed(failed) if failed.step == StepId(step) => Some(failed.error.code.clone()),
        _ => None,
    });
    failed.unwrap_or_else(|| panic!("call_{step} did not fail: {log:#?}"))
}

#[tokio::test]
async fn an_approved_call_is_judged_again_before_it_runs() {
    // The rules changed.
    let subject = one_send();
    let world = approved(&subject, None).await;
    subject.policy.denied.store(true, Ordering::SeqCst);
    finish(&subject.agent, &world).await;
    assert_eq!(failure_code(&world, 2), "denied");
    assert!(subject.sent.lock().unwrap().is_empty());

    // A person gave arguments that the tool does not take.
    let subject = one_send();
    let world = approved(&subject, Some(json!({"n": "many"}))).await;
    finish(&subject.agent, &world).await;
    assert_eq!(failure_code(&world, 2), "invalid_arguments");
    assert!(subject.sent.lock().unwrap().is_empty());

    // The tool changed.
    let subject = one_send();
    let world = approved(&subject, None).await;
    let (mut send, sent) = Counting::new("send", Effect::Write);
    send.spec.description = "sends to everybody".into();
    let changed = Agent::builder(Turns::new(vec![]))
        .tool(send)
        .build()
        .unwrap();
    finish(&changed, &world).await;
    assert_eq!(failure_code(&world, 2), "tool_changed");
    assert!(sent.lock().unwrap().is_empty());

    // The tool is gone.
    let subject = one_send();
    let world = approved(&subject, None).await;
    let bare = Agent::builder(Turns::new(vec![])).build().unwrap();
    finish(&bare, &world).await;
    assert_eq!(failure_code(&world, 2), "unknown_tool");
}

#[tokio::test]
async fn a_tool_that_changed_before_it_was_asked_about_runs() {
    let subject = one_send();
    let world = approved(&subject, None).await;
    let begun = world.log()[..1].to_vec();
    assert!(matches!(begun[0], Event::RunStarted(_)));
    // The program is upgraded before the model asks for the call.
    let (mut send, sent) = Counting::new("send", Effect::Write);
    send.spec.description = "sends to somebody".into();
    let agent = Agent::builder(Turns::new(vec![Ok(vec![("send", r#"{"n": 1}"#)])]))
        .tool(send)
        .policy(Arc::clone(&subject.policy) as _)
        .build()
        .unwrap();
    let world = Arc::new(World::new(begun));
    let run = finish(&agent, &world).await;
    assert_eq!(told(&run), [("counted".to_owned(), false)]);
    assert_eq!(sent.lock().unwrap().len(), 1);
}

/// Works for 20 seconds, in which somebody answers a question about another call. The driver at work
/// does not see that.
struct Slow {
    spec: ToolSpec,
    world: Arc<World>,
    answer: Event,
}

impl Tool for Slow {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        self.world.put(self.answer.clone());
        self.world.clock.0.fetch_add(20_000_000, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(json!("slow").into())))
    }
}

#[tokio::test]
async fn a_word_in_time_counts_although_the_driver_sees_it_late() {
    let (step, by) = (StepId(3), Some("ann".to_owned()));
    let reason = "no".to_owned();
    let denied = Event::ToolDenied(ToolDenied {
        step,
        reason,
        by: by.clone(),
    });
    let input = None;
    let approved = Event::ToolApproved(ToolApproved { step, input, by });
    for (answer, outcome, is_error) in [
        (denied, "a person denied this call: no", true),
        (approved, "counted", false),
    ] {
        let world = Arc::new(World {
            replies: vec![Reply::Silence],
            ..World::new(vec![])
        });
        let slow = Slow {
            spec: ToolSpec::new("slow", "Is slow.", json!({"type": "object"})).effect(Effect::Pure),
            world: Arc::clone(&world),
            answer,
        };
        let (send, sent) = Counting::new("send", Effect::Write);
        let turn = vec![("slow", "{}"), ("send", r#"{"n": 1}"#)];
        let agent = Agent::builder(Turns::new(vec![Ok(turn)]))
            .tool(slow)
            .tool(send)
            .policy(Arc::new(Asking::default()))
            .build()
            .unwrap();
        let run = finish(&agent, &world).await;
        let told = told(&run);
        assert_eq!(told[0], ("slow".to_owned(), false));
        assert_eq!(told[1], (outcome.to_owned(), is_error));
        assert_eq!(sent.lock().unwrap().len(), usize::from(!is_error));
    }
}

#[tokio::test]
async fn a_worker_that_stops_asks_all_the_same() {
    let subject = subject(vec![vec![("look", "{}"), ("send", "{}")]]);
    let world = Arc::new(World::new(vec![]));
    let process = Process::new(&world, usize::MAX, true);
    // The answer is there when the worker is told to stop.
    struct Stopping(Arc<Process>, Mutex<u32>);
    impl Recorder for Stopping {
        fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
            self.0.append(batch)
        }
        fn check(&self) -> Result<(), RecordError> {
            let mut asked = self.1.lock().unwrap();
            *asked += 1;
            match *asked {
                ..=2 => Ok(()),
                _ => Err(RecordError::Stopping),
            }
        }
        fn new_child(&self) -> Result<String, Failure> {
            self.0.new_child()
        }
    }
    let recorder = Arc::new(Stopping(process, Mutex::new(0)));
    let blobs = Arc::new(MemoryRecorder::default());
    let environment =
        DriveEnvironment::new(recorder, Arc::clone(&world.clock) as _, ".".into(), blobs);
    let mut run = Run::default();
    let result = drive(&subject.agent, "count", &mut run, &environment).await;
    assert!(result.is_err());
    assert_eq!(world.commands.lock().unwrap().len(), 1);
    assert_eq!(fold(&world.log()).in_flight().count(), 0);
    finish(&subject.agent, &world).await;
    assert_eq!(world.commands.lock().unwrap().len(), 1, "it is asked once");
}

#[tokio::test]
async fn children_share_what_is_left_with_their_parent() {
    let limits = Limits {
        max_tokens: Some(1_015),
        deadline_micros: Some(50_000_000),
        spawn_depth_left: 1,
        ..Limits::default()
    };
    let subject = subject_with(
        vec![vec![
            ("spawn_agent", r#"{"goal": "a", "timeout_seconds": 9}"#),
            ("spawn_agent", r#"{"goal": "b", "max_tokens": 100}"#),
            (
                "spawn_agent",
                r#"{"goal": "c", "max_tokens": 5000, "timeout_seconds": 90}"#,
            ),
            ("spawn_agent", r#"{"goal": "d"}"#),
        ]],
        limits,
    );
    let world = Arc::new(World::new(vec![]));
    let process = Process::new(&world, usize::MAX, true);
    let (result, run) = go(&subject.agent, &process).await;
    let Ok(Stop::Failed(failure)) = result else {
        panic!("{result:?}")
    };
    assert_eq!(
        failure.code, "token_limit",
        "nothing is left for the run itself"
    );
    let commands = world.commands.lock().unwrap();
    let children: Vec<_> = commands
        .iter()
        .map(|command| match command {
            Command::Spawn(child) => (child.limits.max_tokens, child.deadline_micros),
            Command::RequestApproval(_) => panic!("{command:?}"),
        })
        .collect();
    // A fifth of 1,000 first; then what the others ask for, as far as it is there.
    assert_eq!(
        children,
        [
            (Some(200), Some(10_000_000)),
            (Some(100), Some(50_000_000)),
            (Some(700), Some(50_000_000)),
        ]
    );
    assert_eq!(failure_code(&world, 5), "token_limit");
    assert_eq!(run.charged_tokens(), 1_015);
}

#[tokio::test]
async fn children_are_refused_past_their_limits() {
    let spawn = ("spawn_agent", r#"{"goal": "a"}"#);
    let limits = |max_children, spawn_depth_left| Limits {
        max_children,
        spawn_depth_left,
        ..Limits::default()
    };
    for (limits, step, code) in [
        (limits(1, 3), 3, "too_many_children"),
        (limits(9, 0), 2, "spawn_depth"),
    ] {
        let subject = subject_with(vec![vec![spawn, spawn]], limits);
        let world = Arc::new(World::new(vec![]));
        finish(&subject.agent, &world).await;
        assert_eq!(failure_code(&world, step), code);
    }
    let subject = subject(vec![vec![("await_agents", r#"{"tasks": ["task_9"]}"#)]]);
    let world = Arc::new(World::new(vec![]));
    finish(&subject.agent, &world).await;
    assert_eq!(failure_code(&world, 2), "unknown_task");
}

#[tokio::test]
async fn a_program_without_an_engine_says_what_it_cannot_do() {
    let folder = std::env::temp_dir().join(format!("agentkit-outside-{}", std::process::id()));
    let subject = subject(vec![
        vec![("spawn_agent", r#"{"goal": "a"}"#)],
        vec![("send", "{}")],
    ]);
    let error = subject
        .agent
        .run("go")
        .workspace(&folder)
        .await
        .unwrap_err();
    let crate::agent::RunError::Waiting(Wait::Approval { steps, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!(steps, [StepId(4)], "the refused child did not end the run");
    assert!(subject.sent.lock().unwrap().is_empty());
    std::fs::remove_dir_all(folder).unwrap();

    let failure = MemoryRecorder::default().new_child().unwrap_err();
    assert_eq!(failure.code, "no_children");
}

#[tokio::test]
async fn a_large_answer_from_outside_is_kept_apart() {
    let subject = subject(vec![vec![("ask_human", r#"{"question": "all?"}"#)]]);
    let world = Arc::new(World::new(vec![]));
    let process = Process::new(&world, usize::MAX, true);
    let stop = go(&subject.agent, &process).await.0.unwrap();
    let Stop::Waiting(Wait::Signal { names, .. }) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(names, ["human.call_2"]);
    world.put(Event::SignalReceived(SignalReceived {
        name: "human.call_2".into(),
        payload: json!("x".repeat(100_000)),
    }));
    let run = finish(&subject.agent, &world).await;
    assert_eq!(run.results()[&StepId(2)].bytes, 100_000);
    assert!(told(&run)[0].0.len() < 10_000);
}

#[tokio::test]
async fn a_fork_asks_again_and_runs_with_its_own_arguments() {
    let subject = one_send();
    let world = approved(&subject, None).await;
    finish(&subject.agent, &world).await;
    // The fork begins with the call as it was made, before anybody approved it.
    let log = world.log();
    let end = log
        .iter()
        .position(|event| matches!(event, Event::ToolCalled(_)))
        .unwrap();
    let mut log = log[..=end].to_vec();
    log.push(Event::ToolReset(ToolReset {
        step: StepId(2),
        input: Some(json!({"n": 5})),
    }));
    log.push(Event::MessageAdded(MessageAdded {
        content: "be quick".into(),
    }));
    let fork = Arc::new(World::new(log));
    let again = one_send();
    let run = finish(&again.agent, &fork).await;
    let commands = fork.commands.lock().unwrap();
    let [Command::RequestApproval(approval)] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!(approval.input, json!({"n": 5}));
    assert_eq!(again.sent.lock().unwrap().len(), 1);
    let content = "a person changed the arguments of this call to {\"n\":5}\ncounted".to_owned();
    assert_eq!(told(&run), [(content, false)]);
    assert_eq!(
        run.turn(),
        &crate::run::Turn::Answered {
            text: "done".into(),
            finish: crate::event::FinishReason::Stop,
            answer: None,
        }
    );
}

/// Returns what it waits for with a result beside it, which no tool may.
struct Confused(ToolSpec);

impl Tool for Confused {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let output = ToolOutput {
            content: json!("here"),
            files: vec![],
            parts: Vec::new(),
            follow_up: Some(FollowUp::Wait(CallWait::Time {
                until_micros: 0,
                length_micros: None,
            })),
        };
        Box::pin(std::future::ready(Ok(output)))
    }
}

#[tokio::test]
async fn a_call_that_waits_has_no_result_of_its_own() {
    let spec = ToolSpec::new("confused", "", json!({"type": "object"}));
    let agent = Agent::builder(Turns::new(vec![Ok(vec![("confused", "{}")])]))
        .tool(Confused(spec))
        .build()
        .unwrap();
    let world = Arc::new(World::new(vec![]));
    finish(&agent, &world).await;
    assert_eq!(failure_code(&world, 2), "invalid_output");
}
