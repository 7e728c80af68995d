//! The client of the kill test: it submits, watches and decides, while the process dies under it.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, ensure};
use http::{Method, StatusCode};
use ops_testkit::{Http, clock};
use serde_json::Value;

use super::{
    checks::Seen,
    decisions::Decisions,
    history::has_ended,
    plan::{Job, Luck},
    world::{World, ask, reconciliation, text},
};

/// Tasks that are kept going.
const GOING: usize = 8;

/// A task, as far as its client knows.
pub(super) struct Entry {
    pub(super) job: Job,
    /// The answer to the submit told it: the task must exist from then on.
    pub(super) id: Option<String>,
    /// Its terminal state, once it was seen.
    pub(super) ended: Option<String>,
}

/// All tasks and decisions of the kill test.
pub(super) struct Fleet {
    pub(super) entries: Vec<Entry>,
    pub(super) seen: Seen,
    pub(super) decisions: Decisions,
    pub(super) luck: Luck,
}

/// Whether the product is still there.
pub(super) enum Found {
    /// All of this was done.
    There,
    /// It is gone.
    Gone,
}

/// Goes on if the product answered, else returns [`Found::Gone`].
macro_rules! or_gone {
    ($reply:expr) => {
        match $reply.await? {
            Some(reply) => reply,
            None => return Ok(Found::Gone),
        }
    };
}

impl Fleet {
    pub(super) fn new(luck: Luck) -> Self {
        Self {
            entries: Vec::new(),
            seen: Seen::new(),
            decisions: Decisions::default(),
            luck,
        }
    }

