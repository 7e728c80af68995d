//! The same commands give the same histories in every dialect: random ones, with children, concurrency
//! keys, approvals, forks, timers, lost leases, schedules, retention and a clock that steps.
//!
//! A failure prints the seed and the shortest commands that show it; `PROPTEST_RNG_SEED=SEED` runs them
//! again, and `PROPTEST_CASES` runs more.

mod commands;
mod pair;

#[cfg(feature = "postgres")]
pub(crate) use self::pair::TREE;

use std::cell::RefCell;

use proptest::{
    collection::vec,
    test_runner::{Config, RngSeed, TestRunner},
};

use crate::world::World;

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
    compare_histories(128, 8, || crate::sqlite::open_undurable(pair::TREE));
}

/// The most rounds until everything has happened: chance alone does not leave an event out of all of them.
const ROUNDS: u64 = 24;

/// Gives a store and the one in memory the same random commands, in rounds of so many cases, until each kind of
/// event has happened so often.
pub(crate) fn compare_histories(cases: u32, least: u32, open: impl Fn() -> World) {
    let first = seed();
    let mut seen = Seen::new();
    for round in 0..ROUNDS {
        let seed = first.wrapping_add(round);
        compare_round(cases, seed, &open, &mut seen);
        let happened = |kind: &str| seen.get(kind).copied().unwrap_or(0) >= least;
        if HAPPENS.iter().all(|kind| happened(kind)) {
            return;
        }
    }
    panic!("not everything has happened {least} times in {ROUNDS} rounds: {seen:?}");
}

/// Gives a store and the one in memory the same random commands, moves the content of the store into another one, and
/// goes on with that one.
#[cfg(feature = "postgres")]
pub(crate) fn compare_moved<M: FnOnce(World) -> World>(cases: u32, open: impl Fn() -> (World, M)) {
    let seed = seed();
    let (mut runner, runtime) = runner(cases, seed);
    let commands = (vec(command(), 1..COMMANDS), vec(command(), 1..40));
    let done = runner.run(&commands, |(before, after)| {
        runtime.block_on(async {
            let (world, moved) = open();
            let mut pair = Pair::open(world);
            pair.begin().await?;
            for command in before {
                pair.carry_out(command).await?;
            }
            pair.replace(moved).await?;
            pair.compare().await?;
            pair.begin().await?;
            for command in after {
                pair.carry_out(command).await?;
            }
            pair.compare().await.map(drop)
        })
    });
    if let Err(failure) = done {
        panic!("PROPTEST_RNG_SEED={seed} runs this again\n{failure}");
    }
}

#[expect(
    clippy::print_stdout,
    reason = "a test that the runner ends has told its seed"
)]
fn runner(cases: u32, seed: u64) -> (TestRunner, tokio::runtime::Runtime) {
    println!("PROPTEST_RNG_SEED={seed}");
    let config = Config {
        cases: Config::default().cases.min(cases),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        // The failure is told before the test is ended for its length.
        max_shrink_time: 45_000,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    (TestRunner::new(config), runtime.unwrap())
}

fn compare_round(cases: u32, seed: u64, open: &impl Fn() -> World, seen: &mut Seen) {
    let (mut runner, runtime) = runner(cases, seed);
    let all = RefCell::new(seen);
    let done = runner.run(&vec(command(), 1..COMMANDS), |commands| {
        let happened = runtime.block_on(async {
            let mut pair = Pair::open(open());
            pair.begin().await?;
            for command in commands {
                pair.carry_out(command).await?;
            }
            pair.compare().await
        })?;
        let mut seen = all.borrow_mut();
        for (kind, times) in happened {
            *seen.entry(kind).or_default() += times;
        }
        Ok(())
    });
    if let Err(failure) = done {
        panic!("PROPTEST_RNG_SEED={seed} runs this again\n{failure}");
    }
}
