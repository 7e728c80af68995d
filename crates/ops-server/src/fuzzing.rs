//! Fuzz targets: the bodies and query strings of requests.

use units::fuzzing::Target;

use crate::rest;

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "rest_body",
        run: rest::fuzzing::body,
    },
    Target {
        name: "query_string",
        run: rest::fuzzing::query,
    },
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
