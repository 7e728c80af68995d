//! libFuzzer programs of the workspace's fuzz targets. `cargo xtask fuzz` builds and runs the programs, and `cargo fuzz`
//! knows the programs as well.

use units::fuzzing::Target;

/// The targets of all crates.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    [
        agentkit::fuzzing::TARGETS,
        agentkit_tools::fuzzing::TARGETS,
        bounded::fuzzing::TARGETS,
        ops_agents::fuzzing::TARGETS,
        ops_core::fuzzing::TARGETS,
        ops_engine::fuzzing::TARGETS,
        ops_grpc::fuzzing::TARGETS,
        ops_server::fuzzing::TARGETS,
        units::fuzzing::TARGETS,
    ]
    .into_iter()
    .flatten()
}

/// The function of a target.
///
/// # Panics
/// If no crate lists the target.
#[must_use]
pub fn target(name: &str) -> fn(&[u8]) {
    let found = targets().find(|target| target.name == name);
    found.expect("a crate lists the target").run
}

/// The program of a target.
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        static TARGET: std::sync::LazyLock<fn(&[u8])> =
            std::sync::LazyLock::new(|| $crate::target($name));
        libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
    };
}
