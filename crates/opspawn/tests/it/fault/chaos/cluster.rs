//! The processes, each with a supervisor that starts it again.

use std::{
    cell::{Cell, RefCell},
    os::unix::process::ExitStatusExt as _,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use ops_testkit::{
    Http, Launch, Opspawn, Signal, clock, postgres::Private, rabbitmq::VirtualHost, wait_until,
};
use tokio::{sync::Mutex, time::Instant};

use crate::fault::world::World;

/// Longer than any outage of the database.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long a process gives its counters.
const COUNTERS: Duration = Duration::from_secs(3);

/// Processes, witnesses, database and broker.
pub(super) struct Cluster {
    pub(super) world: World,
    /// Servers first.
    pub(super) members: Vec<Member>,
    pub(super) database: String,
    pub(super) host: Arc<VirtualHost>,
}

/// A process that is started again after each of its ends.
pub(super) struct Member {
    pub(super) name: String,
    launch: Launch,
    running: Mutex<Option<Opspawn>>,
    /// Where the process answers, while it runs.
    http: RefCell<Option<Http>>,
    /// Starts that failed, for instance because the database was away.
    refused: Cell<usize>,
    counters: RefCell<Counters>,
}

/// Counters of a process, over all its lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) stale_writes: u64,
    pub(super) retries: u64,
    pub(super) received: u64,
    pub(super) panics: Vec<String>,
}

impl Cluster {
    /// Starts all of it.
    pub(super) async fn start(lease: &str) -> anyhow::Result<(Self, Private)> {
        let database = Private::start().await?;
        let world = World::slow(20, 20).await?;
        let host = tokio::task::spawn_blocking(VirtualHost::create).await?;
        let mut members = Vec::new();
        for name in ["server-1", "server-2", "worker-1", "worker-2", "worker-3"] {
            let (role, arguments) = match name.starts_with("server") {
                true => ("serve", ["--listen", "127.0.0.1:0"]),
                false => ("worker", ["--health-listen", "127.0.0.1:0"]),
            };
            let folder = world.data.join(name);
            std::fs::create_dir(&folder)?;
            let launch = world.on(Launch::new(role, folder).args(arguments));
            members.push(Member {
                name: name.to_owned(),
                launch: launch
                    .timeout(TIMEOUT)
                    .env("OPSPAWN_CONCURRENCY", "4")
                    .env("OPSPAWN_LEASE", lease)
                    .env("DATABASE_URL", database.url())
                    .env("RABBITMQ_URL", host.url()),
                running: Mutex::new(None),
                http: RefCell::new(None),
                refused: Cell::new(0),
                counters: RefCell::default(),
            });
        }
        let cluster = Self {
            world,
            members,
            database: database.url(),
            host: Arc::new(host),
        };
        // The first server makes the tables.
        for member in &cluster.members {
            member.start().await?;
        }
        Ok((cluster, database))
    }

    /// The servers that run now.
    pub(super) fn servers(&self) -> Vec<Http> {
        let servers = self
            .members
            .iter()
            .filter(|it| it.name.starts_with("server"));
        servers
            .filter_map(|member| member.http.borrow().clone())
            .collect()
    }

    /// What the processes printed of late.
    pub(super) async fn outputs(&self) -> String {
        let mut all = String::new();
        for member in &self.members {
            let output = match &*member.running.lock().await {
                Some(process) => process.output(),
                None => "it does not run".to_owned(),
            };
            let lines: Vec<&str> = output.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            all += &format!("--- {}\n{last}\n", member.name);
        }
        all
    }

    /// Stops all processes, and sums their counters.
    pub(super) async fn stop(&self) -> anyhow::Result<Counters> {
        let mut sum = Counters::default();
        for member in self.members.iter().rev() {
            member.stop().await?;
            let counters = member.counters.borrow();
            sum.stale_writes += counters.stale_writes;
            sum.retries += counters.retries;
            sum.received += counters.received;
            sum.panics.extend(counters.panics.iter().cloned());
        }
        Ok(sum)
    }
}

impl Member {
    /// Starts the process, again and again while the start fails.
    pub(super) async fn start(&self) -> anyhow::Result<()> {
        let end = Instant::now() + TIMEOUT;
        loop {
            match self.launch.start().await {
                Ok(process) => {
                    self.http.replace(Some(process.http().clone()));
                    self.running.lock().await.replace(process);
                    return Ok(());
                }
                Err(error) if Instant::now() > end => {
                    return Err(error.context(format!("{} does not start", self.name)));
                }
                Err(_) => {
                    self.refused.set(self.refused.get() + 1);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Kills the process, which must have lived until now.
    pub(super) async fn kill(&self) -> anyhow::Result<()> {
        let mut process = self.take().await?;
        process.process().signal(Signal::KILL)?;
        let status = process.wait_exit(TIMEOUT).await?;
        ensure!(
            status.signal() == Some(9),
            "{} ended with {status}",
            self.name
        );
        self.note_panics(&process);
        Ok(())
    }

    /// Stops the process for a while. Gives when it went on, in microseconds of `CLOCK_MONOTONIC`.
    pub(super) async fn freeze(&self, time: Duration) -> anyhow::Result<i64> {
        let mut held = self.running.lock().await;
        let process = held.as_mut().context("it does not run")?.process();
        process.signal(Signal::STOP)?;
        let stat = format!("/proc/{}/stat", process.id());
        let stopped = wait_until("it stands still", TIMEOUT, || async {
            let stat = std::fs::read_to_string(&stat).ok()?;
            // After the name, which may hold blanks.
            let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
            (state == 'T').then_some(())
        });
        let stopped = stopped.await;
        tokio::time::sleep(time).await;
        let thawed = clock::monotonic_us();
        process.signal(Signal::CONT)?;
        stopped?;
        Ok(thawed)
    }

    /// Asks the process to stop, and waits until it has.
    async fn stop(&self) -> anyhow::Result<()> {
        let mut process = self.take().await?;
        let status = process.stop(TIMEOUT).await?;
        ensure!(
            status.success(),
            "{} ended with {status}:\n{}",
            self.name,
            process.output()
        );
        self.note_panics(&process);
        Ok(())
    }

    /// Takes the process out of its place, with its counters noted.
    async fn take(&self) -> anyhow::Result<Opspawn> {
        let mut held = self.running.lock().await;
        let mut process = held.take().context("it does not run")?;
        let ended = process.process().exited()?;
        ensure!(
            ended.is_none(),
            "{} ended by itself with {ended:?}:\n{}",
            self.name,
            process.output()
        );
        self.note_counters(process.http()).await;
        self.http.replace(None);
        Ok(process)
    }

    /// Adds the counters of this life of the process, if it tells them.
    async fn note_counters(&self, http: &Http) {
        let read = tokio::time::timeout(COUNTERS, http.get("/metrics")).await;
        let Ok(Ok(reply)) = read else {
            return;
        };
        let text = reply.text();
        let of = |name: &str| {
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found
                .and_then(|number| number.trim().parse().ok())
                .unwrap_or(0)
        };
        let mut counters = self.counters.borrow_mut();
        counters.stale_writes += of("opspawn_stale_writes_total");
        counters.retries += of("opspawn_store_retries_total");
        counters.received += of("opspawn_queue_received_total");
    }

    fn note_panics(&self, process: &Opspawn) {
        let mut alarms = process.alarms();
        alarms.retain(|line| line.contains("panicked"));
        self.counters.borrow_mut().panics.extend(alarms);
    }
}
