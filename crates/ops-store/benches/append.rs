//! How many events the store alone commits in a second, with `synchronous=FULL` on a real disk.
//!
//! `cargo bench -p ops-store` runs 64 runs that append pairs of events (a step's start and its
//! outcome, one commit per pair), the same with commits slowed by 2 ms, and whole tasks (submit,
//! claim, complete). `OPS_STORE_BENCH_DIR` names a folder on another disk.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a benchmark, not the product"
)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ops_core::{
    Actor, Append, Json, Lifecycle, Micros, NewEvent, Next, RunCommand, SessionId, Task, TaskId,
    TenantId,
    event::{EffectClass, StepKind, StepMark, StepStatus, Usage},
    ports::{ClaimRequest, Clock, NewTask, RunStore as _, TaskStore as _},
    retry::RetryPolicy,
};
use ops_store::{Options, SqliteStore};
use tokio::runtime::Runtime;

const TENANT: TenantId = TenantId::DEFAULT;

struct WallClock(Instant);

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter")]
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Micros(since.as_micros().try_into().unwrap())
    }

    fn boot_micros(&self) -> i64 {
        self.0.elapsed().as_micros().try_into().unwrap()
    }
}

static IDS: AtomicU64 = AtomicU64::new(0);

fn random() -> [u8; 10] {
    let mut bytes = [7; 10];
    bytes[2..].copy_from_slice(&IDS.fetch_add(1, Relaxed).to_be_bytes());
    bytes
}

/// A store in a fresh folder, and a session.
struct World {
    store: Arc<SqliteStore>,
    clock: Arc<WallClock>,
    session: SessionId,
    dir: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        self.store.close();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl World {
    fn new(runtime: &Runtime, commit_delay: Option<Duration>) -> Self {
        let base = std::env::var_os("OPS_STORE_BENCH_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let dir = base.join(format!(
            "bench-{}-{}",
            std::process::id(),
            IDS.fetch_add(1, Relaxed)
        ));
        let clock = Arc::new(WallClock(Instant::now()));
        let options = Options {
            commit_delay,
            ..Options::new(&dir, Arc::clone(&clock) as Arc<dyn Clock>)
        };
        let store = Arc::new(SqliteStore::open(options).unwrap());
        let session = SessionId::new(clock.now(), random());
        runtime.block_on(store.open_session(session)).unwrap();
        Self {
            store,
            clock,
            session,
            dir,
        }
    }

    fn new_task(&self) -> NewTask {
        let now = self.clock.now();
        NewTask {
            task: Task {
                id: TaskId::new(now, random()),
                tenant: TENANT,
                task_type: "agent_run".into(),
                name: None,
                agent_id: None,
                agent_digest: None,
                input: Json::parse(r#"{"prompt":"how much is 17 * 23 + 4?"}"#).unwrap(),
                labels: Default::default(),
                limits: Default::default(),
                priority: 5,
                queue: "default".into(),
                concurrency_key: None,
                retry_of: None,
                parent: None,
                created_at: now,
                run_at: None,
            },
            actor: Actor::Local,
            retry: RetryPolicy::default(),
            idempotency: None,
            fork: None,
        }
    }

    async fn running(&self, count: u32) -> Vec<Lifecycle> {
        for _ in 0..count {
            self.store.submit(self.new_task()).await.unwrap();
        }
        let request = ClaimRequest {
            session: self.session,
            queue: "default".into(),
            max: count,
            rate: None,
            after: None,
        };
        let claimed = self.store.claim(request).await.unwrap().tasks;
        claimed.into_iter().map(|record| record.life).collect()
    }
}

fn pair(number: u32) -> Vec<NewEvent> {
    let event = |status: StepStatus, body: &str| NewEvent {
        kind: format!("tool.{}", status.as_str()),
        step: Some(StepMark {
            number,
            kind: StepKind::Tool,
            status,
            effect: EffectClass::Pure,
        }),
        usage: Usage {
            input_tokens: 120,
            output_tokens: 31,
            cost_micros: 410,
        },
        blobs: Vec::new(),
        body: body.as_bytes().to_vec().into(),
    };
    let started = r#"{"v":1,"type":"tool.started","call":"call_01","name":"calculator","input":{"expression":"17 * 23 + 4"}}"#;
    let completed = r#"{"v":1,"type":"tool.completed","call":"call_01","name":"calculator","output":{"value":"395","exact":true,"text":"17 * 23 + 4 = 395"}}"#;
    vec![
        event(StepStatus::Started, started),
        event(StepStatus::Completed, completed),
    ]
}

/// Each run appends so many pairs, each pair after the acknowledgement of the one before.
async fn append(store: &Arc<SqliteStore>, runs: &mut Vec<Lifecycle>, pairs: u32) {
    let mut tasks = tokio::task::JoinSet::new();
    for mut life in runs.drain(..) {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for number in 0..pairs {
                let append = Append::new(life.seq, pair(number), Next::Continue);
                let command = RunCommand::append(life.epoch, append);
                life = store
                    .record(TENANT, life.id, command, Vec::new())
                    .await
                    .unwrap();
            }
            life
        });
    }
    *runs = tasks.join_all().await;
}

