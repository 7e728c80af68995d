//! The MCP server `server-everything` over streamable HTTP.

use std::{net::TcpListener, process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::npm_package;

/// The server, which ends with this.
pub struct EverythingOverHttp {
    /// Where it answers.
    pub url: String,
    process: Child,
}

impl EverythingOverHttp {
    /// Starts it on a free port. Where its npm package is missing, the caller gets `None` and must return.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let script = npm_package("@modelcontextprotocol/server-everything/dist/index.js");
        let Some(script) = script else {
            return Ok(None);
        };
        // It takes no port 0. Another program may take the port in between: then it says so, and another is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut process = Command::new("node")
                .arg(&script)
                .arg("streamableHttp")
                .env("PORT", port.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("node does not start")?;
            let stderr = process.stderr.take().context("its stderr is piped")?;
            let mut lines = BufReader::new(stderr).lines();
            let listens = async {
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.contains("listening on port") {
                        return true;
                    }
                }
                false
            };
            let started = tokio::time::timeout(Duration::from_secs(60), listens).await;
            if started.context("server-everything does not listen")? {
                // Whatever it writes later is not to stop it.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                let url = format!("http://127.0.0.1:{port}/mcp");
                return Ok(Some(Self { url, process }));
            }
        }
        anyhow::bail!("server-everything found no free port")
    }

    /// Kills it.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("it cannot be killed")
    }
}
