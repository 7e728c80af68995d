//! The client: it submits, decides and watches, through whichever server answers.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use http::Method;
use ops_testkit::{Http, Reply, clock, postgres};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{cluster::Cluster, lanes::Progress, plan::Plan};
use crate::fault::{
    checks::{Seen, Witnesses},
    decisions::Decisions,
    fleet::Entry,
    history::{self, has_ended},
    plan::{Job, Luck},
    world::{self, reconciliation, text},
};

/// Tasks that are kept going.
const WINDOW: usize = 24;
/// A server that does not answer for so long is frozen: another one is asked.
const ANSWER: Duration = Duration::from_secs(5);
/// Nothing has happened for so long: it never will.
const STUCK: Duration = Duration::from_secs(150);
/// Tasks whose steps are looked at in a round, so that it is known when their outcomes were visible.
const LOOKED_AT: usize = 3;

/// What the client knows.
pub(super) struct Client<'a> {
    cluster: &'a Cluster,
    progress: &'a Progress,
    tasks: usize,
    entries: Vec<Entry>,
    seen: Seen,
    decisions: Decisions,
    luck: Luck,
    /// Answers that no server may give.
    wrong: Vec<String>,
}

/// What became of the tasks.
pub(super) struct Summary {
    pub(super) tasks: usize,
    pub(super) completed: usize,
    pub(super) losses: usize,
    /// Calls after a thaw that the process had begun to make before it was frozen.
    pub(super) late: usize,
    pub(super) wrong: Vec<String>,
    pub(super) report: String,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        plan: &Plan,
        progress: &'a Progress,
        luck: Luck,
    ) -> Self {
        Self {
            cluster,
            progress,
            tasks: plan.tasks,
            entries: Vec::new(),
            seen: Seen::new(),
            decisions: Decisions::default(),
            luck,
            wrong: Vec::new(),
        }
    }

    /// Works until every task has ended and every fault has landed.
    pub(super) async fn work(&mut self) -> anyhow::Result<()> {
        let (mut steps, mut changed) = (0, Instant::now());
        loop {
            self.submit().await?;
            self.decide().await?;
            self.look().await?;
            let going: Vec<&Entry> = self.going().collect();
            let is_done = going.is_empty() && self.entries.len() == self.tasks;
            if is_done && self.progress.faults_are_over.get() {
                return Ok(());
            }
            if self.progress.steps() > steps {
                (steps, changed) = (self.progress.steps(), Instant::now());
            }
            if changed.elapsed() > STUCK {
                let ids: Vec<_> = going
                    .iter()
                    .map(|entry| (&entry.job.name, &entry.id))
                    .collect();
                anyhow::bail!(
                    "stuck: {} of {} tasks have ended; these go on: {ids:?}",
                    self.progress.ended.get(),
                    self.tasks
                );
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn going(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.ended.is_none())
    }

    /// Asks one of the servers. None: it is gone, frozen or without its database, so that the same is to be asked
    /// again.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> anyhow::Result<Option<Reply>> {
        let servers: Vec<Http> = self.cluster.servers();
        if servers.is_empty() {
            sleep(Duration::from_millis(50)).await;
            return Ok(None);
        }
        let http = &servers[self.luck.below(servers.len())];
        let what = format!("{method} {path}");
        let reply = timeout(ANSWER, world::ask(http, method, path, body, key)).await;
        let Ok(Some(reply)) = reply.unwrap_or(Ok(None)) else {
            return Ok(None);
        };
        match reply.status.as_u16() {
            503 => Ok(None),
            500..=599 => {
                self.wrong
                    .push(format!("{what}: {} {}", reply.status, reply.text()));
                Ok(None)
            }
            _ => Ok(Some(reply)),
        }
    }

    /// Submits what is due, and what was not acknowledged again.
    async fn submit(&mut self) -> anyhow::Result<()> {
        let mut going = self.going().count();
        while going < WINDOW && self.entries.len() < self.progress.submittable() {
            let job = Job::mixed(self.entries.len(), &mut self.luck);
            self.entries.push(Entry {
                job,
                id: None,
                ended: None,
            });
            going += 1;
        }
        self.progress.submitted.set(self.entries.len());
        let unsure: Vec<usize> = (0..self.entries.len())
            .filter(|at| self.entries[*at].id.is_none())
            .collect();
        for at in unsure {
            if !self.submit_one(at).await? {
                break;
            }
        }
        Ok(())
    }

    /// Submits a job, perhaps again: its key makes all submits one task. Gives whether it is acknowledged.
    async fn submit_one(&mut self, at: usize) -> anyhow::Result<bool> {
        let job = self.entries[at].job.clone();
        let body = job.body();
        let path = "/api/v1/tasks";
        let Some(reply) = self
            .ask(Method::POST, path, Some(&body), Some(&job.name))
            .await?
        else {
            return Ok(false);
        };
        let task: Value = reply.ok()?.json()?;
        let id = text(&task, "task_id");
        if let Some(known) = self.entries[at].id.replace(id.clone()) {
            ensure!(known == id, "{} is {known} and {id}", job.name);
        }
        Ok(true)
    }

    /// Decides every step in doubt that is listed.
    async fn decide(&mut self) -> anyhow::Result<()> {
        let path = "/api/v1/reconciliations?limit=1000";
        let Some(reply) = self.ask(Method::GET, path, None, None).await? else {
            return Ok(());
        };
        let list: Value = reply.ok()?.json()?;
        let list = list["reconciliations"].as_array().cloned();
        for open in list.context("there is no list")? {
            ensure!(
                open["effect"] == "write" && open["status"] == "in_doubt",
                "{open}"
            );
            let body = self.decisions.on(&open, &self.cluster.world).await?;
            let path = reconciliation(&open);
            let Some(reply) = self.ask(Method::POST, &path, Some(&body), None).await? else {
                continue;
            };
            // An earlier decision whose answer was lost has settled it.
            let is_settled = matches!(reply.status.as_u16(), 404 | 409);
            if !is_settled {
                reply.ok()?;
            }
        }
        Ok(())
    }

    /// Looks at the tasks that go on, and at the steps of some of them.
    async fn look(&mut self) -> anyhow::Result<()> {
        let Some(reply) = self
            .ask(Method::GET, "/api/v1/tasks?limit=100", None, None)
            .await?
        else {
            return Ok(());
        };
        let list: Value = reply.ok()?.json()?;
        let states: HashMap<String, String> = list["tasks"]
            .as_array()
            .context("there are no tasks")?
            .iter()
            .map(|task| (text(task, "task_id"), text(task, "state")))
            .collect();
        for at in 0..self.entries.len() {
            let Entry {
                id: Some(id),
                ended: None,
                ..
            } = &self.entries[at]
            else {
                continue;
            };
            let id = id.clone();
            let state = match states.get(&id) {
                Some(state) => state.clone(),
                None => {
                    let path = format!("/api/v1/tasks/{id}");
                    let Some(reply) = self.ask(Method::GET, &path, None, None).await? else {
                        continue;
                    };
                    let reply = reply
                        .ok()
                        .with_context(|| format!("{id} was acknowledged, and is lost"))?;
                    text(&reply.json()?, "state")
                }
            };
            if matches!(state.as_str(), "completed" | "failed" | "cancelled") {
                self.entries[at].ended = Some(state);
                self.progress.ended.set(self.progress.ended.get() + 1);
            }
        }
        let going: Vec<String> = self.going().filter_map(|entry| entry.id.clone()).collect();
        if going.is_empty() {
            return Ok(());
        }
        for _ in 0..LOOKED_AT {
            let id = going[self.luck.below(going.len())].clone();
            self.look_at(&id).await?;
        }
        Ok(())
    }

    /// Notes which outcomes of a task are visible.
    async fn look_at(&mut self, id: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/tasks/{id}/steps?limit=1000");
        let Some(reply) = self.ask(Method::GET, &path, None, None).await? else {
            return Ok(());
        };
        let now = clock::monotonic_us();
        let steps: Value = reply.ok()?.json()?;
        for step in steps["steps"].as_array().context("there are no steps")? {
            if let (true, Some(number)) = (has_ended(step), step["step"].as_u64()) {
                let step = (id.to_owned(), u32::try_from(number)?);
                self.seen.entry(step).or_insert(now);
            }
        }
        Ok(())
    }

    /// Holds every task against the witnesses. All is quiet by now.
    pub(super) async fn verify(mut self, thaws: Vec<i64>) -> anyhow::Result<Summary> {
        // Every job again: each is the task that it was.
        for at in 0..self.entries.len() {
            let end = Instant::now() + STUCK;
            while !self.submit_one(at).await? {
                ensure!(Instant::now() < end, "a submit fails though all is quiet");
            }
        }
        let database = &self.cluster.database;
        let rows = postgres::ask(database, "SELECT count(*) FROM opspawn.tasks").await?;
        let stored: i64 = rows[0].get(0);
        ensure!(
            stored == i64::try_from(self.entries.len())?,
            "{} jobs are {stored} tasks",
            self.entries.len()
        );
        let mut witnesses = Witnesses::of(&self.cluster.world)?;
        witnesses.thaws = thaws;
        let servers = self.cluster.servers();
        let http = servers.first().context("no server runs")?;
        let mut wrong = std::mem::take(&mut self.wrong);
        let (mut losses, mut repeats, mut steps) = (0, 0, 0);
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        let mut resolved: BTreeMap<String, usize> = BTreeMap::new();
        for Entry { job, id, ended } in &self.entries {
            let id = id.as_deref().context("a task without an id")?;
            let task = world::task(http, id).await?;
            let history = history::read(http, id).await?;
            if task["state"].as_str() != ended.as_deref() {
                wrong.push(format!("{id} was {ended:?} and is {}", task["state"]));
            }
            *states.entry(text(&task, "state")).or_default() += 1;
            losses += history.losses;
            repeats += history.repeats.values().map(Vec::len).sum::<usize>();
            steps += history.steps.len();
            for step in history.steps.values() {
                for said in &step.resolutions {
                    *resolved.entry(said.clone()).or_default() += 1;
                }
            }
            wrong.extend(witnesses.findings((job, id), &task, &history, &self.seen));
        }
        let retries = resolved.get("retry").copied().unwrap_or(0);
        if witnesses.writes_again() > retries {
            wrong.push("writes that nobody asked for".to_owned());
        }
        let (tasks, late) = (self.entries.len(), witnesses.late.borrow().clone());
        let in_doubt: usize = resolved.values().sum();
        Ok(Summary {
            tasks,
            completed: states.get("completed").copied().unwrap_or(0),
            losses,
            late: late.len(),
            report: format!(
                "{tasks} tasks of {} steps: {states:?}, 0 lost, 0 stuck; {losses} leases lost, {repeats} calls \
                 repeated that had no outcome; {in_doubt} writes in doubt, decided {resolved:?}; {} effects, {} \
                 writes twice as {retries} were asked for; calls after a thaw, in ms: {late:?}; {} findings",
                steps / tasks.max(1),
                witnesses.effects(),
                witnesses.writes_again(),
                wrong.len()
            ),
            wrong,
        })
    }
}