    /// How many tasks have not been seen to end.
    pub(super) fn going(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.ended.is_none())
            .count()
    }

    /// Works with the product until it is gone. `eager` submits without a pause.
    pub(super) async fn work(
        &mut self,
        world: &World,
        http: &Http,
        eager: bool,
    ) -> anyhow::Result<()> {
        loop {
            if let Found::Gone = self.round(world, http, eager).await? {
                return Ok(());
            }
        }
    }

    /// Submits what is missing, decides what is in doubt, and looks at everything once.
    pub(super) async fn round(
        &mut self,
        world: &World,
        http: &Http,
        eager: bool,
    ) -> anyhow::Result<Found> {
        if let Found::Gone = self.keep_going(http, eager).await? {
            return Ok(Found::Gone);
        }
        if let Found::Gone = self.decide(world, http).await? {
            return Ok(Found::Gone);
        }
        if let Found::Gone = self.look(http).await? {
            return Ok(Found::Gone);
        }
        let pause = if eager { 1 } else { 10 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Ok(Found::There)
    }

    /// Repeats lost submits, decides and looks, but submits nothing new.
    pub(super) async fn settle(&mut self, world: &World, http: &Http) -> anyhow::Result<Found> {
        if let Found::Gone = self.repeat_lost(http).await? {
            return Ok(Found::Gone);
        }
        if let Found::Gone = self.decide(world, http).await? {
            return Ok(Found::Gone);
        }
        let found = self.look(http).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(found)
    }

    /// Repeats the submits that were not acknowledged.
    async fn repeat_lost(&mut self, http: &Http) -> anyhow::Result<Found> {
        for at in 0..self.entries.len() {
            if self.entries[at].id.is_none()
                && let Found::Gone = self.submit(http, at).await?
            {
                return Ok(Found::Gone);
            }
        }
        Ok(Found::There)
    }

    /// Repeats the submits that were not acknowledged; then submits new tasks.
    async fn keep_going(&mut self, http: &Http, eager: bool) -> anyhow::Result<Found> {
        if let Found::Gone = self.repeat_lost(http).await? {
            return Ok(Found::Gone);
        }
        let mut more = GOING.saturating_sub(self.going()).max(usize::from(eager));
        while more > 0 {
            let job = Job::mixed(self.entries.len(), &mut self.luck);
            self.entries.push(Entry {
                job,
                id: None,
                ended: None,
            });
            if let Found::Gone = self.submit(http, self.entries.len() - 1).await? {
                return Ok(Found::Gone);
            }
            more -= 1;
        }
        Ok(Found::There)
    }

    /// Submits a job, or submits it again: the key makes both the same task.
    pub(super) async fn submit(&mut self, http: &Http, at: usize) -> anyhow::Result<Found> {
        let Entry { job, id: known, .. } = &self.entries[at];
        let body = job.body();
        let post = ask(
            http,
            Method::POST,
            "/api/v1/tasks",
            Some(&body),
            Some(&job.name),
        );
        let task: Value = or_gone!(post).ok()?.json()?;
        let id = text(&task, "task_id");
        if let Some(known) = known {
            ensure!(*known == id, "{} is {known} and {id}", job.name);
        }
        self.entries[at].id = Some(id);
        Ok(Found::There)
    }

    /// Decides every step in doubt that is listed, in turn as each of the three.
    async fn decide(&mut self, world: &World, http: &Http) -> anyhow::Result<Found> {
        let path = "/api/v1/reconciliations?limit=1000";
        let list: Value = or_gone!(ask(http, Method::GET, path, None, None))
            .ok()?
            .json()?;
        for open in list["reconciliations"]
            .as_array()
            .context("there is no list")?
        {
            ensure!(
                open["effect"] == "write" && open["status"] == "in_doubt",
                "{open}"
            );
            let body = self.decisions.on(open, world).await?;
            let path = reconciliation(open);
            or_gone!(ask(http, Method::POST, &path, Some(&body), None)).ok()?;
        }
        Ok(Found::There)
    }

    /// Looks at every task and at the steps of those that go on: what was acknowledged exists, what
    /// ended has ended, and there is one task for each job.
    async fn look(&mut self, http: &Http) -> anyhow::Result<Found> {
        let path = "/api/v1/tasks?limit=1000";
        let list: Value = or_gone!(ask(http, Method::GET, path, None, None))
            .ok()?
            .json()?;
        let list = list["tasks"].as_array().context("there are no tasks")?;
        ensure!(list.len() <= self.entries.len(), "more tasks than jobs");
        let states: HashMap<String, String> = list
            .iter()
            .map(|task| (text(task, "task_id"), text(task, "state")))
            .collect();
        for at in 0..self.entries.len() {
            let Entry {
                id: Some(id),
                ended,
                job,
            } = &self.entries[at]
            else {
                continue;
            };
            let state = states
                .get(id)
                .with_context(|| format!("{} ({id}) is lost", job.name))?;
            if let Some(ended) = ended {
                ensure!(ended == state, "{id} was {ended} and is {state}");
                continue;
            }
            let id = id.clone();
            // One more look after the end: its last steps are visible now.
            if matches!(state.as_str(), "pending" | "scheduled") {
                continue;
            }
            let terminal = matches!(state.as_str(), "completed" | "failed" | "cancelled");
            if let Found::Gone = self.look_at(http, &id).await? {
                return Ok(Found::Gone);
            }
            if terminal {
                self.entries[at].ended = Some(state.clone());
            }
        }
        Ok(Found::There)
    }

    /// Notes which outcomes of a task are visible.
    async fn look_at(&mut self, http: &Http, id: &str) -> anyhow::Result<Found> {
        let path = format!("/api/v1/tasks/{id}/steps?limit=1000");
        let reply = or_gone!(ask(http, Method::GET, &path, None, None));
        ensure!(reply.status == StatusCode::OK, "{}", reply.text());
        let now = clock::monotonic_us();
        let steps: Value = reply.json()?;
        for step in steps["steps"].as_array().context("there are no steps")? {
            if let (true, Some(number)) = (has_ended(step), step["step"].as_u64()) {
                let step = (id.to_owned(), u32::try_from(number)?);
                self.seen.entry(step).or_insert(now);
            }
        }
        Ok(Found::There)
    }
}
