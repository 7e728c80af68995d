//! One setting.

use super::kind::Kind;

/// A setting.
pub(crate) struct Setting {
    /// Its key in the file, with dots between tables.
    pub(crate) key: &'static str,
    /// Its variable.
    pub(crate) env: &'static str,
    /// Its version-1 variables, which are also taken from `.env`.
    pub(crate) legacy: &'static [&'static str],
    /// What it may hold.
    pub(crate) kind: Kind,
    /// Its value if nothing is said.
    pub(crate) default: Option<&'static str>,
    /// What it does.
    pub(crate) doc: &'static str,
}

/// A setting without version-1 variables.
pub(super) const fn setting(
    key: &'static str,
    env: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        env,
        legacy: &[],
        kind,
        default,
        doc,
    }
}

/// A setting that version-1 variables set as well.
pub(super) const fn v1(mut setting: Setting, legacy: &'static [&'static str]) -> Setting {
    setting.legacy = legacy;
    setting
}