/// One client's tasks, one after the other: submit, claim, complete.
async fn whole_tasks(world: &Arc<World>, clients: u32, each: u32) {
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let world = Arc::clone(world);
        tasks.spawn(async move {
            let queue = format!("queue-{client}");
            for _ in 0..each {
                let mut new = world.new_task();
                new.task.queue.clone_from(&queue);
                world.store.submit(new).await.unwrap();
                let request = ClaimRequest {
                    session: world.session,
                    queue: queue.clone(),
                    max: 1,
                    rate: None,
                    after: None,
                };
                let life = world
                    .store
                    .claim(request)
                    .await
                    .unwrap()
                    .tasks
                    .remove(0)
                    .life;
                let append = Append::new(
                    life.seq,
                    pair(1),
                    Next::Complete {
                        result: Json::parse(r#"{"answer":"395"}"#).unwrap(),
                    },
                );
                let command = RunCommand::append(life.epoch, append);
                world
                    .store
                    .record(TENANT, life.id, command, Vec::new())
                    .await
                    .unwrap();
            }
        });
    }
    tasks.join_all().await;
}

fn report(name: &str, before: ops_store::sqlite::Stats, world: &World, took: Duration) {
    let after = world.store.stats();
    let seconds = took.as_secs_f64();
    let transactions = after.transactions - before.transactions;
    eprintln!(
        "{name}: {:.0} events/s, {:.0} items/s, {transactions} commits ({:.0}/s, {:.1} items \
         each, {:.0} us in COMMIT), {} checkpoints, {} us lingered",
        (after.events - before.events) as f64 / seconds,
        (after.items - before.items) as f64 / seconds,
        transactions as f64 / seconds,
        (after.items - before.items) as f64 / transactions as f64,
        (after.commits.sum_micros - before.commits.sum_micros) as f64 / transactions as f64,
        after.checkpoints - before.checkpoints,
        after.commit_delay_micros - before.commit_delay_micros,
    );
}

fn benchmarks(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("sqlite");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(6));

    for (name, writers, pairs, delay) in [
        ("append pairs, 1 writer", 1_u32, 400, None),
        ("append pairs, 64 writers", 64, 200, None),
        (
            "append pairs, 64 writers, 2 ms more a commit",
            64,
            40,
            Some(2),
        ),
        (
            "append pairs, 256 writers, 2 ms more a commit",
            256,
            20,
            Some(2),
        ),
    ] {
        let world = World::new(&runtime, delay.map(Duration::from_millis));
        let mut runs = runtime.block_on(world.running(writers));
        group.throughput(Throughput::Elements(u64::from(writers * pairs * 2)));
        let (before, mut took) = (world.store.stats(), Duration::ZERO);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let start = Instant::now();
                runtime.block_on(append(&world.store, &mut runs, pairs));
                took += start.elapsed();
            });
        });
        report(name, before, &world, took);
    }

    let name = "whole tasks, 32 clients";
    let world = Arc::new(World::new(&runtime, None));
    group.throughput(Throughput::Elements(32 * 50));
    let (before, mut took) = (world.store.stats(), Duration::ZERO);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let start = Instant::now();
            runtime.block_on(whole_tasks(&world, 32, 50));
            took += start.elapsed();
        });
    });
    report(name, before, &world, took);
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
