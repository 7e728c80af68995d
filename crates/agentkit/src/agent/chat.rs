//! Conversations: questions one after the other, each asked with the words of the questions before.
//!
//! A conversation is one run whose log goes on: after the end of a question, `run.started` begins the next one. So a
//! conversation is kept within the model's context as a long run is, and resumes from its log as a run does.

use std::{path::PathBuf, sync::Arc};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    Agent, Answer, CallDecision, PendingCall, RunError, RunEvent, RunStream,
    approve::Approver,
    run::{Temporary, environment, to_the_end},
};
use crate::{
    BoxFuture, Event, Goal, Usage,
    drive::{Batch, CallBudget, DriveError, MemoryRecorder, RecordError, Recorder},
    event::{Failure, RunFailed, RunStarted},
    model::Message,
    run::{Limits, Run},
};

/// A conversation with an agent, in this process: see [`Agent::chat`].
#[derive(Clone)]
pub struct Chat {
    agent: Agent,
    log: Arc<MemoryRecorder>,
    recorder: Option<Arc<dyn Recorder>>,
    workspace: Option<PathBuf>,
    temporary: Arc<Temporary>,
    /// Held while a question is asked.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A question that is about to be asked: await the answer, or follow the question with [`Question::stream`].
#[must_use = "a question is asked when it is awaited"]
pub struct Question {
    chat: Chat,
    /// `None` goes on with the question under way.
    goal: Option<Goal>,
    limits: Option<Limits>,
    approver: Option<Approver>,
}

impl Agent {
    /// A conversation: each question is asked with the questions and answers before, and with the results of their tools.
    ///
    /// ```
    /// # use agentkit::{Agent, model::scripted::Scripted};
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = "[[turn]]\nanswer = 'Hello Ann.'\n[[turn]]\nanswer = 'Ann.'\n[[turn]]\nanswer = 'Ann, of course.'";
    /// # let agent = Agent::builder(Scripted::parse(script)?).build()?;
    /// let chat = agent.chat();
    /// chat.say("My name is Ann.").await?;
    /// assert_eq!(chat.say("What is my name?").await?.to_string(), "Ann.");
    ///
    /// // The history is data. It goes on later, in another process, or with another agent.
    /// let saved = serde_json::to_string(&chat.history())?;
    /// let chat = agent.chat_from(serde_json::from_str(&saved)?)?;
    /// assert_eq!(chat.say("And again?").await?.to_string(), "Ann, of course.");
    /// # Ok(()) }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(f()).unwrap();
    /// ```
    #[must_use]
    pub fn chat(&self) -> Chat {
        Chat::of(self.clone(), Vec::new())
    }

    /// A conversation that goes on from its history: see [`Chat::history`]. The history may be that of another agent,
    /// which hands the conversation over: the next question is asked with this agent's instructions, tools and models.
    ///
    /// # Errors
    /// [`DriveError::Fold`] if the history is no log: an event cannot follow the events before.
    pub fn chat_from(&self, history: Vec<Event>) -> Result<Chat, RunError> {
        fold(&history)?;
        Ok(Chat::of(self.clone(), history))
    }
}

impl Chat {
    fn of(agent: Agent, history: Vec<Event>) -> Self {
        Self {
            agent,
            log: Arc::new(MemoryRecorder::of(history)),
            recorder: None,
            workspace: None,
            temporary: Arc::new(Temporary::new()),
            turn: Arc::default(),
        }
    }

    /// Sets the folder of file tools; the first tool call makes the folder. The default is a temporary folder,
    /// which is removed with the conversation.
    #[must_use]
    pub fn workspace(mut self, folder: impl Into<PathBuf>) -> Self {
        self.workspace = Some(folder.into());
        self
    }

    /// Has each event recorded before its effect, so that the conversation survives a crash: the events
    /// that the recorder was given, behind the events of the history, are the history.
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Asks a question. Questions are asked one after the other; a question that has no answer yet, because its
    /// process died or because the question waits, is given up: [`Chat::resume`] goes on with it instead. A question that
    /// fails stays in the conversation.
    pub fn say(&self, goal: impl Into<Goal>) -> Question {
        self.question(Some(goal.into()))
    }

    /// Goes on with the question that has no answer yet, as its log says. No recorded call is made again. Of a question
    /// that has its answer, the answer is given again.
    pub fn resume(&self) -> Question {
        self.question(None)
    }

    fn question(&self, goal: Option<Goal>) -> Question {
        Question {
            chat: self.clone(),
            goal,
            limits: None,
            approver: None,
        }
    }

    /// The log of the conversation so far: see [`Agent::chat_from`]. Large results of tools, which the model reads in
    /// pieces, are not in the history.
    #[must_use]
    pub fn history(&self) -> Vec<Event> {
        self.log.events()
    }

    /// The messages of the conversation, as the model is sent them: a summary stands for summed-up messages.
    #[must_use]
    pub fn messages(&self) -> Vec<Arc<Message>> {
        let run = fold(&self.log.events()).unwrap_or_default();
        run.memory().messages().to_vec()
    }

