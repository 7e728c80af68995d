//! Where the kills of the kill test land, and how many there are of each.

use super::plan::Luck;

/// One kill of the process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// At the n-th time that a crash point is reached, by the process itself.
    Point(&'static str, u32),
    /// After so many milliseconds, wherever it is.
    Wild(u64),
}

/// The five places between which a task can be caught, with the crash points in them.
pub(super) const CRASH_POINTS: [(&str, &[&str]); 5] = [
    ("submit", &["submit.before_commit", "submit.after_commit"]),
    ("before intent", &["run.before_intent"]),
    ("intent..effect", &["run.after_intent"]),
    ("effect..outcome", &["run.after_effect"]),
    ("outcome..terminal", &["run.before_terminal"]),
];
/// Kills in each place.
pub(super) const EACH: usize = 20;
/// Points around model calls, beside.
const MODEL: [&str; 2] = ["model.after_intent", "model.after_call"];
/// Kills at each of those, and kills at no point in particular.
const BESIDE: usize = 8;

/// All kills, in the order of the seed.
pub(super) fn deck(luck: &mut Luck) -> Vec<Kill> {
    let mut deck = Vec::new();
    for (_, points) in CRASH_POINTS {
        for index in 0..EACH {
            let point = points[index % points.len()];
            // A later hit lets other work go on first; terminal events are rare.
            let latest = match point {
                "run.before_terminal" => 2,
                point if point.starts_with("submit") => 3,
                _ => 6,
            };
            deck.push(hit(point, latest, luck));
        }
    }
    for _ in 0..BESIDE {
        deck.extend(MODEL.map(|point| hit(point, 6, luck)));
        deck.push(Kill::Wild(20 + luck.below(200) as u64));
    }
    luck.shuffle(&mut deck);
    deck
}

fn hit(point: &'static str, latest: usize, luck: &mut Luck) -> Kill {
    Kill::Point(
        point,
        1 + u32::try_from(luck.below(latest)).expect("a small number"),
    )
}
