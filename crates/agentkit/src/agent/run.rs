//! Runs in this process, with their log in memory: for programs that need no durability. They need a
//! Tokio runtime with its timer enabled: without one, the first timer or call panics.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Agent, CallDecision, PendingCall, approve::Approver};
use crate::{
    BoxFuture, Event, Goal, StepId, Usage,
    drive::{
        self, Batch, CallBudget, Deltas, DriveEnvironment, MemoryRecorder, RecordError, Recorder,
        SystemClock,
    },
    event::{Failure, Wait},
    model::DeltaSink,
    run::{Limits, OutputConfig, Run},
    schema,
};

/// A run that is about to begin: await the run, or follow it with [`RunBuilder::stream`].
#[must_use = "a run begins when it is awaited"]
pub struct RunBuilder {
    agent: Agent,
    goal: Goal,
    workspace: Option<PathBuf>,
    approver: Option<Approver>,
}

/// Result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Text, or JSON where the agent's answers have a schema.
    pub output: Value,
    /// Usage of the run's model calls.
    pub usage: Usage,
}

/// An event of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RunEvent {
    /// More words of a model's answer, while it is made. The event `model.completed` has all of
    /// them.
    Text {
        /// The model call.
        step: StepId,
        /// The try of that call, from 1.
        attempt: u32,
        /// The words.
        delta: String,
    },
    /// The words of this try are withdrawn: the call broke off, and its next try begins the answer anew.
    Withdrawn {
        /// The model call.
        step: StepId,
        /// The try that broke off.
        attempt: u32,
    },
    /// An event was recorded.
    Event(Box<Event>),
    /// The run ended with an answer; the stream ends.
    Answer(Answer),
}

/// A run that gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The agent failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The run waits for an approval (see [`RunBuilder::approve`]), a signal or the like, which a run in memory
    /// cannot get. Drive the run with [`drive::drive`] over a log of your own, and append the external event to that log.
    #[error("the run waits for {}, which it cannot be given here", .0.awaited())]
    Waiting(Wait),
    /// The driver could not go on.
    #[error(transparent)]
    Drive(#[from] drive::DriveError),
    /// The answer matches the schema of the type, but does not deserialise.
    #[error("the answer is no {type_name}, although it matches its schema")]
    Type {
        /// The type.
        type_name: &'static str,
        /// The error of the deserialisation.
        #[source]
        source: serde_json::Error,
    },
}

impl RunBuilder {
    pub(super) fn new(agent: Agent, goal: Goal) -> Self {
        Self {
            agent,
            goal,
            workspace: None,
            approver: None,
        }
    }

    /// Sets the folder of file tools; the first tool call makes the folder. The default is a temporary
    /// folder, which is removed at the end.
    pub fn workspace(mut self, folder: impl Into<PathBuf>) -> Self {
        self.workspace = Some(folder.into());
        self
    }

    /// Decides about calls that the agent's policy asks about: each call waits until the closure has decided.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use agentkit::{Agent, agent::CallDecision, model::scripted::Scripted, tool::{Effect, function}};
    /// # use agentkit::policy::{Action, ApprovalTerms, Permission, Policy, PolicyContext};
    /// # use serde::Deserialize;
    /// #[derive(Deserialize, schemars::JsonSchema)]
    /// struct Mail {
    ///     to: String,
    /// }
    /// struct Careful;
    /// impl Policy for Careful {
    ///     fn check_permissions(&self, _: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
    ///         Permission::Ask { reason: "mail leaves the house".into(), terms: ApprovalTerms::default() }
    ///     }
    /// }
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Scripted::parse("[[turn]]\ncalls = [{ tool = 'mail', arguments = { to = 'ann' } }]\n[[turn]]\nanswer = '{{ last }}'")?;
    /// let mail = function("mail", "Sends a mail.", |Mail { to }| async move {
    ///     Ok::<_, String>(format!("sent to {to}"))
    /// });
    /// let agent = Agent::builder(model).tool(mail).policy(Arc::new(Careful)).build()?;
    /// let answer = agent.run("Write to Ann.").approve(|call| async move {
    ///     match call.input["to"] == "ann" {
    ///         true => CallDecision::Approve,
    ///         false => CallDecision::Deny("only Ann gets mail".to_owned()),
    ///     }
    /// });
    /// assert_eq!(answer.await?.output, "sent to ann");
    /// # Ok(()) }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(f()).unwrap();
    /// ```
    pub fn approve<F, D>(mut self, decide: F) -> Self
    where
        F: FnMut(PendingCall) -> D + Send + 'static,
        D: Future<Output = CallDecision> + Send + 'static,
    {
        self.approver = Some(Approver::new(decide));
        self
    }

