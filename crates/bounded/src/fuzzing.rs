//! Fuzz target: a schema and a value that is checked against it.

use serde_json::Value;
use units::fuzzing::{Target, two_texts};

use crate::schema::{CheckError, Schema, meaningless, unwrapped};

/// The targets.
pub const TARGETS: &[Target] = &[Target {
    name: "schema",
    run: schema,
}];

/// The first line is a schema, the rest a value. The work is bounded whatever they are, and what is
/// called a violation stands somewhere in the value.
fn schema(data: &[u8]) {
    let (schema, value) = two_texts(data);
    let Ok(schema) = serde_json::from_str::<Value>(&schema) else {
        return;
    };
    let schema = unwrapped(&schema);
    let _ = meaningless(schema);
    let Ok(compiled) = Schema::compile(schema) else {
        return;
    };
    let Ok(value) = serde_json::from_str::<Value>(&value) else {
        return;
    };
    match compiled.check_blocking(&value) {
        Ok(()) | Err(CheckError::TooCostly) => {}
        Err(error @ CheckError::Violations(_)) => {
            let again = compiled.check_blocking(&value);
            assert_eq!(
                again.as_ref().err().map(ToString::to_string),
                Some(error.to_string())
            );
            assert!(!error.violations().is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
