//! A few threads for work that would hold up an async runtime.
//!
//! A runtime's own blocking threads do not fit: there are hundreds of them, so that fifty costly
//! requests at once take every core and fifty times the memory of one, and their stacks are small.
//! Here at most [`THREADS`] pieces of work run at once, on large stacks; others wait in order, each
//! without a thread. Work is never left behind on a thread: when its caller goes away, work that
//! waits is dropped and work that runs is told by [`Stop`].

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

/// Pieces of work that run at once.
pub const THREADS: usize = 2;
/// The stack of each thread, in bytes; only used pages take memory.
pub const STACK: usize = 64 * 1024 * 1024;
/// How long a thread waits for more work. Its end gives back the stack that it used.
const IDLE: Duration = Duration::from_secs(5);

/// Tells a piece of work that its caller has gone away.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether the work should end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the mark when the caller's future is dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

#[derive(Default)]
struct Pool {
    queue: Mutex<Queue>,
    ready: Condvar,
}

static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

/// Runs a piece of work on the pool and gives its result. Dropping the future ends the work as soon
/// as it looks at [`Stop`], and drops it if it has not begun.
///
/// # Panics
/// With the panic of the work.
pub async fn run<T: Send + 'static>(work: impl FnOnce(&Stop) -> T + Send + 'static) -> T {
    let (reply, answer) = oneshot::channel();
    let stop = Stop::default();
    let _stop_on_drop = StopOnDrop(stop.clone());
    POOL.push(Box::new(move || {
        if !stop.is_set() {
            let result = catch_unwind(AssertUnwindSafe(|| work(&stop)));
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(result);
        }
    }));
    match answer.await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("work that is waited for runs and answers"),
    }
}

/// Runs a piece of work on a stack as large as a stack of the pool, and waits for it. For programs
/// without an async runtime; inside one, [`run`] keeps its threads free.
///
/// # Panics
/// With the panic of the work.
pub fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("bounded".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        match thread
            .expect("the system has room for one more thread")
            .join()
        {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    })
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Jobs catch their panics, and none runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&'static self, job: Job) {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        if queue.jobs.len() <= queue.idle || queue.threads == THREADS {
            drop(queue);
            self.ready.notify_one();
            return;
        }
        queue.threads += 1;
        drop(queue);
        let thread = std::thread::Builder::new()
            .name("bounded".to_owned())
            .stack_size(STACK)
            .spawn(|| self.work());
        if thread.is_err() {
            self.without_thread();
        }
    }

    /// The system has no room for a thread: what waits runs here, unless another thread will take it.
    fn without_thread(&self) {
        let mut queue = self.lock();
        queue.threads -= 1;
        while queue.threads == 0
            && let Some(job) = queue.jobs.pop_front()
        {
            drop(queue);
            job();
            queue = self.lock();
        }
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let waited = self.ready.wait_timeout(queue, IDLE);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if timeout.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_few_pieces_run_at_once_and_all_of_them_end() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static PEAK: AtomicUsize = AtomicUsize::new(0);
        let all: Vec<_> = (0..20)
            .map(|number| {
                tokio::spawn(run(move |_| {
                    let now = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
                    PEAK.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    RUNNING.fetch_sub(1, Ordering::SeqCst);
                    number
                }))
            })
            .collect();
        for (number, task) in all.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), number);
        }
        assert!((1..=THREADS).contains(&PEAK.load(Ordering::SeqCst)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn work_whose_caller_went_away_is_told_or_never_begins() {
        let (told, ended) = oneshot::channel();
        let (began, begun) = oneshot::channel();
        let running = tokio::spawn(run(move |stop| {
            let _ = began.send(());
            while !stop.is_set() {
                std::thread::yield_now();
            }
            let _ = told.send(());
        }));
        begun.await.unwrap();
        running.abort();
        ended.await.unwrap();

        // Both threads are busy, so this one waits until its caller has gone.
        let release = Stop::default();
        let busy: Vec<_> = (0..THREADS)
            .map(|_| {
                let release = release.clone();
                tokio::spawn(run(move |_| {
                    while !release.is_set() {
                        std::thread::yield_now();
                    }
                }))
            })
            .collect();
        tokio::task::yield_now().await;
        let began = Stop::default();
        let waiting = tokio::spawn({
            let began = began.clone();
            run(move |_| began.0.store(true, Ordering::Relaxed))
        });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        release.0.store(true, Ordering::Relaxed);
        for task in busy {
            task.await.unwrap();
        }
        run(|_| ()).await;
        assert!(!began.is_set());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_panic_reaches_the_caller_and_the_threads_go_on() {
        for _ in 0..2 * THREADS {
            let panicked = tokio::spawn(run(|_| panic!("of the work"))).await;
            assert!(panicked.unwrap_err().is_panic());
        }
        assert_eq!(run(|_| 7).await, 7);
    }

    #[test]
    fn the_stack_is_large() {
        fn deep(levels: usize) -> usize {
            let frame = std::hint::black_box([levels; 32]);
            if levels == 0 {
                0
            } else {
                deep(frame[0] - 1) + 1
            }
        }
        assert_eq!(on_large_stack(|| deep(50_000)), 50_000);
    }
}
