//! Files that commands read, changed at random: the configuration, a file of cases, and the export of a run.
//!
//! The binary has no library that a fuzzing program could link, so that these have the changes of
//! [`units::fuzzing::check`] only; `OPSPAWN_FUZZ_ROUNDS` asks for more of them.

use units::fuzzing::Target;

const TARGETS: &[Target] = &[
    Target {
        name: "configuration",
        run: crate::config::fuzzing::file,
    },
    Target {
        name: "evaluation",
        run: crate::eval::fuzzing::cases,
    },
    Target {
        name: "recording",
        run: crate::eval::fuzzing::recording,
    },
];

#[test]
fn every_target_holds_its_seeds_and_changed_copies_of_them() {
    units::fuzzing::check(TARGETS);
}
