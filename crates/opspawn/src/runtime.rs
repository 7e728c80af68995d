//! The wiring: adapters, engine, worker and server in one process.

mod listen;
mod reload;
mod role;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use ops_agents::{Current, PromptReader, TASK_TYPES};
use ops_core::{
    TenantId,
    ports::{Clock, CurrentConfiguration, Live, Queue, Random, Retention},
    retry::RetryPolicy,
};
use ops_engine::{Adapters, Engine, Hub};
use ops_queue::LocalLive;
use ops_server::{Hosts, ModelInfo, Part, RestSettings, ServerInfo};
use ops_store::Durability;
use ops_worker::Worker;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use units::ModelName;

pub(crate) use self::{
    listen::GrpcListen,
    reload::{Reloader, restart},
    role::Role,
};
use crate::{
    agents::{self, ModelsPart},
    broker::Broker,
    commands_source::{self, SandboxPart},
    config::Config,
    database::{Database, Opening},
    mcp, memory, narrate,
    system::{self, SystemClock, SystemRandom},
    tools::WorkspacesPart,
};

/// A running system.
pub(crate) struct Runtime {
    role: Role,
    /// URL of REST, or of a worker's health; empty without a listener.
    pub(crate) url: String,
    /// The address of gRPC, if it is served.
    grpc_address: Option<SocketAddr>,
    /// Why gRPC is not served, though its default port would have been.
    pub(crate) grpc_note: Option<String>,
    /// Whether an LLM answers, and which.
    pub(crate) notice: Option<String>,
    /// Where the data is.
    pub(crate) data_dir: PathBuf,
    store: Arc<Database>,
    broker: Arc<Broker>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
    grpc: Option<JoinHandle<()>>,
    worker: Option<JoinHandle<()>>,
    loops: Option<JoinHandle<()>>,
    narrator: Option<JoinHandle<()>>,
    engine: Arc<Engine>,
    /// What runs begin with.
    current: Arc<Current>,
    reloader: Arc<Reloader>,
}

/// Where the data is, and how safe it is there.
pub(crate) struct Storage {
    /// The PostgreSQL database; none for SQLite in the folder.
    pub(crate) url: Option<String>,
    /// The folder.
    pub(crate) dir: PathBuf,
    /// Whether commits wait for the disk.
    pub(crate) durability: Durability,
}

