//! A stand-in for a model over HTTP that costs next to nothing: `POST /v1/chat/completions` is
//! answered with a call of the calculator until the conversation has so many answers, and then with
//! text. It keeps nothing: the turn is the number of answers in the request.

use std::{convert::Infallible, process::Stdio};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

/// The stand-in as a process of its own.
pub(super) struct Model {
    /// Ends it when it is dropped.
    _child: Child,
    /// What a client takes as the base URL.
    pub(super) base_url: String,
}

impl Model {
    /// Starts one whose conversations have so many tool calls.
    pub(super) async fn start(turns: usize) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        let mut child = Command::new(program)
            .args(["bench", "model", "--turns", &turns.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the stand-in for a model cannot be started")?;
        let stdout = child.stdout.take().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let base_url = line
            .trim()
            .strip_prefix("ready ")
            .context("the stand-in for a model did not start")?
            .to_owned();
        Ok(Self {
            _child: child,
            base_url,
        })
    }
}

/// Serves until standard input closes.
pub(super) async fn serve(turns: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready http://{}/v1", listener.local_addr()?);
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, turns));
                // A client that leaves is no matter.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    };
    let closed = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    tokio::select! {
        accepted = accepting => accepted,
        closed = tokio::task::spawn_blocking(closed) => {
            closed??;
            Ok(())
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    turns: usize,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let turn = text.matches("\"role\":\"assistant\"").count();
    let (message, finish) = if turn < turns {
        let call = json!({
            "id": format!("call_{turn}"),
            "type": "function",
            "function": {"name": "calculator", "arguments": "{\"expression\":\"1 + 2\"}"},
        });
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        (message, "tool_calls")
    } else {
        (json!({"role": "assistant", "content": "done"}), "stop")
    };
    let answer = json!({
        "id": "stand-in",
        "object": "chat.completion",
        "created": 0,
        "model": "stand-in",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
