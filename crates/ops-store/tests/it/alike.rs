//! The same commands give the same histories in every dialect: random ones, with children, concurrency
//! keys, approvals, forks, timers, lost leases, schedules, retention and a clock that steps.
//!
//! A failure prints the seed and the shortest commands that show it; `PROPTEST_RNG_SEED=SEED` runs them
//! again, and `PROPTEST_CASES` runs more.

mod commands;
mod pair;

use std::cell::RefCell;

use proptest::{
    collection::vec,
    test_runner::{Config, RngSeed, TestRunner},
};

use self::{
    commands::command,
    pair::{Pair, Seen},
};

/// Commands of one run.
const COMMANDS: usize = 120;
/// What has to happen, in all runs together, for their histories to say anything.
const HAPPENS: [&str; 14] = [
    "task.leased",
    "task.lease_lost",
    "task.waiting",
    "task.woken",
    "task.retry_scheduled",
    "task.cancel_requested",
    "task.completed",
    "task.failed",
    "task.paused",
    "task.signalled",
    "task.child_ended",
    "task.forked",
    "step.approved",
    "blocked",
];

fn seed() -> u64 {
    let set = std::env::var("PROPTEST_RNG_SEED").ok();
    let set = set.map(|text| text.parse().expect("PROPTEST_RNG_SEED is a number"));
    set.unwrap_or_else(|| {
        use std::hash::{BuildHasher as _, RandomState};
        RandomState::new().hash_one(0)
    })
}

#[test]
fn sqlite_and_memory_give_equal_histories() {
    let seed = seed();
    let config = Config {
        cases: Config::default().cases.min(128),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    let mut runner = TestRunner::new(config);
    let seen = RefCell::new(Seen::new());
    let done = runner.run(&vec(command(), 1..COMMANDS), |commands| {
        let happened = runtime.block_on(async {
            let mut pair = Pair::open();
            pair.begin().await?;
            for command in commands {
                pair.carry_out(command).await?;
            }
            pair.compare().await
        })?;
        let mut seen = seen.borrow_mut();
        for (kind, times) in happened {
            *seen.entry(kind).or_default() += times;
        }
        Ok(())
    });
    if let Err(failure) = done {
        panic!("PROPTEST_RNG_SEED={seed} runs this again\n{failure}");
    }
    let seen = seen.into_inner();
    for kind in HAPPENS {
        let times = seen.get(kind).copied().unwrap_or(0);
        assert!(
            times >= 8,
            "{kind} happened {times} times in all runs: {seen:?}"
        );
    }
}