    /// Runs to the end for an answer of this type, whatever the agent's answers are otherwise: the
    /// model is held to its schema.
    ///
    /// ```
    /// # use agentkit::{Agent, model::scripted::Scripted};
    /// # use serde::Deserialize;
    /// #[derive(Deserialize, schemars::JsonSchema)]
    /// struct Sum {
    ///     sum: i64,
    /// }
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Scripted::parse("[[turn]]\nanswer = '{\"sum\": 4}'")?;
    /// let agent = Agent::builder(model).build()?;
    /// let answer: Sum = agent.run("What is 2 + 2?").typed().await?;
    /// assert_eq!(answer.sum, 4);
    /// # Ok(()) }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(f()).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`RunError::Failed`] with the code `output_mismatch` if the model gives no such answer.
    pub async fn typed<T: DeserializeOwned + JsonSchema>(mut self) -> Result<T, RunError> {
        let max_reasks = self.agent.max_reasks();
        let schema = schema::of_answer::<T>();
        self.agent = self
            .agent
            .with_output(Some(OutputConfig { schema, max_reasks }));
        let answer = self.await?;
        serde_json::from_value(answer.output).map_err(|source| RunError::Type {
            type_name: std::any::type_name::<T>(),
            source,
        })
    }

    /// Follows the run while it goes on. It goes on only while it is followed, and ends when the
    /// stream is dropped.
    ///
    /// ```
    /// # use agentkit::{Agent, agent::RunEvent, model::scripted::Scripted};
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// # let agent = Agent::builder(Scripted::parse("[[turn]]\nanswer = 'It is 4.'")?).build()?;
    /// let mut run = agent.run("What is 2 + 2?").stream();
    /// while let Some(event) = run.next().await {
    ///     match event? {
    ///         RunEvent::Text { delta, .. } => print!("{delta}"),
    ///         RunEvent::Withdrawn { .. } => println!("[the words so far are withdrawn]"),
    ///         RunEvent::Event(event) => println!("[{}]", event.kind()),
    ///         RunEvent::Answer(answer) => assert_eq!(answer.output, "It is 4."),
    ///         // A later release may tell more.
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(f()).unwrap();
    /// ```
    pub fn stream(self) -> RunStream {
        let (sender, events) = mpsc::unbounded_channel();
        RunStream::of(Box::pin(self.finish(Some(sender))), events)
    }

    async fn finish(
        self,
        follower: Option<mpsc::UnboundedSender<RunEvent>>,
    ) -> Result<Answer, RunError> {
        let temporary = match self.workspace {
            Some(_) => None,
            None => Some(Temporary::new()),
        };
        let folder = self.workspace.or(temporary.as_ref().map(|it| it.0.clone()));
        let log = Arc::new(MemoryRecorder::default());
        let recorder = Arc::clone(&log) as _;
        let environment = environment(recorder, &log, folder.unwrap_or_default(), follower);
        let mut run = Run::default();
        let output = to_the_end(
            &self.agent,
            self.goal,
            self.approver,
            &mut run,
            &environment,
        );
        let output = output.await?;
        Ok(Answer {
            output,
            usage: run.usage(),
        })
    }
}

/// An environment whose log a follower may read along.
pub(super) fn environment(
    recorder: Arc<dyn Recorder>,
    blobs: &Arc<MemoryRecorder>,
    folder: PathBuf,
    follower: Option<mpsc::UnboundedSender<RunEvent>>,
) -> DriveEnvironment {
    let spoken = Arc::new(AtomicBool::new(false));
    let recorder = match &follower {
        Some(follower) => Arc::new(FollowedLog {
            log: recorder,
            follower: follower.clone(),
            spoken: Arc::clone(&spoken),
        }),
        None => recorder,
    };
    let blobs = Arc::clone(blobs) as _;
    let mut environment = DriveEnvironment::new(recorder, Arc::new(SystemClock), folder, blobs);
    environment.deltas = follower.map(|follower| Arc::new(DeltaFeed { follower, spoken }) as _);
    environment
}