/// How to start.
pub(crate) struct Start {
    /// The data.
    pub(crate) storage: Storage,
    /// The address of REST, or of a worker's health, if configured.
    pub(crate) listen: Option<SocketAddr>,
    /// Where gRPC listens, if it is wanted.
    pub(crate) grpc: Option<GrpcListen>,
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
            grpc,
            role,
            narrate,
        } = start;
        memory::keep_in(&storage.dir);
        let own = Listeners::default();
        let mcp = mcp::sources(config, &own)?;
        let factory = Arc::new(agents::factory(config, &own, Some(&mcp))?);
        let sandbox = commands_source::sandbox(config);
        if role != Role::Answer && !config.commands().is_empty() {
            tokio::spawn(try_sandbox(sandbox.clone()));
        }
        let model = factory.default_model()?;
        if model.is_none() && role.needs_model() {
            return Err(role::no_provider(role));
        }
        let notice = agents::notice(config, &factory)?;

        let machine: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let broker = Arc::new(Broker::start(config, storage.url.is_some())?);
        let queue: Arc<dyn Queue> = broker.queue();
        let live: Arc<dyn Live> = Arc::new(LocalLive::default());
        let hub = Hub::new(Arc::clone(&queue), Arc::clone(&live));
        let lease = config
            .duration("worker.lease")
            .unwrap_or(Duration::from_secs(10));
        let opening = Opening {
            url: storage.url.clone(),
            notify_url: config.optional("store.notify_url").map(str::to_owned),
            dir: storage.dir.clone(),
            durability: storage.durability,
            clock: Arc::clone(&machine),
            observer: Arc::clone(&hub) as _,
            session_ttl: lease,
            max_tree_tasks: config.number("limits.tree_tasks").unwrap_or(1_000),
            reserve_bytes: match storage.durability {
                Durability::Full => config.number("retention.reserve_bytes").unwrap_or(0),
                Durability::Off => 0,
            },
        };
        let store = tokio::task::spawn_blocking(move || Database::open(opening))
            .await
            .context("opening the database was broken off")??;
        let store = Arc::new(store);
        let clock = store.clock(machine);
        let current = Current::new(Arc::clone(&factory), Arc::clone(&mcp));
        match role {
            // A command that only answers starts no server for that.
            Role::Answer => mcp.bind(store.mcp()),
            Role::Dev | Role::ServeAlone | Role::Serve | Role::Worker | Role::Work => {
                // The folder is this process's alone by now.
                let config = config.clone();
                let swept = tokio::task::spawn_blocking(move || mcp::sweep(&config));
                swept
                    .await
                    .context("looking for MCP servers of an earlier process was broken off")?;
                mcp.start(store.mcp()).await?;
            }
        }
        factory.catalogue().start(TenantId::DEFAULT);

        let folder = workspaces(&storage.dir);
        ops_worker::private_folder(&folder)
            .with_context(|| format!("cannot make {} for this user alone", folder.display()))?;

        let listener = match listen {
            Some(listen) => Some(listen::bind(listen, role).await?),
            None => None,
        };
        let grpc = listen::Grpc::bind(grpc).await?;
        let (grpc_address, grpc_note) = (grpc.address, grpc.note.clone());
        if let Some(address) = grpc_address {
            own.add(address);
        }
        let url = match &listener {
            Some((_, address)) => {
                own.add(*address);
                format!("http://{address}")
            }
            None => String::new(),
        };
        // A worker answers no commands.
        let published = (role != Role::Worker).then_some(url.as_str());
        store
            .publish(published, role.serves())
            .context("cannot write the lock file")?;

        let adapters = Adapters {
            store: store.surface(),
            upkeep: store.upkeep(),
            live: Arc::clone(&live),
            queue: Arc::clone(&queue),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            hub,
            workspaces: Arc::new(ops_worker::Folders {
                dir: workspaces(&storage.dir),
            }),
            definitions: Arc::clone(&current) as _,
            prompts: Arc::new(PromptReader::new(Arc::clone(&current), store.runs())),
        };
        // A command that only answers on SQLite leaves tasks to the next server, which has the same queues.
        let works = role.works() || (role == Role::Answer && storage.url.is_none());
        let running_with = CurrentConfiguration::new(config.digests()?);
        let settings = engine_settings(config, works, &running_with);
        let engine = Engine::new(adapters, settings);
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
            mode: role.mode().to_owned(),
            model: ModelInfo {
                provider: name.provider().to_owned(),
                name: name.model().to_owned(),
                is_llm,
            },
            storage: store.kind().to_owned(),
            durability: match storage.durability {
                Durability::Full => "full".to_owned(),
                Durability::Off => "ephemeral".to_owned(),
            },
            data_dir: Some(absolute(&storage.dir).display().to_string()),
            notice: notice.clone(),
        };
        let reloader = Reloader::new(config, &current, &store, &own, &running_with);
        let reloader = Arc::new(reloader);
        let mut parts: Vec<Arc<dyn Part>> = vec![
            Arc::new(SandboxPart(sandbox)),
            Arc::new(WorkspacesPart),
            Arc::new(ModelsPart),
        ];
        parts.extend(memory::part(config)?);
        parts.extend(broker.part());
        parts.extend(grpc.part());
        let surface = RestSettings {
            max_body_bytes: max_body(config),
            parts,
            mcp: Arc::clone(&current) as _,
            reload: Arc::clone(&reloader) as _,
            ..RestSettings::new(Arc::clone(&engine), info, stop.child_token())
        };
        let (router, local) = match role {
            Role::Worker => (ops_server::health_router(surface), None),
            Role::Dev | Role::ServeAlone | Role::Serve | Role::Work | Role::Answer => {
                let surfaces = ops_server::surfaces(surface, Hosts::Loopback, grpc_address);
                (surfaces.0, Some(surfaces.1))
            }
        };
        let grpc = grpc.serve(local, config, stop.child_token());
        let server = listener.map(|(listener, _)| {
            tokio::spawn(ops_server::serve(
                listener,
                router,
                ops_server::serve::Settings {
                    hosts: Hosts::Loopback,
                    max_connections: system::connections(),
                    ..Default::default()
                },
                stop.child_token(),
            ))
        });
        let worker = role.works().then(|| {
            let settings = worker_settings(config, &storage.dir, lease, running_with);
            let runs = store.runs();
            let agents = Arc::clone(&current) as _;
            let worker = Worker::new(runs, live, queue, clock, random, agents, settings);
            tokio::spawn(worker.run(stop.child_token()))
        });
        if role.works() {
            tokio::spawn(memory::expire(config.clone(), stop.child_token()));
        }
        let running = Arc::clone(&engine);
        let loops = match role {
            Role::Dev | Role::ServeAlone | Role::Serve => {
                Some(tokio::spawn(running.run(stop.child_token())))
            }
            // Dates of tasks are known first to the process that wrote them, so a worker has timers as well.
            Role::Worker | Role::Work | Role::Answer => {
                Some(tokio::spawn(running.run_tasks(stop.child_token())))
            }
        };
        Ok(Self {
            role,
            url,
            grpc_address,
            grpc_note,
            notice,
            data_dir: absolute(&storage.dir),
            store,
            broker,
            stop,
            server,
            grpc,
            worker,
            loops,
            narrator,
            engine,
            current,
            reloader,
        })
    }

    /// The line that says that the process serves, and where: a key for each listener that is open.
    pub(crate) fn ready(&self) -> String {
        let grpc = self.grpc_address.map(|address| format!(" grpc={address}"));
        format!("ready http={}{}", self.url, grpc.unwrap_or_default())
    }

    /// The commands and readers of the system.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Reads tools, MCP servers and policy anew, for runs that have not begun.
    pub(crate) fn reloader(&self) -> &Reloader {
        &self.reloader
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
        let parts = [self.worker, self.server, self.grpc, self.loops];
        for part in parts.into_iter().flatten() {
            part.await
                .context("a part of the system failed while it stopped")?;
        }
        self.current.factory().catalogue().stop();
        self.current.mcp().stop().await;
        if let Some(narrator) = self.narrator {
            narrator.abort();
        }
        drop(self.engine);
        let (store, broker) = (self.store, self.broker);
        let close = move || {
            broker.close();
            store.close();
        };
        tokio::task::spawn_blocking(close)
            .await
            .context("the database could not be closed")
    }
}

/// Tries the sandbox beside the start, so that its refusal is known before the first call.
async fn try_sandbox(sandbox: agentkit_sandbox::Sandbox) {
    if let Err(error) = sandbox.start().await {
        tracing::warn!(%error, "command tools are refused: the sandbox cannot be used");
    }
}

fn engine_settings(
    config: &Config,
    works: bool,
    running_with: &CurrentConfiguration,
) -> ops_engine::Settings {
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
        works,
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
        budgets: config.budgets().to_vec(),
        providers: crate::agents::provider_limits(config),
        configuration: running_with.clone(),
    }
}

fn worker_settings(
    config: &Config,
    dir: &Path,
    lease: Duration,
    configuration: CurrentConfiguration,
) -> ops_worker::Settings {
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
        budgets: config.budgets().to_vec(),
        providers: crate::agents::provider_limits(config),
        configuration,
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
        let settings = worker_settings(&config, Path::new("."), lease, Default::default());
        assert_eq!(settings.lease, Duration::from_secs(9));
    }
}
