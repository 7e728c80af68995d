//! `opspawn dev`: everything in one process.

use anyhow::{Context as _, Result};
use ops_store::Durability;

use super::asked_to_stop;
use crate::{
    config::Config,
    exit::{self, Exit},
    runtime::{Role, Runtime, Storage},
};

/// Serves until asked to stop.
pub(super) async fn dev(config: &Config, ephemeral: bool) -> Result<Exit> {
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
    let folder = match ephemeral {
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
    let runtime = Runtime::start(config, storage, listen, Role::Serve).await?;
    if let Some(notice) = &runtime.notice {
        eprintln!("note: {notice}");
    }
    eprintln!("ready http={}", runtime.url);
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
