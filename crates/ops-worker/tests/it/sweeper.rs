//! tests/X12: wake-ups that are lost cost delay only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use agentkit::{
    Agent,
    model::scripted::{Script, Scripted},
};
use ops_core::{
    TenantId,
    ports::{Fut, Queue, TaskStore as _, Wakeup},
    task::StateName,
};
use ops_queue::LocalQueue;
use tokio_util::sync::CancellationToken;

use crate::world::{Bench, agent_task, submit};

/// A queue that loses so many wake-ups.
struct Lossy {
    queue: LocalQueue,
    losses: AtomicU32,
    waits: AtomicU32,
}

impl Queue for Lossy {
    fn wake(&self, queue: &str) {
        let lost = self
            .losses
            .try_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        if lost.is_err() {
            self.queue.wake(queue);
        }
    }

    fn wait<'a>(&'a self, queue: &'a str) -> Fut<'a, Wakeup> {
        self.waits.fetch_add(1, SeqCst);
        self.queue.wait(queue)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_wake_up_is_lost_is_taken_up_by_the_next_look() {
    let queue = Arc::new(Lossy {
        queue: LocalQueue::default(),
        losses: AtomicU32::new(0),
        waits: AtomicU32::new(0),
    });
    let bench = Bench::with_queue(Arc::clone(&queue) as _);
    let script = Script::parse("[[turn]]\nanswer = 'done'").unwrap();
    let agent = Agent::builder(Arc::new(Scripted::new(Arc::new(script))));
    let engine = bench.engine(Arc::clone(&bench.store) as _);
    let stop = CancellationToken::new();
    let worker = bench.worker(Arc::clone(&bench.store) as _, agent.build().unwrap(), 1);
    let worker = tokio::spawn(worker.run(stop.clone()));
    let loops = tokio::spawn(Arc::clone(&engine).run_tasks(stop.clone()));
    // The worker waits to be woken, and the first look is over.
    while queue.waits.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    queue.losses.store(1, SeqCst);
    let task = submit(&engine, agent_task()).await;
    let submitted = Instant::now();
    loop {
        let record = bench.store.task(TenantId::DEFAULT, task).await.unwrap();
        if record.life.state.name() == StateName::Completed {
            break;
        }
        let waited = submitted.elapsed();
        assert!(waited < Duration::from_secs(20), "nobody rings again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(queue.losses.load(SeqCst), 0, "no wake-up was lost");
    stop.cancel();
    worker.await.unwrap();
    loops.await.unwrap();
    bench.store.close();
}
