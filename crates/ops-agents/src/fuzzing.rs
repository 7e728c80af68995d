//! Fuzz target: what a task's input says of its agent.

use ops_core::Json;
use units::fuzzing::Target;

use crate::input::Input;

/// The targets.
pub const TARGETS: &[Target] = &[Target {
    name: "task_input",
    run: input,
}];

/// An input is read or refused with a message; one that was read has a goal.
fn input(data: &[u8]) {
    let Ok(json) = Json::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    match Input::read(&json) {
        Ok(input) => assert!(!input.goal.text.trim().is_empty()),
        Err(failure) => assert!(!failure.message.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
