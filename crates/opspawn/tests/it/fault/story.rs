//! A task that is told twice: once as it goes, and once with a kill in it. What is asked, what is
//! done and what is kept must be the same.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use http::{Method, header};
use http_body_util::BodyExt as _;
use ops_testkit::{
    Answer, CrashPlan, DataDir, Http, Launch, Ledger, SeenRequest, StandIn, wait_until,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    history::{self, History},
    world::{text, until_state},
};
use crate::provider::Wire;

/// Nothing of a story takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The whole answer to a request: the n-th different one, from 0, of the task or of its child.
type Script = dyn Fn(usize, &str) -> String + Send + Sync;

/// A task and its provider.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) wire: Wire,
    pub(super) stream: bool,
    /// More variables of the product.
    pub(super) env: Vec<(&'static str, &'static str)>,
    /// The `input_data` of the task.
    pub(super) input: Value,
    pub(super) script: Arc<Script>,
    /// Whether a request is one of the task's child.
    pub(super) is_of_child: fn(&str) -> bool,
}

/// Where the product is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// While this request is answered: the n-th, from 0, of the task or of its child.
    Request {
        of_child: bool,
        nth: usize,
        held: Held,
    },
    /// At the n-th hit of a crash point.
    Point(&'static str, u32),
}

/// How much of an answer came before the kill.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    /// Nothing.
    Silence,
    /// Its beginning: of a stream as far as these words, which nobody is shown; else half of it.
    Begun(&'static str),
    /// Its beginning: of a stream as far as these words, which a follower was shown; else half.
    Shown(&'static str),
}

/// What became of a task and its children.
#[derive(Debug)]
pub(super) struct StoryReport {
    pub(super) tasks: Vec<TaskReport>,
    /// What was done to the world, by key.
    effects: Vec<String>,
}

/// What became of one task.
#[derive(Debug)]
pub(super) struct TaskReport {
    /// How it ended, as REST shows it.
    pub(super) task: Value,
    /// Its steps, as REST shows them.
    pub(super) steps: Vec<Value>,
    pub(super) history: History,
    /// What its provider was asked, in order.
    pub(super) bodies: Vec<String>,
}

/// What a kill cost, by the number of the task, from 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// The requests that were made twice, from 0.
    pub(super) asked_again: Vec<(usize, usize)>,
    /// The steps that were begun twice.
    pub(super) begun_again: Vec<(usize, u64)>,
}

impl Story {
    /// Tells it without a kill and with this one, and compares. What the kill cost, and what became
    /// of the killed one.
    pub(super) async fn survives(&self, kill: Kill) -> (Cost, StoryReport) {
        let both = async {
            let whole = self.tell(None).await?;
            let killed = self.tell(Some(kill)).await?;
            let cost = killed.against(&whole)?;
            anyhow::Ok((cost, killed))
        };
        let about = || format!("{:?}, stream {}, {kill:?}", self.wire, self.stream);
        both.await.with_context(about).unwrap()
    }

    async fn tell(&self, kill: Option<Kill>) -> anyhow::Result<StoryReport> {
        let data = DataDir::new()?;
        std::fs::create_dir(data.join("product"))?;
        let ledger = Ledger::start(data.join("ledger.log"), &[]).await?;
        let provider = Arc::new(Provider {
            story: self.clone(),
            kill,
            bodies: Mutex::default(),
            held: Mutex::default(),
            followed: Arc::default(),
        });
        let answers = Arc::clone(&provider);
        let stand_in = StandIn::start(move |asked| answers.answer(asked)).await?;
        let mut launch =
            Launch::dev(data.join("product")).env("OPSPAWN_TEST_LEDGER", ledger.http().base());
        for (name, value) in &self.env {
            launch = launch.env(*name, *value);
        }
        let launch = self.wire.launch(launch, stand_in.url(), self.stream);

        let (server, id) = match kill {
            None => {
                let server = launch.start().await?;
                let id = self.submit(server.http()).await?;
                (server, id)
            }
            Some(Kill::Request { held, .. }) => {
                let mut server = launch.start().await?;
                let id = self.submit(server.http()).await?;
                if let (Held::Shown(words), true) = (held, self.stream) {
                    shown(server.http(), &id, words, &provider.followed).await?;
                }
                provider.until_held(&stand_in).await?;
                server.sigkill()?;
                (launch.start().await?, id)
            }
            Some(Kill::Point(point, hit)) => {
                let plan = CrashPlan::new(point, hit, data.join("crashes.log"));
                let mut server = launch.clone().crash(&plan).start().await?;
                let id = self.submit(server.http()).await?;
                server.wait_exit(TIMEOUT).await?;
                ensure!(plan.fired()? == [point], "fired: {:?}", plan.fired()?);
                (launch.start().await?, id)
            }
        };
        let (http, asked) = (server.http(), stand_in.asked());
        until_state(http, &id, "completed", TIMEOUT)
            .await
            .with_context(|| format!("asked: {asked:#?}"))?;
        ensure!(server.alarms().is_empty(), "{:#?}", server.alarms());
        let asked = stand_in.asked().into_iter();
        let (of_child, own): (Vec<_>, Vec<_>) = asked
            .map(|asked| asked.body)
            .partition(|body| (self.is_of_child)(body));
        let mut tasks = vec![TaskReport::read(http, &id, own).await?];
        let list: Value = get(http, &format!("/api/v1/tasks?parent={id}")).await?;
        let children = list["tasks"].as_array().context("no list")?;
        ensure!(children.len() <= 1, "more than one child: {list:#}");
        match children.first() {
            Some(child) => {
                let child = text(child, "task_id");
                until_state(http, &child, "completed", TIMEOUT).await?;
                tasks.push(TaskReport::read(http, &child, of_child).await?);
            }
            None => ensure!(
                of_child.is_empty(),
                "a child that nobody knows: {of_child:?}"
            ),
        }
        let mut effects = Vec::new();
        for effect in ledger.effects()? {
            ensure!(effect.n == 1, "done twice: {effect:?}");
            effects.push(effect.key);
        }
        Ok(StoryReport { tasks, effects })
    }

