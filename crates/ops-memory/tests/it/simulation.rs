//! A simulation of workers, faults and clocks over the store in memory: one seed is one history, and a seed that fails
//! plays the same history again.
//!
//! Workers claim tasks, record the intents and outcomes of calls, and are killed, frozen and told that a committed append
//! failed. Sessions end while their workers go on, clocks jump, tasks are paused, cancelled and submitted twice. An oracle
//! keeps books of its own, of what it sees from outside: it shares no rule with the store. In the end the faults stop, and
//! every task must end.
//!
//! `OPSPAWN_SIMULATE_SEEDS` is the number of seeds, and `OPSPAWN_SIMULATE_FROM` the first one; `cargo xtask simulate` sets
//! both.

mod oracle;
mod random;
mod world;

use self::world::World;

/// Seeds of an ordinary run of the tests.
const SEEDS: u64 = 200;
/// Faults and refusals that must happen in all seeds together, or the simulation says nothing.
const HAPPENS: [&str; 16] = [
    "killed",
    "frozen",
    "thawed",
    "acknowledgement lost",
    "stale write refused",
    "lease lost",
    "clock set forward",
    "clock set back",
    "paused",
    "cancelled",
    "submitted twice",
    "budget busy",
    "budget used up",
    "woken by a settlement",
    "provider refused",
    "key blocked",
];

fn number(variable: &str) -> Option<u64> {
    let set = std::env::var(variable).ok()?;
    Some(
        set.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

#[test]
fn every_history_is_right() {
    let seeds = number("OPSPAWN_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let from = number("OPSPAWN_SIMULATE_FROM").unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let begun = std::time::Instant::now();
    let handles: Vec<_> = (0..threads)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut counts = std::collections::BTreeMap::<&'static str, u64>::new();
                for seed in (from + thread..from + seeds).step_by(threads as usize) {
                    let played = std::panic::catch_unwind(|| World::play(seed));
                    let played = played.unwrap_or_else(|_| {
                        panic!("seed {seed}: `cargo xtask simulate --from {seed} --seeds 1` plays it again")
                    });
                    for (what, count) in played {
                        *counts.entry(what).or_default() += count;
                    }
                }
                counts
            })
        })
        .collect();
    let mut counts = std::collections::BTreeMap::<&'static str, u64>::new();
    for handle in handles {
        for (what, count) in handle.join().expect("a seed failed: see above") {
            *counts.entry(what).or_default() += count;
        }
    }
    println!(
        "{seeds} seeds from {from} in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    for (what, count) in &counts {
        println!("{count:>12} {what}");
    }
    if seeds >= SEEDS {
        for what in HAPPENS {
            assert!(
                counts.get(what).is_some_and(|count| *count > 0),
                "never: {what}"
            );
        }
    }
}

#[test]
fn a_seed_plays_the_same_history() {
    assert_eq!(World::play(7), World::play(7));
    assert_eq!(World::fingerprint(7), World::fingerprint(7));
    assert_ne!(World::fingerprint(7), World::fingerprint(8));
}
