//! Mistakes that can be switched on, to show that a test notices them.
//!
//! A mutant is a named condition in the code: [`mutant!`](crate::mutant) is false, but for the one mutant that the
//! variable [`VARIABLE`] names in a build with the feature `mutants`. Only test builds have that feature. Elsewhere the condition
//! is a constant, and nothing of it is in the binary.

/// The variable that names the mutant that is on.
pub const VARIABLE: &str = "OPSPAWN_MUTANT";

/// Whether the mutant of this name is on. Each name stands once in the code, and `xtask/mutants.toml`
/// says which test notices it.
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::is_on($name)
    };
}

/// Whether the mutant of this name is on.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_on(name: &str) -> bool {
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref() == Some(name)
}

/// Whether the mutant of this name is on: never.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline]
pub const fn is_on(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mutant_that_nobody_named_is_off() {
        assert!(!mutant!("units.none"));
    }
}
