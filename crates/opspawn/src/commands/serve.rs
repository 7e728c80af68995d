//! `opspawn serve`: a server; workers run its tasks.

use anyhow::Result;
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
pub(super) async fn serve(config: &Config, args: &cli::Serve) -> Result<Exit> {
    let url = config.optional("store.url").map(str::to_owned);
    // One process has a folder of SQLite to itself, so that no worker beside it could reach the tasks.
    let role = match url {
        Some(_) => Role::Serve,
        None => Role::ServeAlone,
    };
    let start = Start {
        storage: Storage {
            url,
            dir: config.data_dir(),
            durability: Durability::Full,
        },
        listen: Some(config.listen()?),
        grpc: Some(config.grpc_listen()?),
        role,
        narrate: !args.quiet,
    };
    crate::system::raise_open_files();
    let signals = Signals::listen()?;
    let runtime = Runtime::start(config, start).await.map_err(in_use)?;
    if !args.quiet {
        match config.optional("store.url") {
            Some(url) => {
                status!("data   {}", database::shown(url)?);
                status!("work   done by `opspawn worker`, on the same database");
            }
            None => {
                status!("data   {}", runtime.data_dir.display());
                status!("work   done by this process, as the tasks are in SQLite");
            }
        }
        status!(
            "api    {url}/api/v1 (documentation: {url}/docs)",
            url = runtime.url
        );
    }
    status!(
        "note: it listens on loopback alone, as there are no API keys yet; clients of other machines need a tunnel, or \
         a proxy that authenticates them"
    );
    if let Some(notice) = &runtime.notice {
        status!("note: {notice}");
    }
    if let Some(note) = &runtime.grpc_note {
        status!("note: {note}");
    }
    status!("{}", runtime.ready());
    signals.until_stopped(runtime).await
}
