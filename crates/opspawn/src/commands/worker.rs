//! `opspawn worker`: runs the tasks of servers on the same database.

use anyhow::Result;
use ops_store::Durability;

use super::process::{Signals, in_use};
use crate::{
    config::Config,
    database,
    exit::{self, Exit},
    output::status,
    runtime::{Role, Runtime, Start, Storage},
};

/// Works until asked to stop.
pub(super) async fn worker(config: &Config) -> Result<Exit> {
    let Some(url) = config.optional("store.url") else {
        return Err(exit::error(
            Exit::Usage,
            "a worker apart from its server needs PostgreSQL: set `store.url` (OPSPAWN_STORE_URL, or DATABASE_URL) to the \
             server's database. One process has a SQLite folder to itself; `opspawn serve` and `opspawn dev` run its \
             tasks themselves",
        ));
    };
    let start = Start {
        storage: Storage {
            url: Some(url.to_owned()),
            dir: config.data_dir(),
            durability: Durability::Full,
        },
        listen: config.health_listen()?,
        grpc: None,
        role: Role::Worker,
        narrate: false,
    };
    crate::system::raise_open_files();
    let signals = Signals::listen()?;
    let runtime = Runtime::start(config, start).await.map_err(in_use)?;
    let queues: Vec<String> = config.queues().keys().cloned().collect();
    status!(
        "data   {} (workspaces: {})",
        database::shown(url)?,
        runtime.data_dir.display()
    );
    status!("queues {}", queues.join(", "));
    if let Some(notice) = &runtime.notice {
        status!("note: {notice}");
    }
    match runtime.url.as_str() {
        "" => status!("ready"),
        url => status!("ready http={url}"),
    }
    signals.until_stopped(runtime).await
}
