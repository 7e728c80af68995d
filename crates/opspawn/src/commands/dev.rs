//! `opspawn dev`: everything in one process.

use anyhow::{Context as _, Result};
use ops_store::{Durability, OpenError};

use super::asked_to_stop;
use crate::{
    cli,
    config::Config,
    exit::{self, Exit},
    output::say,
    runtime::{Role, Runtime, Start, Storage},
};

/// Serves until asked to stop.
pub(super) async fn dev(config: &Config, args: &cli::Dev) -> Result<Exit> {
    let listen = config.listen()?;
    if !listen.ip().is_loopback() {
        return Err(exit::error(
            Exit::Usage,
            format!(
                "`dev` has no authentication and so listens on loopback only, not on {listen}; use \
                 --listen 127.0.0.1:{}",
                listen.port()
            ),
        ));
    }
    let folder = match args.ephemeral {
        true => Some(tempfile::tempdir().context("cannot make a temporary folder")?),
        false => None,
    };
    let storage = match &folder {
        Some(folder) => Storage {
            dir: folder.path().to_path_buf(),
            durability: Durability::Off,
        },
        None => Storage {
            dir: config.data_dir(),
            durability: Durability::Full,
        },
    };
    crate::system::raise_open_files();
    // Asked first, so that a signal during the start is not lost.
    let stopped = tokio::spawn(asked_to_stop());
    let start = Start {
        storage,
        listen,
        role: Role::Serve,
        narrate: !args.quiet,
    };
    let runtime = Runtime::start(config, start).await.map_err(in_use)?;
    if !args.quiet {
        let data = match folder {
            Some(_) => {
                "kept in memory and a temporary folder, which go with this process".to_owned()
            }
            None => runtime.data_dir.display().to_string(),
        };
        say!("data   {data}");
        say!(
            "api    {url}/api/v1 (documentation: {url}/docs)",
            url = runtime.url
        );
    }
    if let Some(notice) = &runtime.notice {
        say!("note: {notice}");
    }
    say!("ready http={}", runtime.url);
    stopped.await.context("the signal handler failed")??;
    // Whoever asks twice does not want to wait for the calls in flight.
    let impatient = tokio::spawn(async {
        if asked_to_stop().await.is_ok() {
            std::process::exit(Exit::Interrupted as i32);
        }
    });
    runtime.stop().await?;
    impatient.abort();
    Ok(Exit::Ok)
}

/// How to go on where the folder is in use.
fn in_use(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::Locked { .. }) => exit::error(
            Exit::Unavailable,
            format!("{error:#}; `opspawn stop` stops that process"),
        ),
        Some(_) | None => error,
    }
}
