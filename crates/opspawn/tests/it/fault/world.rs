//! One product folder with its witnesses, and the little of REST that the tests speak.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use http::Method;
use ops_testkit::{DataDir, Http, Launch, Ledger, ModelStub, Reply, wait_until};
use serde_json::{Value, json};

use super::plan::Job;

/// A product folder, a model stub and an effect ledger.
pub(super) struct World {
    pub(super) data: DataDir,
    pub(super) stub: ModelStub,
    pub(super) ledger: Ledger,
}

impl World {
    /// Starts the witnesses, with more arguments for each.
    pub(super) async fn new(stub: &[&str], ledger: &[&str]) -> anyhow::Result<Self> {
        let data = DataDir::new()?;
        std::fs::create_dir(data.join("product"))?;
        let stub = ModelStub::start(data.join("model.log"), stub).await?;
        let ledger = Ledger::start(data.join("ledger.log"), ledger).await?;
        Ok(Self { data, stub, ledger })
    }

    /// Starts witnesses that wait so many milliseconds before they answer.
    pub(super) async fn slow(model_ms: u32, tool_ms: u32) -> anyhow::Result<Self> {
        let [model, tool] = [model_ms, tool_ms].map(|ms| ms.to_string());
        Self::new(&["--latency-ms", &model], &["--latency-ms", &tool]).await
    }

    /// The product on its folder, with the stub as its provider and the ledger's tools.
    pub(super) fn launch(&self) -> Launch {
        let launch = Launch::dev(self.data.join("product"));
        self.on(launch).env("OPSPAWN_MAX_LEASE_LOSSES", "1000")
    }

    /// A process with the stub as its provider and the ledger's tools.
    pub(super) fn on(&self, launch: Launch) -> Launch {
        let launch = launch
            .env("OPENAI_BASE_URL", self.stub.base_url())
            .env("OPSPAWN_TEST_LEDGER", self.ledger.http().base());
        match std::env::var_os("OPSPAWN_TEST_BINARY") {
            Some(_) => launch,
            None => launch.binary(env!("CARGO_BIN_EXE_opspawn")),
        }
    }

    /// The file in which crash points tell that they fired.
    pub(super) fn crash_log(&self) -> PathBuf {
        self.data.join("crashes.log")
    }

    /// How many effects the ledger has under this key; whatever was sent to it before is counted.
    pub(super) async fn effects_of(&self, key: &str) -> anyhow::Result<usize> {
        // It takes connections in order: once it answers, older requests are on record.
        self.ledger.http().get("/").await?;
        let effects = self.ledger.effects()?;
        Ok(effects.iter().filter(|effect| effect.key == key).count())
    }
}

/// Asks the product; `None` if it is gone.
pub(super) async fn ask(
    http: &Http,
    method: Method,
    path: &str,
    body: Option<&Value>,
    key: Option<&str>,
) -> anyhow::Result<Option<Reply>> {
    let mut request = http.request(method, path, body)?;
    if let Some(key) = key {
        request
            .headers_mut()
            .insert("idempotency-key", key.parse()?);
    }
    // Only a connection that fails is an error here; a refusal is an answer.
    Ok(http.send(request).await.ok())
}

/// Submits a job under its name as the idempotency key, and gives the task's id.
pub(super) async fn submit(http: &Http, job: &Job) -> anyhow::Result<String> {
    let body = job.body();
    let reply = ask(
        http,
        Method::POST,
        "/api/v1/tasks",
        Some(&body),
        Some(&job.name),
    )
    .await?;
    let task: Value = reply.context("the product is gone")?.ok()?.json()?;
    Ok(text(&task, "task_id"))
}

/// One task as the product shows it.
pub(super) async fn task(http: &Http, id: &str) -> anyhow::Result<Value> {
    http.get(&format!("/api/v1/tasks/{id}")).await?.ok()?.json()
}

/// Waits until a task is in this state.
pub(super) async fn until_state(
    http: &Http,
    id: &str,
    state: &str,
    timeout: Duration,
) -> anyhow::Result<Value> {
    let what = format!("task {id} becomes {state}");
    let found = wait_until(&what, timeout, || async {
        let task = task(http, id).await.ok()?;
        (task["state"] == state).then_some(task)
    });
    match found.await {
        Ok(task) => Ok(task),
        Err(error) => Err(error.context(format!("it is {:?}", task(http, id).await))),
    }
}

/// The steps whose outcome nobody knows.
pub(super) async fn in_doubt(http: &Http) -> anyhow::Result<Vec<Value>> {
    let path = "/api/v1/reconciliations?limit=1000";
    let list: Value = http.get(path).await?.ok()?.json()?;
    let list = list["reconciliations"].as_array();
    Ok(list.context("there is no list of reconciliations")?.clone())
}

/// Says of every step in doubt that it was done, until every task is completed.
pub(super) async fn complete_all(
    http: &Http,
    ids: &[String],
    timeout: Duration,
) -> anyhow::Result<usize> {
    let end = tokio::time::Instant::now() + timeout;
    let mut resolved = 0;
    loop {
        for open in in_doubt(http).await? {
            let path = reconciliation(&open);
            let body = json!({"resolution": "done", "output": "it was done"});
            http.post(&path, &body).await?.ok()?;
            resolved += 1;
        }
        let mut open = Vec::new();
        for id in ids {
            let task = task(http, id).await?;
            if task["state"] != "completed" {
                open.push(task);
            }
        }
        if open.is_empty() {
            return Ok(resolved);
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "not completed in {timeout:?}: {open:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Where a step in doubt is decided.
pub(super) fn reconciliation(open: &Value) -> String {
    format!(
        "/api/v1/reconciliations/{}/{}",
        text(open, "task_id"),
        open["step"]
    )
}

/// A member that is text.
pub(super) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
