//! `opspawn reload`: the server reads its tools, MCP servers and policy anew.

use anyhow::Result;
use ops_store::sqlite::{self, Serves};
use serde_json::{Value, json};

use crate::{
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, show, status},
    runtime::{Role, restart},
};

/// Asks the server, and tells its verdict.
pub(super) async fn reload(config: &Config, as_json: bool) -> Result<Exit> {
    let dir = config.data_dir();
    let owner = sqlite::running_server(&dir).filter(|owner| owner.serves == Serves::Server);
    if owner.is_none() && config.optional("url").is_none() {
        return Err(exit::error(
            Exit::Usage,
            format!("no server has the data folder {} open", dir.display()),
        ));
    }
    let client = Client::connect(config, Role::Answer).await?;
    let reloaded = client.post("/api/v1/reload", &json!({}), None).await;
    client.close().await?;
    let reloaded = reloaded?;
    if as_json {
        output::json(&reloaded);
        return Ok(Exit::Ok);
    }
    show!(
        "the server has read its tools, MCP servers and policy anew, for runs that have not begun"
    );
    let texts = |key: &str| -> Vec<String> {
        let texts = reloaded[key].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for note in texts("notes") {
        status!("{}", output::one_line(&note));
    }
    for worker in reloaded["workers_that_differ"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let parts = worker["parts"].as_array().into_iter().flatten();
        let parts: Vec<&str> = parts.filter_map(Value::as_str).collect();
        let line = format!(
            "the worker {} differs from this server in {}: it reads its own files anew on SIGHUP (`kill -HUP` on its \
             machine)",
            worker["worker"].as_str().unwrap_or_default(),
            parts.join(", "),
        );
        status!("{}", output::one_line(&line));
    }
    let keys = texts("needs_restart");
    if !keys.is_empty() {
        status!("{}", output::one_line(&restart(&keys)));
    }
    Ok(Exit::Ok)
}
