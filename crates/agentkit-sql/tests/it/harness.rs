//! The tool behind the gate, as an agent has it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use agentkit::{
    StepId, Tool,
    event::Failure,
    policy::{ConfiguredPolicy, PolicyContext},
    tool::{Effect, Gate, Registry, ToolContext},
};
use agentkit_sql::{Base, Declared, Mistake, SqlQuery};
use agentkit_tools::command::{Secret, SecretError, Secrets};
use serde_json::{Value, json};

/// Secrets of a test.
#[derive(Default)]
pub(crate) struct Known(pub(crate) BTreeMap<String, String>);

impl Secrets for Known {
    fn get(&self, name: &str) -> Result<Secret, SecretError> {
        let found = self.0.get(name).cloned().map(Secret::new);
        found.ok_or_else(|| SecretError(format!("there is no secret `{name}`")))
    }
}

/// A declaration with these fields.
pub(crate) fn declared(name: &str, fields: Value) -> Declared {
    let mut whole = json!({"description": "Orders of the shop."});
    for (field, value) in fields.as_object().unwrap() {
        whole[field] = value.clone();
    }
    Declared {
        name: name.to_owned(),
        definition: serde_json::from_value(whole).unwrap(),
        at: "file, line 1".to_owned(),
    }
}

/// The tool of declarations, with files relative to a folder.
/// The database of the server that the tool runs in.
pub(crate) const OWN: &str = "postgresql+asyncpg://opspawn:other@127.0.0.1:1/own";

pub(crate) fn tool(
    folder: &Path,
    secrets: Known,
    withheld: Vec<PathBuf>,
    databases: &[Declared],
) -> Result<SqlQuery, Mistake> {
    let base = Base {
        folder: folder.to_owned(),
        secrets: Arc::new(secrets),
        withheld,
        withheld_urls: vec![OWN.to_owned()],
        helper: None,
    };
    SqlQuery::new(databases, &base)
}

/// One call through the gate.
pub(crate) async fn call(tool: SqlQuery, arguments: Value) -> Result<Value, Failure> {
    called(&Arc::new(tool), arguments).await
}

/// The same, of a tool that is called again.
pub(crate) async fn called(tool: &Arc<SqlQuery>, arguments: Value) -> Result<Value, Failure> {
    let registry = Registry::new([Arc::clone(tool) as Arc<dyn Tool>]).unwrap();
    let gate = Gate::new(
        registry,
        Arc::new(ConfiguredPolicy::new(["sql_query".to_owned()])),
    );
    let admitted = gate
        .admit(
            "sql_query",
            &arguments.to_string(),
            &PolicyContext { agent: "a" },
        )
        .await;
    if let Some(error) = admitted.error {
        return Err(error);
    }
    let context = ToolContext {
        policy: gate.policy_check("sql_query", "a"),
        ..ToolContext::outside_of_runs(StepId(1), Effect::Pure, std::env::temp_dir())
    };
    let outcome = gate.run("sql_query", admitted.input, context).await?;
    // A large result is kept apart, and shown in part.
    Ok(match outcome.handle {
        Some((_, whole)) => serde_json::from_slice(&whole)
            .unwrap_or_else(|_| String::from_utf8(whole.to_vec()).unwrap().into()),
        None => outcome.output,
    })
}
