//! Lanes of faults, which run beside one another and beside the work.

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use ops_testkit::{
    postgres::{Private, ask},
    rabbitmq::{VirtualHost, control},
    wait_until,
};
use tokio::time::{Instant, sleep};

use super::{
    cluster::{Cluster, Member},
    plan::{Fault, Plan},
};
use crate::fault::plan::Luck;

const QUEUE: &str = "opspawn.default";
/// The longest that anything may take that a lane waits for.
const TIMEOUT: Duration = Duration::from_secs(90);

/// How far the work and the faults are: each waits for the other.
pub(super) struct Progress {
    tasks: usize,
    faults: usize,
    pub(super) submitted: Cell<usize>,
    pub(super) ended: Cell<usize>,
    landed: Cell<usize>,
    pub(super) faults_are_over: Cell<bool>,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            tasks: plan.tasks,
            faults: plan.faults(),
            submitted: Cell::new(0),
            ended: Cell::new(0),
            landed: Cell::new(0),
            faults_are_over: Cell::new(false),
        }
    }

    /// Waits until it is time for a lane's fault with this index: its share of the tasks has ended.
    async fn due(&self, index: usize, faults: usize) {
        let share = (self.tasks * index / faults.max(1)).saturating_sub(self.lead());
        while self.ended.get() < share {
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn landed(&self) {
        self.landed.set(self.landed.get() + 1);
    }

    /// How many tasks may have been submitted by now, so that work is left for the faults to come.
    pub(super) fn submittable(&self) -> usize {
        if self.faults_are_over.get() {
            return self.tasks;
        }
        let share = self.tasks * self.landed.get() / self.faults.max(1);
        (share + 2 * self.lead()).min(self.tasks)
    }

    /// How many tasks the work may be ahead of the faults, and behind.
    fn lead(&self) -> usize {
        (self.tasks / 8).clamp(4, 24)
    }

    /// A number that grows whenever anything happens.
    pub(super) fn steps(&self) -> usize {
        self.ended.get() + self.landed.get()
    }
}

/// What was done, with the proof that it took place.
#[derive(Debug, Default)]
pub(super) struct Landed {
    pub(super) kills: usize,
    pub(super) freezes: usize,
    /// When frozen processes went on, in microseconds of `CLOCK_MONOTONIC`.
    pub(super) thaws: Vec<i64>,
    pub(super) database_deaths: usize,
    pub(super) database_shutdowns: usize,
    /// The longest time between a database that is back and the next call of a model.
    pub(super) resumed: Duration,
    pub(super) broker_restarts: usize,
    pub(super) doubled: usize,
    pub(super) purges: usize,
    pub(super) cuts: usize,
    pub(super) cut_connections: usize,
}

impl Landed {
    pub(super) fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.freezes += other.freezes;
        self.thaws.extend(other.thaws);
        self.database_deaths += other.database_deaths;
        self.database_shutdowns += other.database_shutdowns;
        self.resumed = self.resumed.max(other.resumed);
        self.broker_restarts += other.broker_restarts;
        self.doubled += other.doubled;
        self.purges += other.purges;
        self.cuts += other.cuts;
        self.cut_connections += other.cut_connections;
    }
}

impl fmt::Display for Landed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "landed: {} kills, {} freezes, {} deaths and {} restarts of the database (the next model call at most \
             {:.1} s later), {} connections cut in {} turns, {} restarts of the broker, {} messages added, {} purges",
            self.kills,
            self.freezes,
            self.database_deaths,
            self.database_shutdowns,
            self.resumed.as_secs_f64(),
            self.cut_connections,
            self.cuts,
            self.broker_restarts,
            self.doubled,
            self.purges
        )
    }
}

fn up_to(luck: &mut Luck, ms: usize) -> Duration {
    Duration::from_millis(luck.below(ms) as u64)
}

/// Kills and freezes one process.
pub(super) async fn disturb(
    member: &Member,
    deck: Vec<Fault>,
    progress: &Progress,
    mut luck: Luck,
) -> anyhow::Result<Landed> {
    let mut landed = Landed::default();
    for (index, fault) in deck.iter().enumerate() {
        progress.due(index, deck.len()).await;
        sleep(Duration::from_millis(300) + up_to(&mut luck, 1_000)).await;
        match fault {
            Fault::Kill => {
                member.kill().await?;
                landed.kills += 1;
                sleep(up_to(&mut luck, 300)).await;
                member.start().await?;
            }
            Fault::Freeze => {
                let time = Duration::from_millis(3_500) + up_to(&mut luck, 1_000);
                landed.thaws.push(member.freeze(time).await?);
                landed.freezes += 1;
            }
        }
        progress.landed();
    }
    Ok(landed)
}

