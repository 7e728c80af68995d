//! Test builds only: named crash points that kill the process, and tools whose effects a ledger
//! outside of it writes down.

use std::{
    fs::OpenOptions,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use serde_json::{Value, json};

/// Arms the crash points of `OPSPAWN_CRASH`, for instance `run.after_intent:3`: the process kills
/// itself with SIGKILL when the point is reached for the third time, having written the point's name
/// to the file `OPSPAWN_CRASH_LOG`.
pub(crate) fn arm() {
    let Ok(plan) = std::env::var("OPSPAWN_CRASH") else {
        return;
    };
    let log = std::env::var_os("OPSPAWN_CRASH_LOG").expect("OPSPAWN_CRASH needs OPSPAWN_CRASH_LOG");
    for entry in plan.split(',') {
        let (name, nth) = entry
            .split_once(':')
            .expect("a crash point is written `name:n`");
        let nth: u64 = nth.parse().expect("the n of a crash point is a number");
        let (log, point, hits) = (log.clone(), name.to_owned(), AtomicU64::new(0));
        fail::cfg_callback(name, move || {
            if hits.fetch_add(1, Ordering::SeqCst) + 1 != nth {
                return;
            }
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&log)
                .expect("the crash log can be opened");
            file.write_all(format!("{point}\n").as_bytes())
                .expect("the crash log can be written");
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
            // The signal is on its way; nothing after the point may happen.
            loop {
                std::thread::park();
            }
        })
        .expect("a crash point can be configured");
    }
}

/// Tools that report to the ledger at `OPSPAWN_TEST_LEDGER`, one of each effect class.
pub(crate) fn ledger_tools() -> Vec<Arc<dyn Tool>> {
    let Ok(url) = std::env::var("OPSPAWN_TEST_LEDGER") else {
        return Vec::new();
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("an HTTP client can be made");
    [
        ("ledger_pure", Effect::Pure),
        ("ledger_idempotent", Effect::Idempotent),
        ("ledger_keyed", Effect::Keyed),
        ("ledger_write", Effect::Write),
    ]
    .into_iter()
    .map(|(name, effect)| {
        let schema = json!({
            "type": "object",
            "properties": {"key": {"type": "string"}},
            "required": ["key"],
            "additionalProperties": false,
        });
        let spec = ToolSpec::new(name, "Reports its key to the ledger.", schema)
            .effect(effect)
            .timeout(Duration::from_secs(20));
        let (client, url) = (client.clone(), format!("{url}/effect"));
        Arc::new(LedgerTool { spec, client, url }) as Arc<dyn Tool>
    })
    .collect()
}

struct LedgerTool {
    spec: ToolSpec,
    client: reqwest::Client,
    url: String,
}

impl Tool for LedgerTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// Calls with keys of their own overlap.
    fn resources(&self, arguments: &Value) -> Resources {
        let key = arguments["key"].as_str().unwrap_or_default();
        Resources::writes([Resource::service(key)])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let task = context
                .workspace
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            let entry = json!({
                "task": task,
                "step": context.step.0,
                "key": arguments["key"],
                "tool": self.spec.name,
                "effect": self.spec.effect,
                "call_key": context.key,
            });
            let answer = self.client.post(&self.url).json(&entry).send().await;
            match answer.and_then(reqwest::Response::error_for_status) {
                Ok(_) => Ok(json!({"reported": arguments["key"]}).into()),
                Err(error) => Err(Failure::passing("ledger_unreachable", error.to_string())),
            }
        })
    }
}
