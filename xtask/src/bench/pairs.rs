//! Two binaries of Opspawn in turn: is one slower than the other, or is it the machine?

use std::path::Path;

use anyhow::bail;
use serde_json::{Value, json};

use super::{Args, Bench, found, last_line};

/// A median may be worse by this much.
const TOLERANCE: f64 = 0.05;
/// The verdict on a figure that a line does not have.
const NOT_MEASURED: &str = "not measured";
/// How sure an interval is at least, where there are pairs enough (six).
const COVERAGE: f64 = 0.95;

/// A bench whose figures are compared.
struct Compared {
    args: &'static [&'static str],
    figures: &'static [(&'static str, Better)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
}

const COMPARED: &[Compared] = &[
    Compared {
        args: &["submit", "--clients", "32"],
        figures: &[
            ("/tasks_per_second", Better::Higher),
            ("/post_ms/p50", Better::Lower),
            ("/server_cpu_us_per_task", Better::Lower),
            ("/server_peak_rss_mib", Better::Lower),
        ],
    },
    Compared {
        args: &["steps"],
        figures: &[
            ("/steps_per_second", Better::Higher),
            ("/server_cpu_us_per_step", Better::Lower),
            ("/server_peak_rss_mib", Better::Lower),
        ],
    },
];

/// A line of the old binary and one of the new, measured one after the other.
type Pair = (Value, Value);

/// Measures both binaries and prints a line for each figure.
///
/// # Errors
/// A median is worse by more than 5 % and its interval excludes 1, or a figure is missing.
pub(super) fn run(bench: &Bench<'_>, against: &Path, args: &Args) -> anyhow::Result<()> {
    let old = found(against)?;
    let tasks = args.tasks.map(|tasks| tasks.to_string());
    let mut worse = Vec::new();
    for compared in COMPARED {
        let mut line = compared.args.to_vec();
        line.extend(tasks.iter().flat_map(|tasks| ["--tasks", tasks]));
        let measure = |binary: &Path| last_line(&mut bench.measured(binary, &line));
        // The first run of a binary reads it from the disk.
        measure(&old)?;
        measure(&bench.binary)?;
        let (mut pairs, mut control) = (Vec::new(), Vec::new());
        for _ in 0..args.pairs.max(1).div_ceil(2) {
            pairs.extend(abba(&measure, &old, &bench.binary)?);
            control.extend(abba(&measure, &old, &old)?);
        }
        for &(figure, better) in compared.figures {
            let line = line_of(compared.args[0], figure, better, &pairs, &control);
            println!("{line}");
            if line["verdict"] == "worse" || line["verdict"] == NOT_MEASURED {
                worse.push(line);
            }
        }
    }
    if worse.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = worse.iter().map(sentence).collect();
    bail!(
        "the binary is worse than the old one\n  {}",
        lines.join("\n  ")
    )
}

/// Old, new, new, old: what else the machine does grows and shrinks for both alike.
fn abba(
    measure: &impl Fn(&Path) -> anyhow::Result<Value>,
    old: &Path,
    new: &Path,
) -> anyhow::Result<[Pair; 2]> {
    let first = (measure(old)?, measure(new)?);
    let then_new = measure(new)?;
    Ok([first, (measure(old)?, then_new)])
}

fn sentence(line: &Value) -> String {
    let noise = match line["control_excludes_1"] == true {
        true => "; so does the old binary beside itself: measure again on a calm machine",
        false => "",
    };
    format!(
        "{} {}: median of new / old {} ({} to {}){noise}",
        line["of"].as_str().unwrap_or_default(),
        line["figure"].as_str().unwrap_or_default(),
        line["ratio"]["p50"],
        line["ratio"]["low"],
        line["ratio"]["high"],
    )
}

/// A figure of all pairs, and of the old binary beside itself.
fn line_of(of: &str, figure: &str, better: Better, pairs: &[Pair], control: &[Pair]) -> Value {
    let read = |line: &Value| {
        let number = line.pointer(figure).and_then(Value::as_f64);
        number.unwrap_or(f64::NAN)
    };
    let ratios = |pairs: &[Pair]| {
        let ratios = pairs.iter().map(|(old, new)| read(new) / read(old));
        Interval::of(ratios.collect())
    };
    let (ratio, control) = (ratios(pairs), ratios(control));
    json!({
        "bench": "pairs",
        "of": of,
        "figure": figure.trim_start_matches('/').replace('/', "."),
        "better": match better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        },
        "old": pairs.iter().map(|(old, _)| read(old)).collect::<Vec<_>>(),
        "new": pairs.iter().map(|(_, new)| read(new)).collect::<Vec<_>>(),
        "ratio": ratio.shown(),
        "control": control.shown(),
        "control_excludes_1": control.excludes_1(),
        "verdict": ratio.verdict(better),
    })
}

/// The median of ratios, and an interval in which the true one lies.
#[derive(Clone, Copy, Debug)]
struct Interval {
    median: f64,
    low: f64,
    high: f64,
    /// The probability that the interval holds the true median.
    coverage: f64,
}

impl Interval {
    /// Takes no distribution for granted. Each ratio lies above the true median with a probability of
    /// one half, so how many do is a matter of coins: the k-th smallest and the k-th largest ratio
    /// enclose the median unless fewer than k of n coins fall on one side.
    fn of(mut ratios: Vec<f64>) -> Self {
        ratios.sort_by(f64::total_cmp);
        let count = ratios.len();
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        let mut coins = Coins::new(count);
        let mut outside = coins.next_share() * 2.0;
        let mut drop = 0;
        while drop + 1 < count / 2 {
            let more = outside + coins.next_share() * 2.0;
            if 1.0 - more < COVERAGE {
                break;
            }
            (drop, outside) = (drop + 1, more);
        }
        Self {
            median: (at(count.saturating_sub(1) / 2) + at(count / 2)) / 2.0,
            low: at(drop),
            high: at(count.saturating_sub(1 + drop)),
            coverage: (1.0 - outside).max(0.0),
        }
    }