    async fn submit(&self, http: &Http) -> anyhow::Result<String> {
        let body = json!({"task_type": "agent_run", "input_data": self.input});
        let reply = http.post("/api/v1/tasks", &body).await?.ok()?;
        Ok(text(&reply.json()?, "task_id"))
    }
}

/// Answers as the story has it, but for the request that is held.
struct Provider {
    story: Story,
    kill: Option<Kill>,
    /// The different bodies so far, of the task and of its child.
    bodies: Mutex<[Vec<String>; 2]>,
    /// The body that is held.
    held: Mutex<Option<String>>,
    /// Notified once the task has a follower: words that come before are shown to nobody.
    followed: Arc<Notify>,
}

impl Provider {
    fn answer(&self, asked: &SeenRequest) -> Answer {
        let is_of_child = (self.story.is_of_child)(&asked.body);
        let at = {
            let mut bodies = self.bodies.lock().unwrap();
            let bodies = &mut bodies[usize::from(is_of_child)];
            let known = bodies.iter().position(|body| *body == asked.body);
            known.unwrap_or_else(|| {
                bodies.push(asked.body.clone());
                bodies.len() - 1
            })
        };
        let whole = (self.story.script)(at, &asked.body);
        let held = match self.kill {
            Some(Kill::Request {
                of_child,
                nth,
                held,
            }) if (of_child, nth, 0) == (is_of_child, at, asked.repeat) => held,
            _ => return Answer::Whole(whole),
        };
        *self.held.lock().unwrap() = Some(asked.body.clone());
        match held {
            Held::Silence => Answer::Silence,
            Held::Begun(words) | Held::Shown(words) => {
                let Story { wire, stream, .. } = self.story;
                let end = wire.beginning(&whole, words, stream);
                let part = Answer::Part(whole[..end].to_owned());
                match held {
                    Held::Shown(_) if stream => {
                        Answer::When(Arc::clone(&self.followed), Box::new(part))
                    }
                    _ => part,
                }
            }
        }
    }

    /// Waits until the request is there, and so much of its answer is sent as is to be.
    async fn until_held(&self, stand_in: &StandIn) -> anyhow::Result<()> {
        let is_silent = matches!(
            self.kill,
            Some(Kill::Request {
                held: Held::Silence,
                ..
            })
        );
        wait_until("the request that is held", TIMEOUT, || async {
            let held = self.held.lock().unwrap().clone()?;
            let mut asked = stand_in.asked().into_iter();
            let asked = asked.find(|asked| asked.body == held)?;
            (is_silent || asked.sent > 0).then_some(())
        })
        .await
    }
}

impl TaskReport {
    async fn read(http: &Http, id: &str, bodies: Vec<String>) -> anyhow::Result<Self> {
        let task = get(http, &format!("/api/v1/tasks/{id}")).await?;
        let mut steps = get(http, &format!("/api/v1/tasks/{id}/steps?limit=1000")).await?;
        let history = history::read(http, id).await?;
        ensure!(history.end() == Some("task.completed"), "{history:#?}");
        Ok(Self {
            task,
            steps: serde_json::from_value(steps["steps"].take())?,
            history,
            bodies,
        })
    }

