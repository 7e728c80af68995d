//! Finding the server of a data folder.
//!
//! One process owns a folder. A command that finds an owner uses its server; a command that finds none
//! becomes the owner, and serves those that come after it. Several commands that start at once race
//! for the lock: those that lose it wait until the winner says where it serves. An owner that is there
//! for one command ends only once no other command uses its server, and if it dies, the others race
//! for the folder again.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use ops_store::{
    Durability, OpenError,
    sqlite::{self, Guest, LockInfo, Serves},
};

use crate::{
    config::Config,
    exit::{self, Exit},
    runtime::{Role, Runtime, Start, Storage},
};

/// How long a command waits for an owner that does not serve it: one that starts, ends, or runs no
/// tasks.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A data folder, and what is wanted of the process that owns it.
pub(super) struct Folder {
    pub(super) config: Config,
    pub(super) role: Role,
}

/// A server.
pub(super) struct Server {
    /// Where REST is.
    pub(super) base: String,
    /// What its process is there for; a server that was named by its URL is one that stays.
    pub(super) serves: Serves,
    /// Keeps its process there, if it is there for one command only.
    pub(super) guest: Option<Guest>,
    /// The server itself, if it is in this process.
    pub(super) embedded: Option<Runtime>,
}

impl Server {
    /// A server that stays, at a URL.
    pub(super) fn at(url: &str) -> Self {
        Self {
            base: url.trim_end_matches('/').to_owned(),
            serves: Serves::Server,
            guest: None,
            embedded: None,
        }
    }
}

impl Folder {
    /// The server of the folder's owner; the owner may be this process from now on.
    pub(super) async fn server(&self) -> Result<Server> {
        let dir = self.config.data_dir();
        if self.role == Role::Answer && !dir.exists() {
            return Err(exit::error(
                Exit::Unavailable,
                format!(
                    "there is no data folder {} and no server was named; start one with `opspawn \
                     dev`, or set OPSPAWN_URL or --data",
                    dir.display()
                ),
            ));
        }
        let begun = Instant::now();
        loop {
            let owner = sqlite::running_server(&dir);
            let late = begun.elapsed() > TIMEOUT;
            match owner {
                Some(owner) => match self.of_owner(&dir, &owner) {
                    Some(server) => return Ok(server),
                    None if late => return Err(self.held(&dir, &owner)),
                    None => {}
                },
                None => match self.embed(&dir).await {
                    Ok(server) => return Ok(server),
                    // Another command was quicker.
                    Err(error) if is_locked(&error) && !late => {}
                    Err(error) => return Err(error),
                },
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Where the folder's server is now, if one that stays has it.
    pub(super) fn moved(&self) -> Option<Server> {
        let owner = sqlite::running_server(&self.config.data_dir())?;
        let url = owner.url.filter(|_| owner.serves == Serves::Server)?;
        Some(Server::at(&url))
    }

    fn of_owner(&self, dir: &Path, owner: &LockInfo) -> Option<Server> {
        let url = owner.url.as_deref()?;
        if owner.serves == Serves::Server {
            return Some(Server::at(url));
        }
        // A command that runs no task would leave this one's pending.
        if owner.serves == Serves::Command && self.role != Role::Answer {
            return None;
        }
        let guest = Guest::enter(dir).ok()??;
        // The owner may have found itself alone in between.
        (sqlite::running_server(dir).as_ref() == Some(owner)).then(|| Server {
            serves: owner.serves,
            guest: Some(guest),
            ..Server::at(url)
        })
    }

    async fn embed(&self, dir: &Path) -> Result<Server> {
        let storage = Storage {
            url: self.config.optional("store.url").map(str::to_owned),
            dir: dir.to_path_buf(),
            durability: Durability::Full,
        };
        let start = Start {
            storage,
            listen: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0))),
            grpc: None,
            role: self.role,
            narrate: false,
        };
        let runtime = Runtime::start(&self.config, start).await?;
        let at = Server::at(&runtime.url);
        Ok(Server {
            serves: self.role.serves(),
            embedded: Some(runtime),
            ..at
        })
    }

    fn held(&self, dir: &Path, owner: &LockInfo) -> anyhow::Error {
        let what = match (&owner.url, owner.serves) {
            (Some(_), Serves::Command) => "answers a command and runs no tasks",
            (Some(_), Serves::Server | Serves::Run) | (None, _) => "does not serve it",
        };
        exit::error(
            Exit::Unavailable,
            format!(
                "the data folder {} is in use by process {}, which {what}; wait until it ends, or \
                 use another folder (--data)",
                dir.display(),
                owner.pid
            ),
        )
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<OpenError>(),
        Some(OpenError::Locked { .. })
    )
}