    /// Whether both ends lie on one side of 1. With fewer than six pairs the interval is not sure
    /// enough to tell.
    fn excludes_1(&self) -> bool {
        self.coverage >= COVERAGE && (self.low > 1.0 || self.high < 1.0)
    }

    fn verdict(&self, better: Better) -> &'static str {
        // As if lower were better.
        let change = match better {
            Better::Lower => self.median - 1.0,
            Better::Higher => 1.0 / self.median - 1.0,
        };
        if self.low.is_nan() || self.high.is_nan() {
            NOT_MEASURED
        } else if !self.excludes_1() {
            "no difference seen"
        } else if change > TOLERANCE {
            "worse"
        } else if change < 0.0 {
            "better"
        } else {
            "within 5 %"
        }
    }

    fn shown(&self) -> Value {
        let round = |value: f64| (value * 1_000.0).round() / 1_000.0;
        json!({
            "p50": round(self.median),
            "low": round(self.low),
            "high": round(self.high),
            "coverage": round(self.coverage),
        })
    }
}

/// The probabilities that 0, 1, 2, .. of so many coins show heads.
struct Coins {
    count: f64,
    heads: f64,
    share: f64,
}

impl Coins {
    #[expect(clippy::cast_precision_loss, reason = "a number of pairs")]
    fn new(count: usize) -> Self {
        let count = count as f64;
        Self {
            count,
            heads: 0.0,
            share: 0.5_f64.powf(count),
        }
    }

    fn next_share(&mut self) -> f64 {
        let share = self.share;
        self.share *= (self.count - self.heads) / (self.heads + 1.0);
        self.heads += 1.0;
        share
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn runs_are_interleaved_and_paired_with_their_neighbours() {
        let order = RefCell::new(String::new());
        let measure = |binary: &Path| {
            let mut order = order.borrow_mut();
            order.push_str(binary.to_str().unwrap());
            Ok(json!([binary.to_str().unwrap(), order.len()]))
        };
        let pairs = abba(&measure, Path::new("a"), Path::new("b")).unwrap();
        assert_eq!(order.into_inner(), "abba");
        let pair = |old: usize, new: usize| (json!(["a", old]), json!(["b", new]));
        assert_eq!(pairs, [pair(1, 2), pair(4, 3)]);
    }

    /// The tables of the sign test: for n pairs, the ranks whose interval covers at least 95 %.
    #[test]
    fn intervals_are_those_of_the_sign_test() {
        for (pairs, rank, coverage) in [
            (1, 1, 0.0),
            (2, 1, 0.5),
            (5, 1, 0.9375),
            (6, 1, 0.96875),
            (8, 1, 0.992_187_5),
            (9, 2, 0.960_937_5),
            (10, 2, 0.978_515_625),
            (20, 6, 0.958_610_534),
        ] {
            let ratios = (1..=pairs).rev().map(f64::from).collect();
            let interval = Interval::of(ratios);
            assert_eq!(interval.low, f64::from(rank), "{pairs} pairs");
            assert_eq!(interval.high, f64::from(pairs + 1 - rank), "{pairs} pairs");
            assert!((interval.coverage - coverage).abs() < 1e-6, "{interval:?}");
            assert_eq!(interval.median, f64::from(pairs + 1) / 2.0);
        }
        assert!(Interval::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn worse_is_a_median_beyond_5_percent_whose_interval_excludes_1() {
        let verdict = |middle: f64, spread: f64, better| {
            let ratios = (0..10).map(|at| middle + spread * (f64::from(at) - 4.5));
            Interval::of(ratios.collect()).verdict(better)
        };
        assert_eq!(verdict(1.10, 0.001, Better::Lower), "worse");
        assert_eq!(verdict(1.10, 0.001, Better::Higher), "better");
        assert_eq!(verdict(0.90, 0.001, Better::Higher), "worse");
        assert_eq!(verdict(0.90, 0.001, Better::Lower), "better");
        assert_eq!(verdict(1.03, 0.001, Better::Lower), "within 5 %");
        assert_eq!(verdict(1.10, 0.100, Better::Lower), "no difference seen");
        let few = Interval::of(vec![2.0; 5]);
        assert_eq!(few.verdict(Better::Lower), "no difference seen");
    }

    #[test]
    fn a_line_says_what_was_measured_and_the_error_names_the_figure() {
        let pair = |old: f64, new: f64| (json!({"rate": old}), json!({"rate": new}));
        let pairs = vec![pair(10.0, 5.0); 10];
        let control = vec![pair(10.0, 10.0); 10];
        let line = line_of("steps", "/rate", Better::Higher, &pairs, &control);
        assert_eq!(line["old"], json!(vec![10.0; 10]));
        assert_eq!(line["new"], json!(vec![5.0; 10]));
        assert_eq!(line["ratio"]["p50"], 0.5);
        assert_eq!(line["control"]["p50"], 1.0);
        assert_eq!(line["control_excludes_1"], false);
        assert_eq!(line["verdict"], "worse");
        assert_eq!(
            sentence(&line),
            "steps rate: median of new / old 0.5 (0.5 to 0.5)"
        );
        let noisy = line_of("steps", "/rate", Better::Higher, &pairs, &pairs);
        assert!(sentence(&noisy).contains("measure again"));
        let missing = line_of("steps", "/none", Better::Higher, &pairs, &control);
        assert_eq!(missing["verdict"], NOT_MEASURED);
        assert_eq!(missing["ratio"]["p50"], Value::Null);
    }
}
