//! The wiring: adapters, engine, worker and server in one process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use ops_agents::TASK_TYPES;
use ops_core::{
    TenantId,
    ports::{Clock, Live, Queue, Random, Retention},
    retry::RetryPolicy,
};
use ops_engine::{Adapters, Engine, Hub};
use ops_queue::{LocalLive, LocalQueue};
use ops_server::{Hosts, ModelInfo, ServerInfo, Surface};
use ops_store::{Durability, Options, SqliteStore, sqlite::Serves};
use ops_worker::Worker;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use units::ModelName;

use crate::{
    agents,
    config::Config,
    narrate,
    system::{self, SystemClock, SystemRandom},
};

/// What a process does beside serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It runs tasks and begins those of schedules: a server.
    Serve,
    /// It runs tasks.
    Work,
    /// It only answers.
    Answer,
}

impl Role {
    /// What other processes are told of it.
    pub(crate) fn serves(self) -> Serves {
        match self {
            Self::Serve => Serves::Server,
            Self::Work => Serves::Run,
            Self::Answer => Serves::Command,
        }
    }
}

/// A running system.
pub(crate) struct Runtime {
    role: Role,
    /// Where REST is.
    pub(crate) url: String,
    /// Whether an LLM answers, and which.
    pub(crate) notice: Option<String>,
    /// Where the data is.
    pub(crate) data_dir: PathBuf,
    store: Arc<SqliteStore>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    worker: Option<JoinHandle<()>>,
    loops: JoinHandle<()>,
    narrator: Option<JoinHandle<()>>,
    engine: Arc<Engine>,
}

/// Where the data is, and how safe it is there.
pub(crate) struct Storage {
    /// The folder.
    pub(crate) dir: PathBuf,
    /// Whether commits wait for the disk.
    pub(crate) durability: Durability,
}

/// How to start.
pub(crate) struct Start {
    /// The data.
    pub(crate) storage: Storage,
    /// The address of REST.
    pub(crate) listen: SocketAddr,
    /// What the process is there for.
    pub(crate) role: Role,
    /// Whether each task that starts, waits or ends is told on standard error.
    pub(crate) narrate: bool,
}

impl Runtime {
    /// Starts everything; REST answers when this returns.
    pub(crate) async fn start(config: &Config, start: Start) -> Result<Self> {
        let Start {
            storage,
            listen,
            role,
            narrate,
        } = start;
        let own = Listeners::default();
        let factory = Arc::new(agents::factory(config, &own)?);
        factory.catalogue().start(TenantId::DEFAULT);
        let model = factory.default_model()?;
        let notice = agents::notice(config, &factory)?;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let queue: Arc<dyn Queue> = Arc::new(LocalQueue::default());
        let live: Arc<dyn Live> = Arc::new(LocalLive::default());
        let hub = Hub::new(Arc::clone(&queue), Arc::clone(&live));
        let lease = config
            .duration("worker.lease")
            .unwrap_or(Duration::from_secs(10));
        let options = Options {
            durability: storage.durability,
            session_ttl: lease,
            max_tree_tasks: config.number("limits.tree_tasks").unwrap_or(1_000),
            observer: Arc::clone(&hub) as _,
            ..Options::new(storage.dir.clone(), Arc::clone(&clock))
        };
        let store = tokio::task::spawn_blocking(move || SqliteStore::open(options))
            .await
            .context("opening the database was broken off")??;
        let store = Arc::new(store);

        let folder = workspaces(&storage.dir);
        ops_worker::private_folder(&folder)
            .with_context(|| format!("cannot make {} for this user alone", folder.display()))?;

        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}; is it in use? Try --listen 127.0.0.1:0")
        })?;
        let address = listener
            .local_addr()
            .context("the listener has no address")?;
        own.add(address);
        let url = format!("http://{address}");
        store
            .publish(Some(&url), role.serves())
            .context("cannot write the lock file")?;

        let adapters = Adapters {
            store: Arc::clone(&store) as _,
            upkeep: Arc::clone(&store) as _,
            live: Arc::clone(&live),
            queue: Arc::clone(&queue),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            hub,
            workspaces: Arc::new(ops_worker::Folders {
                dir: workspaces(&storage.dir),
            }),
            definitions: Arc::clone(&factory) as _,
        };
        let engine = Engine::new(adapters, engine_settings(config));
        let narrator = narrate.then(|| {
            let hints = engine.hints(TenantId::DEFAULT);
            tokio::spawn(narrate::tell(Arc::clone(&engine), hints))
        });
        let stop = CancellationToken::new();
        let (name, is_llm) = match &model {
            Some(model) => (model.name().parse(), model.is_llm()),
            None => (Ok(ModelName::scripted()), false),
        };
        let name = name.context("the model has no name")?;
        let info = ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: "dev".to_owned(),
            model: ModelInfo {
                provider: name.provider().to_owned(),
                name: name.model().to_owned(),
                is_llm,
            },
            storage: "sqlite".to_owned(),
            durability: match storage.durability {
                Durability::Full => "full".to_owned(),
                Durability::Off => "ephemeral".to_owned(),
            },
            data_dir: Some(absolute(&storage.dir).display().to_string()),
            notice: notice.clone(),
        };
        let surface = Surface {
            max_body_bytes: max_body(config),
            ..Surface::new(Arc::clone(&engine), info, stop.child_token())
        };
        let router = ops_server::router(surface);
        let server = tokio::spawn(ops_server::serve(
            listener,
            router,
            ops_server::serve::Settings {
                hosts: Hosts::Loopback,
                max_connections: system::connections(),
                ..Default::default()
            },
            stop.child_token(),
        ));
        let worker = (role != Role::Answer).then(|| {
            let settings = worker_settings(config, &storage.dir, lease);
            let runs = Arc::clone(&store) as _;
            let worker = Worker::new(runs, live, queue, clock, random, factory, settings);
            tokio::spawn(worker.run(stop.child_token()))
        });
        let running = Arc::clone(&engine);
        let loops = match role {
            Role::Serve => tokio::spawn(running.run(stop.child_token())),
            Role::Work | Role::Answer => tokio::spawn(running.run_tasks(stop.child_token())),
        };
        Ok(Self {
            role,
            url,
            notice,
            data_dir: absolute(&storage.dir),
            store,
            stop,
            server,
            worker,
            loops,
            narrator,
            engine,
        })
    }

    /// The commands and readers of the system.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Tells other processes that this one serves no more: they wait until it has ended.
    pub(crate) fn withdraw(&self) {
        if let Err(error) = self.store.publish(None, self.role.serves()) {
            tracing::warn!(%error, "the lock file cannot be written");
        }
    }

    /// Stops: the worker drains, the server finishes its answers, the database is closed.
    pub(crate) async fn stop(self) -> Result<()> {
        self.withdraw();
        self.stop.cancel();
        for part in [self.worker, Some(self.server), Some(self.loops)]
            .into_iter()
            .flatten()
        {
            part.await
                .context("a part of the system failed while it stopped")?;
        }
        if let Some(narrator) = self.narrator {
            narrator.abort();
        }
        drop(self.engine);
        let store = self.store;
        tokio::task::spawn_blocking(move || {
            store.close();
            let stats = store.stats();
            tracing::info!(
                transactions = stats.transactions,
                events = stats.events,
                fsyncs = stats.fsyncs,
                checkpoints = stats.checkpoints,
                largest_batch = stats.largest_batch,
                commit_micros = stats.commits.sum_micros,
                "database closed"
            );
        })
        .await
        .context("the database could not be closed")
    }
}