    fn recording(&self) -> Arc<dyn Recorder> {
        match &self.recorder {
            Some(first) => Arc::new(Both {
                first: Arc::clone(first),
                log: Arc::clone(&self.log),
            }),
            None => Arc::clone(&self.log) as _,
        }
    }
}

impl Question {
    /// With limits of its own in place of the agent's. Earlier questions do not count against them.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Decides about calls that the agent's policy asks about: see [`RunBuilder::approve`](super::RunBuilder::approve).
    pub fn approve<F, D>(mut self, decide: F) -> Self
    where
        F: FnMut(PendingCall) -> D + Send + 'static,
        D: Future<Output = CallDecision> + Send + 'static,
    {
        self.approver = Some(Approver::new(decide));
        self
    }

    /// Follows the question and its answer: see [`RunBuilder::stream`](super::RunBuilder::stream).
    pub fn stream(self) -> RunStream {
        let (sender, events) = mpsc::unbounded_channel();
        RunStream::of(Box::pin(self.finish(Some(sender))), events)
    }

    async fn finish(
        mut self,
        follower: Option<mpsc::UnboundedSender<RunEvent>>,
    ) -> Result<Answer, RunError> {
        let chat = self.chat.clone();
        let _turn = chat.turn.lock().await;
        let mut run = fold(&chat.log.events())?;
        let folder = chat.workspace.as_ref().unwrap_or(&chat.temporary.0);
        let environment = environment(chat.recording(), &chat.log, folder.clone(), follower);
        let before = run.usage();
        match self.goal.take() {
            Some(goal) => {
                let events = self.begin(goal, &run);
                let batch = Batch {
                    events: &events,
                    blobs: Vec::new(),
                    commands: Vec::new(),
                    stop: None,
                    run: None,
                };
                let recorded = environment.recorder.append(batch).await;
                recorded.map_err(DriveError::from)?;
                for event in &events {
                    run.apply(event).map_err(DriveError::from)?;
                }
            }
            None if run.config().is_none() => {
                let message = "nothing was asked so far; ask with `say`";
                return Err(Failure::last("no_question", message).into());
            }
            None => {}
        }
        let output = to_the_end(
            &chat.agent,
            Goal::default(),
            self.approver,
            &mut run,
            &environment,
        );
        let output: Value = output.await?;
        Ok(Answer {
            output,
            usage: since(before, run.usage()),
        })
    }

    /// The events with which a question begins.
    fn begin(&self, goal: Goal, run: &Run) -> Vec<Event> {
        let mut events = Vec::new();
        if run.config().is_some() && run.outcome().is_none() {
            let message = "another question was asked before this one had its answer";
            let error = Failure::last("given_up", message);
            events.push(Event::RunFailed(RunFailed { error }));
        }
        let mut config = self.chat.agent.config().clone();
        let limits = self.limits.as_ref().unwrap_or(&config.limits);
        config.limits = beyond(limits, run);
        events.push(Event::RunStarted(RunStarted {
            goal: goal.text,
            images: goal.images,
            config,
        }));
        events
    }
}

impl IntoFuture for Question {
    type Output = Result<Answer, RunError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.finish(None))
    }
}

fn fold(history: &[Event]) -> Result<Run, DriveError> {
    let mut run = Run::default();
    for event in history {
        run.apply(event)?;
    }
    Ok(run)
}

/// The limits of a question, where the limits of a run count all usage before.
fn beyond(limits: &Limits, run: &Run) -> Limits {
    let (tokens, cost_micros) = run.used_and_reserved();
    let steps = run.counted_step(run.last_step());
    let children = u32::try_from(run.children().len()).unwrap_or(u32::MAX);
    Limits {
        max_steps: limits.max_steps.saturating_add(steps),
        max_tokens: limits.max_tokens.map(|most| most.saturating_add(tokens)),
        max_cost_micros: limits
            .max_cost_micros
            .map(|most| most.saturating_add(cost_micros)),
        max_children: limits.max_children.saturating_add(children),
        ..limits.clone()
    }
}

fn since(before: Usage, now: Usage) -> Usage {
    Usage {
        input_tokens: now.input_tokens.saturating_sub(before.input_tokens),
        output_tokens: now.output_tokens.saturating_sub(before.output_tokens),
        cached_tokens: now.cached_tokens.saturating_sub(before.cached_tokens),
        reasoning_tokens: now.reasoning_tokens.saturating_sub(before.reasoning_tokens),
        cost_micros: now.cost_micros.saturating_sub(before.cost_micros),
    }
}

/// A recorder of the caller's, and the conversation's own log behind it.
struct Both {
    first: Arc<dyn Recorder>,
    log: Arc<MemoryRecorder>,
}

impl Recorder for Both {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            let kept = Batch {
                events: batch.events,
                blobs: batch.blobs.clone(),
                commands: Vec::new(),
                stop: None,
                run: None,
            };
            self.first.append(batch).await?;
            self.log.append(kept).await
        })
    }

    fn check(&self) -> Result<(), RecordError> {
        self.first.check()
    }

    fn new_child(&self) -> Result<String, Failure> {
        self.first.new_child()
    }

    fn limits(&self, now: &Limits) -> Option<Limits> {
        self.first.limits(now)
    }

    fn budget(&self) -> Option<CallBudget> {
        self.first.budget()
    }
}