    /// The data of its events of one type.
    pub(super) fn events(&self, kind: &str) -> Vec<&Value> {
        let events = self.history.events.iter();
        let of_kind = events.filter(|event| event.kind == kind);
        of_kind.map(|event| &event.data).collect()
    }
}

impl StoryReport {
    /// Holds it against the same without a kill.
    fn against(&self, whole: &Self) -> anyhow::Result<Cost> {
        let mut cost = Cost::default();
        ensure!(self.tasks.len() == whole.tasks.len(), "other children");
        ensure!(self.effects == whole.effects, "{self:#?}\n{whole:#?}");
        let names = |told: &Self| -> Vec<String> {
            let tasks = told.tasks.iter();
            tasks.map(|told| text(&told.task, "task_id")).collect()
        };
        let (ours, theirs) = (names(self), names(whole));
        for (index, (told, other)) in self.tasks.iter().zip(&whole.tasks).enumerate() {
            let same = |text: &str| without_ids(text, &ours);
            let other_same = |text: &str| without_ids(text, &theirs);
            for key in ["result", "usage", "children_usage", "attempt", "error"] {
                let (one, two) = (&told.task[key], &other.task[key]);
                ensure!(one == two, "{key}: {one} is not {two}");
            }
            // What was asked: the same in the same order, and nothing new.
            let mut asked = told.bodies.iter().map(|body| same(body)).peekable();
            for (nth, body) in other.bodies.iter().enumerate() {
                let body = other_same(body);
                let next = asked.next().context("it asked less")?;
                ensure!(next == body, "request {nth}:\n{next}\nis not\n{body}");
                while asked.next_if(|again| *again == body).is_some() {
                    cost.asked_again.push((index, nth));
                }
            }
            let more: Vec<_> = asked.collect();
            ensure!(more.is_empty(), "it asked more: {more:?}");
            // What is kept of each step.
            ensure!(told.steps.len() == other.steps.len(), "{:#?}", told.steps);
            for (step, other) in told.steps.iter().zip(&other.steps) {
                let kept = |step: &Value| {
                    let mut step = step.clone();
                    for key in ["seq", "started_at", "ended_at", "attempt"] {
                        step[key].take();
                    }
                    step.to_string()
                };
                let (one, two) = (same(&kept(step)), other_same(&kept(other)));
                ensure!(one == two, "step {one}\nis not\n{two}");
                let tries = |step: &Value| step["attempt"].as_u64();
                if tries(step) != tries(other) {
                    ensure!(tries(step) == tries(other).map(|tries| tries + 1), "{step}");
                    cost.begun_again
                        .push((index, step["step"].as_u64().unwrap_or(0)));
                }
            }
        }
        let again = cost.asked_again.len();
        ensure!(again <= 1, "more than the call in flight: {cost:?}");
        Ok(cost)
    }
}

/// Ids of tasks by their place, since no two stories have the same ones.
fn without_ids(text: &str, ids: &[String]) -> String {
    let named = ids.iter().enumerate();
    named.fold(text.to_owned(), |text, (index, id)| {
        text.replace(id, &format!("task {index}"))
    })
}

async fn get(http: &Http, path: &str) -> anyhow::Result<Value> {
    http.get(path).await?.ok()?.json()
}

/// Follows a task, and says so, until its followers were shown these words of an answer.
async fn shown(http: &Http, id: &str, words: &str, followed: &Notify) -> anyhow::Result<()> {
    let path = format!("/api/v1/tasks/{id}/events");
    let mut request = http.request(Method::GET, &path, None)?;
    let accept = "text/event-stream".parse()?;
    request.headers_mut().insert(header::ACCEPT, accept);
    let mut stream = http.open(request).await?.into_body();
    let mut bytes = Vec::new();
    let following = async {
        while let Some(frame) = stream.frame().await {
            bytes.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
            followed.notify_one();
            let text = String::from_utf8_lossy(&bytes);
            let deltas = text.split("\n\n").filter_map(|event| {
                let data = event.split_once("event: delta\n")?.1;
                let data: Value = serde_json::from_str(data.strip_prefix("data: ")?).ok()?;
                Some(data["text"].as_str()?.to_owned())
            });
            if deltas.collect::<String>().ends_with(words) {
                return Ok(());
            }
        }
        bail!("the stream ended: {}", String::from_utf8_lossy(&bytes))
    };
    let followed = tokio::time::timeout(TIMEOUT, following).await;
    followed.context("the words were not shown")?
}
