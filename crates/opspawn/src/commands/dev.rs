//! `opspawn dev`: everything in one process.

use anyhow::{Context as _, Result};
use ops_store::Durability;

use super::process::{Signals, in_use};
use crate::{
    cli,
    config::Config,
    database,
    exit::Exit,
    output::status,
    runtime::{Role, Runtime, Start, Storage},
};

/// Serves until asked to stop.
pub(super) async fn dev(config: &Config, args: &cli::Dev) -> Result<Exit> {
    let listen = config.listen()?;
    let folder = match args.ephemeral {
        true => Some(tempfile::tempdir().context("cannot make a temporary folder")?),
        false => None,
    };
    let storage = match &folder {
        Some(folder) => Storage {
            url: None,
            dir: folder.path().to_path_buf(),
            durability: Durability::Off,
        },
        None => Storage {
            url: config.optional("store.url").map(str::to_owned),
            dir: config.data_dir(),
            durability: Durability::Full,
        },
    };
    crate::system::raise_open_files();
    // Asked first, so that a signal during the start is not lost.
    let signals = Signals::listen()?;
    let start = Start {
        storage,
        listen: Some(listen),
        grpc: Some(config.grpc_listen()?),
        role: Role::Dev,
        narrate: !args.quiet,
    };
    let runtime = Runtime::start(config, start).await.map_err(in_use)?;
    if !args.quiet {
        let data = match folder {
            Some(_) => {
                "kept in memory and a temporary folder, which go with this process".to_owned()
            }
            None => match config.optional("store.url") {
                Some(url) => format!(
                    "{} (workspaces: {})",
                    database::shown(url)?,
                    runtime.data_dir.display()
                ),
                None => runtime.data_dir.display().to_string(),
            },
        };
        status!("data   {data}");
        status!(
            "api    {url}/api/v1 (documentation: {url}/docs)",
            url = runtime.url
        );
    }
    if let Some(notice) = &runtime.notice {
        status!("note: {notice}");
    }
    if let Some(note) = &runtime.grpc_note {
        status!("note: {note}");
    }
    status!("{}", runtime.ready());
    signals.until_stopped(runtime).await
}
