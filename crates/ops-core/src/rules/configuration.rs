//! In which parts the configurations of two processes differ.

use crate::ports::Configuration;

/// A worker whose configuration differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The worker's process, for people.
    pub worker: String,
    /// The names of the parts; `release` alone where the releases differ.
    pub parts: Vec<String>,
}

/// The workers whose configurations differ from that of this process, in the order of their names.
#[must_use]
pub fn differences(own: &Configuration, workers: &[Configuration]) -> Vec<Difference> {
    let mut found: Vec<Difference> = workers
        .iter()
        .filter_map(|worker| {
            let parts = parts(own, worker);
            let differs = !parts.is_empty() && !units::mutant!("ops-core.configurations_are_alike");
            differs.then(|| Difference {
                worker: worker.process.clone(),
                parts,
            })
        })
        .collect();
    found.sort_by(|a, b| a.worker.cmp(&b.worker));
    found
}

fn parts(own: &Configuration, worker: &Configuration) -> Vec<String> {
    if own.release != worker.release {
        return vec!["release".to_owned()];
    }
    let mut names: Vec<&String> = own.parts.keys().chain(worker.parts.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| own.parts.get(*name) != worker.parts.get(*name));
    names.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(process: &str, release: &str, parts: &[(&str, &str)]) -> Configuration {
        Configuration {
            process: process.to_owned(),
            release: release.to_owned(),
            parts: parts
                .iter()
                .map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn parts_that_differ_are_named_with_their_worker() {
        let own = configuration(
            "s",
            "1",
            &[("limits", "a"), ("policy", "b"), ("tools", "c")],
        );
        let workers = [
            configuration("w3", "2", &[("policy", "x")]),
            configuration(
                "w2",
                "1",
                &[("limits", "z"), ("policy", "b"), ("models", "n")],
            ),
            configuration(
                "w1",
                "1",
                &[("limits", "a"), ("policy", "b"), ("tools", "c")],
            ),
        ];
        let found = differences(&own, &workers);
        let found: Vec<_> = found
            .iter()
            .map(|of| (of.worker.as_str(), of.parts.join(" ")))
            .collect();
        assert_eq!(
            found,
            [
                ("w2", "limits models tools".to_owned()),
                ("w3", "release".to_owned())
            ]
        );
    }
}
