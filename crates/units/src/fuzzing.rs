//! Fuzz targets: functions that read foreign bytes, under one name each.
//!
//! A crate lists its targets in a module `fuzzing`, which exists in its tests and with its feature `fuzzing`. The
//! package in `fuzz/` makes a libFuzzer program of each, and `cargo xtask fuzz` runs them. [`check`] is for the crate's
//! ordinary tests: it runs the seeds of every target and a few hundred changed copies of each, so that a target
//! and its seeds cannot rot.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

/// A function that takes any bytes, and panics if its result is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its program and of the folder of its seeds.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

/// The targets of this crate.
pub const TARGETS: &[Target] = &[Target {
    name: "quantity",
    run: quantity,
}];

/// Durations, amounts of money, names of models and digests: one text, read as each of them.
///
/// # Panics
/// If an amount does not come back from its own text, or a number means another thing than its text.
pub fn quantity(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(duration) = crate::duration::parse(&text) {
        let micros = crate::duration::micros(duration);
        let written = format!("{}s {}ms", micros / 1_000_000, micros % 1_000_000 / 1_000);
        let again = crate::duration::parse(&written).expect("whole seconds are a duration");
        assert!(duration - again < std::time::Duration::from_millis(1));
    }
    if let Ok(micros) = crate::money::parse(&text) {
        assert_eq!(crate::money::parse(&crate::money::show(micros)), Ok(micros));
    }
    if let Ok(number) = text.trim().parse::<f64>() {
        let _ = crate::duration::from_seconds(number);
        let _ = crate::money::from_usd(number);
    }
    if let Ok(name) = text.parse::<crate::ModelName>() {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    if let Some(bytes) = crate::hex::decode(&text) {
        assert_eq!(crate::hex::encode(bytes), text.to_ascii_lowercase());
    }
    let _ = crate::nearest::hint(&text, ["openai", "anthropic", "gemini"]);
}

/// The first line of an input and the rest of it: targets that read two texts take both from the same bytes.
#[must_use]
pub fn two_texts(data: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    (first.to_owned(), rest.to_owned())
}

/// Runs the seeds of each target, and changed copies of each seed: as many as `OPSPAWN_FUZZ_ROUNDS` says, else 100.
/// The changes are the same in every run.
///
/// # Panics
/// If a target panics, which names the input's seed and round, or if a target has no seeds.
pub fn check(targets: &[Target]) {
    let rounds = std::env::var("OPSPAWN_FUZZ_ROUNDS");
    let rounds = rounds.ok().and_then(|rounds| rounds.parse().ok());
    let rounds: u64 = rounds.unwrap_or(100);
    for target in targets {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "fuzz/seeds/{} is empty", target.name);
        for (number, (path, seed)) in seeds.iter().enumerate() {
            run(target, path, 0, seed);
            for round in 1..=rounds {
                let mut random = Random(round << 20 | number as u64);
                let other = &seeds[random.below(seeds.len())].1;
                run(target, path, round, &changed(seed, other, &mut random));
            }
        }
    }
}

fn run(target: &Target, seed: &Path, round: u64, input: &[u8]) {
    let done = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if let Err(panic) = done {
        let kept = std::env::temp_dir().join(format!("opspawn-fuzz-{}", target.name));
        let place = match fs::write(&kept, input) {
            Ok(()) => format!("kept as {}", kept.display()),
            Err(error) => format!("it could not be kept: {error}"),
        };
        let message = format!(
            "target {}, seed {}, round {round}; {place}",
            target.name,
            seed.display()
        );
        // The panic's own message was printed already.
        resume_unwind(match panic.downcast::<String>() {
            Ok(text) => Box::new(format!("{message}: {text}")),
            Err(_) => Box::new(message),
        });
    }
}

/// The inputs of a target's folders, with where they stand.
fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut left = vec![root.join("fuzz/seeds").join(target.name)];
    let fixtures = fs::read_to_string(root.join("fuzz/fixtures.txt")).unwrap_or_default();
    let fixtures = fixtures.lines().filter_map(|line| line.split_once(' '));
    let own = fixtures.filter(|(name, _)| *name == target.name);
    left.extend(own.map(|(_, path)| root.join(path)));
    let mut files = Vec::new();
    while let Some(path) = left.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => left.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
            Err(_) => files.push(path),
        }
    }
    files.sort();
    let read = |path: PathBuf| fs::read(&path).ok().map(|bytes| (path, bytes));
    files.into_iter().filter_map(read).collect()
}

/// A small generator, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// A copy of a seed with a few changes: bytes that are flipped, cut out, doubled, or taken from another seed.
fn changed(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const ODD: [&[u8]; 12] = [
        b"\0",
        b"\n",
        b"{",
        b"]",
        b"\"",
        b"\\ud800",
        b"1e999",
        b"-0",
        b"\xff",
        b"null",
        b"18446744073709551616",
        "\u{202e}".as_bytes(),
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let length = 1 + random.below(1 + bytes.len().min(16));
        let end = (at + length).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let odd = ODD[random.below(ODD.len())];
                bytes.splice(at..at, odd.iter().copied());
            }
            4 => {
                let start = random.below(other.len());
                let stop = (start + 64).min(other.len());
                bytes.splice(at..end, other[start..stop].iter().copied());
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        check(TARGETS);
    }

    #[test]
    fn a_target_that_panics_is_told_with_its_seed() {
        let fails = Target {
            name: "quantity",
            run: |data| assert!(data.is_empty(), "not empty"),
        };
        let panic = catch_unwind(|| check(&[fails])).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("fuzz/seeds/quantity"), "{message}");
    }
}