fn engine_settings(config: &Config) -> ops_engine::Settings {
    let defaults = RetryPolicy::default();
    let number = |key| {
        config
            .number(key)
            .and_then(|number| u32::try_from(number).ok())
    };
    let backoff = config.duration("retry.backoff");
    let micros = backoff.and_then(|backoff| i64::try_from(backoff.as_micros()).ok());
    ops_engine::Settings {
        task_types: TASK_TYPES.iter().map(|name| (*name).to_owned()).collect(),
        queues: config.queues().keys().cloned().collect(),
        retry: RetryPolicy {
            max_attempts: number("retry.max_attempts")
                .unwrap_or(defaults.max_attempts)
                .max(1),
            initial_micros: micros.unwrap_or(defaults.initial_micros),
            max_lease_losses: number("retry.max_lease_losses").unwrap_or(defaults.max_lease_losses),
            ..defaults
        },
        max_input_bytes: max_body(config),
        retention: retention(config),
    }
}

fn worker_settings(config: &Config, dir: &Path, lease: Duration) -> ops_worker::Settings {
    let concurrency = config.number("worker.concurrency").unwrap_or(64);
    ops_worker::Settings {
        concurrency: usize::try_from(concurrency).unwrap_or(64).max(1),
        queues: config.queues().values().cloned().collect(),
        workspaces: workspaces(dir),
        // What is left is for an effect that was checked in the last moment.
        lease: lease * 9 / 10,
        grace: config
            .duration("worker.grace")
            .unwrap_or(Duration::from_secs(20)),
    }
}

fn workspaces(dir: &Path) -> PathBuf {
    absolute(dir).join("workspaces")
}

fn retention(config: &Config) -> Retention {
    let micros = |key| {
        let kept = config.duration(key)?;
        Some(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX))
    };
    Retention {
        completed: micros("retention.completed"),
        failed: micros("retention.failed"),
        cancelled: micros("retention.cancelled"),
    }
}

fn max_body(config: &Config) -> usize {
    config
        .number("max_body_bytes")
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(10 << 20)
}

fn absolute(dir: &Path) -> PathBuf {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_stops_before_its_leases_end() {
        let config = Config::load(&[], None).unwrap();
        let lease = Duration::from_secs(10);
        let settings = worker_settings(&config, Path::new("."), lease);
        assert_eq!(settings.lease, Duration::from_secs(9));
    }
}
