//! `opspawn task export`: everything that is known of a task, as lines of JSON.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::path;
use crate::{
    client::Client,
    exit::{self, Exit},
    output::{self, CleanLines, show},
};

/// What the last line of an export can be at the longest.
const LAST_LINE: usize = 4_096;

/// Writes the export to a file, or to standard output.
pub(super) async fn export(
    client: &Client,
    id: &str,
    file: Option<&Path>,
    json: bool,
) -> Result<Exit> {
    let Some(file) = file else {
        let mut stdout = io::stdout();
        if stdout.is_terminal() {
            copy(client, id, &mut CleanLines::new(stdout)).await?;
        } else {
            copy(client, id, &mut stdout).await?;
        }
        return Ok(Exit::Ok);
    };
    if file.exists() {
        let message = format!(
            "{} is there already; name a file that is not",
            file.display()
        );
        return Err(exit::error(Exit::Usage, message));
    }
    let unfinished = unfinished(file);
    let written = write(client, id, &unfinished).await;
    let placed = written.and_then(|end| {
        let failed = || format!("cannot write {}", file.display());
        fs::rename(&unfinished, file).with_context(failed)?;
        Ok(end)
    });
    let end = placed.inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    if json {
        output::json(
            &json!({"path": file, "steps": end["steps"], "events": end["events"],
            "blobs": end["blobs"]}),
        );
    } else {
        show!(
            "{}: {} steps, {} events, {} large values",
            file.display(),
            end["steps"],
            end["events"],
            end["blobs"]
        );
    }
    Ok(Exit::Ok)
}

fn unfinished(file: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".opspawn-unfinished-");
    name.push(file.file_name().unwrap_or_default());
    file.with_file_name(name)
}

async fn write(client: &Client, id: &str, unfinished: &Path) -> Result<Value> {
    let failed = || format!("cannot write {}", unfinished.display());
    let mut out = BufWriter::new(File::create(unfinished).with_context(failed)?);
    let end = copy(client, id, &mut out).await?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error);
    file.and_then(|file| file.sync_all()).with_context(failed)?;
    Ok(end)
}

/// Copies the lines, and gives the last one: without it the export is cut.
async fn copy(client: &Client, id: &str, out: &mut impl Write) -> Result<Value> {
    let response = client.open(&path(id, "/export")).await?;
    let spinner = output::spinner("exporting");
    let mut pieces = response.bytes_stream();
    let mut copied = 0;
    let mut tail: Vec<u8> = Vec::new();
    let mut broken = None;
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                broken = Some(error.to_string());
                break;
            }
        };
        out.write_all(&piece)
            .context("the export cannot be written")?;
        tail.extend_from_slice(&piece[piece.len().saturating_sub(LAST_LINE)..]);
        tail.drain(..tail.len().saturating_sub(LAST_LINE));
        copied += piece.len();
        if let Some(spinner) = &spinner {
            spinner.set_message(format!("exporting: {} MiB", copied >> 20));
        }
    }
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    out.flush().context("the export cannot be written")?;
    let last = String::from_utf8_lossy(&tail);
    let last = last.trim_end().rsplit('\n').next().unwrap_or_default();
    let last: Value = serde_json::from_str(last).unwrap_or_default();
    if last["type"] == "end" {
        return Ok(last);
    }
    let why = last["message"].as_str().map(str::to_owned).or(broken);
    let why = why.unwrap_or_else(|| "the server stopped in the middle".to_owned());
    Err(exit::error(
        Exit::Failed,
        format!("the export is cut: {why}; run it again"),
    ))
}