/// Drives a run to its end, and has the approver decide about calls that wait for that.
pub(super) async fn to_the_end(
    agent: &Agent,
    mut goal: Goal,
    mut approver: Option<Approver>,
    run: &mut Run,
    environment: &DriveEnvironment,
) -> Result<Value, RunError> {
    loop {
        let goal = std::mem::take(&mut goal);
        let wait = match agent.run_in(goal, run, environment).await {
            Err(RunError::Waiting(wait)) => wait,
            ended => return ended,
        };
        let (Some(approver), Wait::Approval { steps, .. }) = (&mut approver, &wait) else {
            return Err(RunError::Waiting(wait));
        };
        if !approver.decide(steps, run, environment).await? {
            return Err(RunError::Waiting(wait));
        }
    }
}

impl IntoFuture for RunBuilder {
    type Output = Result<Answer, RunError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.finish(None))
    }
}

/// The text, or JSON.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.output {
            Value::String(text) => f.write_str(text),
            json => json.fmt(f),
        }
    }
}

/// The events of a run, as they come.
#[must_use = "a run goes on only while its stream is polled"]
pub struct RunStream {
    /// `None` once the run has ended.
    run: Option<BoxFuture<'static, Result<Answer, RunError>>>,
    events: mpsc::UnboundedReceiver<RunEvent>,
    /// The end of the stream, once the reader has taken the events before.
    end: Option<Result<RunEvent, RunError>>,
}

impl RunStream {
    pub(super) fn of(
        run: BoxFuture<'static, Result<Answer, RunError>>,
        events: mpsc::UnboundedReceiver<RunEvent>,
    ) -> Self {
        Self {
            run: Some(run),
            events,
            end: None,
        }
    }

    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<RunEvent, RunError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for RunStream {
    type Item = Result<RunEvent, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Ok(event) = this.events.try_recv() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(run) = &mut this.run else {
                return Poll::Ready(this.end.take());
            };
            match run.as_mut().poll(context) {
                Poll::Ready(result) => {
                    this.run = None;
                    this.end = Some(result.map(RunEvent::Answer));
                }
                Poll::Pending => {
                    let event = ready!(this.events.poll_recv(context));
                    return Poll::Ready(event.map(Ok));
                }
            }
        }
    }
}

/// A folder that is removed at the end, if it was ever made.
pub(super) struct Temporary(pub(super) PathBuf);

impl Temporary {
    pub(super) fn new() -> Self {
        let name = format!("agentkit-{:016x}", rand::random::<u64>());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a temporary workspace cannot be removed");
        }
    }
}

/// A log that tells a follower.
struct FollowedLog {
    log: Arc<dyn Recorder>,
    follower: mpsc::UnboundedSender<RunEvent>,
    /// Whether the model call under way has spoken.
    spoken: Arc<AtomicBool>,
}

impl Recorder for FollowedLog {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        for event in batch.events {
            if let Event::ModelFailed(failed) = event
                && self.spoken.swap(false, Ordering::Relaxed)
            {
                let _ = self.follower.send(RunEvent::Withdrawn {
                    step: failed.step,
                    attempt: failed.attempt,
                });
            }
            // A follower that is gone has dropped the run as well.
            let _ = self.follower.send(RunEvent::Event(Box::new(event.clone())));
        }
        self.log.append(batch)
    }

    fn check(&self) -> Result<(), RecordError> {
        self.log.check()
    }

    fn limits(&self, now: &Limits) -> Option<Limits> {
        self.log.limits(now)
    }

    fn new_child(&self) -> Result<String, Failure> {
        self.log.new_child()
    }

    fn budget(&self) -> Option<CallBudget> {
        self.log.budget()
    }
}

struct DeltaFeed {
    follower: mpsc::UnboundedSender<RunEvent>,
    spoken: Arc<AtomicBool>,
}

impl Deltas for DeltaFeed {
    fn sink(&self, step: StepId, attempt: u32) -> Box<dyn DeltaSink> {
        self.spoken.store(false, Ordering::Relaxed);
        Box::new(StepDeltas {
            step,
            attempt,
            follower: self.follower.clone(),
            spoken: Arc::clone(&self.spoken),
        })
    }
}

struct StepDeltas {
    step: StepId,
    attempt: u32,
    follower: mpsc::UnboundedSender<RunEvent>,
    spoken: Arc<AtomicBool>,
}

impl DeltaSink for StepDeltas {
    fn text(&self, delta: &str) {
        self.spoken.store(true, Ordering::Relaxed);
        let _ = self.follower.send(RunEvent::Text {
            step: self.step,
            attempt: self.attempt,
            delta: delta.to_owned(),
        });
    }
}