/// Restarts the database, in turn as a power cut and as an operator does.
pub(super) async fn restart_database(
    database: &mut Private,
    cluster: &Cluster,
    plan: &Plan,
    progress: &Progress,
) -> anyhow::Result<Landed> {
    let (mut landed, mut luck) = (Landed::default(), Luck(plan.seed + 2));
    for index in 0..plan.database_restarts {
        progress.due(index, plan.database_restarts).await;
        sleep(Duration::from_millis(800) + up_to(&mut luck, 1_500)).await;
        let before = started(cluster).await?;
        match index % 2 {
            0 => database.die().await?,
            _ => database.shut_down().await?,
        }
        sleep(up_to(&mut luck, 1_500)).await;
        database.restart().await?;
        ensure!(
            before != started(cluster).await?,
            "the database was not restarted"
        );
        match index % 2 {
            0 => landed.database_deaths += 1,
            _ => landed.database_shutdowns += 1,
        }
        progress.landed();
        let log = cluster.world.data.join("model.log");
        let size = || Some(std::fs::metadata(&log).ok()?.len());
        let (back, before) = (Instant::now(), size());
        let called = wait_until("a model is called again", TIMEOUT, || async {
            let is_idle = progress.ended.get() == progress.submitted.get();
            (size() > before || is_idle).then_some(())
        });
        called.await?;
        landed.resumed = landed.resumed.max(back.elapsed());
    }
    Ok(landed)
}

/// When the database was started.
async fn started(cluster: &Cluster) -> anyhow::Result<String> {
    // Another lane cuts this connection as well.
    wait_until("the database answers", TIMEOUT, || async {
        let statement = "SELECT pg_postmaster_start_time()::text";
        let rows = ask(&cluster.database, statement).await.ok()?;
        Some(rows.first()?.get(0))
    })
    .await
}

/// Starts the broker, also where the test fails.
struct StartsBroker;

impl Drop for StartsBroker {
    fn drop(&mut self) {
        control(&["start_app"]);
    }
}

/// Runs what waits for programs of the broker.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Adds messages to the queue, purges it, and restarts the broker.
pub(super) async fn restart_broker(
    cluster: &Cluster,
    plan: &Plan,
    progress: &Progress,
) -> anyhow::Result<Landed> {
    let (mut landed, mut luck) = (Landed::default(), Luck(plan.seed + 3));
    let address = broker_address()?;
    for index in 0..plan.broker_restarts {
        progress.due(index, plan.broker_restarts).await;
        let host = Arc::clone(&cluster.host);
        landed.doubled += blocking(move || host.publish(QUEUE, 20)).await?;
        let host: Arc<VirtualHost> = Arc::clone(&cluster.host);
        landed.purges += usize::from(blocking(move || host.purge(QUEUE)).await?);
        let starts = StartsBroker;
        blocking(|| control(&["stop_app"])).await?;
        let refused = tokio::net::TcpStream::connect(&address).await;
        ensure!(refused.is_err(), "the broker did not stop");
        sleep(Duration::from_millis(500) + up_to(&mut luck, 2_500)).await;
        blocking(move || drop(starts)).await?;
        let open = || async { tokio::net::TcpStream::connect(&address).await.ok() };
        wait_until("the broker is back", TIMEOUT, open).await?;
        landed.broker_restarts += 1;
        progress.landed();
    }
    Ok(landed)
}

/// `127.0.0.1:PORT` of the broker.
fn broker_address() -> anyhow::Result<String> {
    let url = std::env::var("OPSPAWN_TEST_RABBITMQ")?;
    let (_, address) = url
        .rsplit_once('@')
        .context("the broker's URL has no user")?;
    Ok(address.to_owned())
}

/// Cuts all connections to the database.
pub(super) async fn cut(
    cluster: &Cluster,
    plan: &Plan,
    progress: &Progress,
) -> anyhow::Result<Landed> {
    let (mut landed, mut luck) = (Landed::default(), Luck(plan.seed + 4));
    for index in 0..plan.cuts {
        progress.due(index, plan.cuts).await;
        sleep(Duration::from_millis(300) + up_to(&mut luck, 1_500)).await;
        let cut = wait_until("the connections are cut", TIMEOUT, || async {
            let cut = ask(
                &cluster.database,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            );
            // The database may be away just now.
            let cut = cut.await.ok()?.len();
            (cut > 0).then_some(cut)
        });
        landed.cut_connections += cut.await?;
        landed.cuts += 1;
        progress.landed();
    }
    Ok(landed)
}
