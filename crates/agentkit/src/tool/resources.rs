//! The resources of a tool call: those resources that the call reads and those that the call writes.
//!
//! A tool names them from the arguments of a call, before the call runs. The machine orders the calls of
//! one answer by them, and policy rules look at them.

use serde::{Deserialize, Serialize};

use super::Effect;
use crate::policy::spelling;

/// A call that names more resources than this counts as a call that touches every resource: rules and the
/// order of calls look at each pair.
pub const MAX_RESOURCES: usize = 64;

/// The resources that one call reads and writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Resources that the call reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Resource>,
    /// Resources that the call creates, changes or removes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Resource>,
}

/// A resource that a call reads or writes.
///
/// Paths are relative to the workspace, `/` between their parts and `.` for the workspace itself. The
/// constructors bring paths and URLs into their plain spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Every resource. A tool that does not name its resources may touch any.
    Everything,
    /// One file of the workspace.
    File(String),
    /// A folder of the workspace: the names in the folder, and not their content.
    Folder(String),
    /// A folder of the workspace with its whole content; or a file.
    Tree(String),
    /// A place behind a URL. Two URLs of one host are one resource.
    Url(String),
    /// A service by a name that the program gives it, for instance `mail`.
    Service(String),
}

impl Resource {
    /// A file of the workspace.
    #[must_use]
    pub fn file(path: &str) -> Self {
        Self::inside(path, Self::File)
    }

    /// A folder of the workspace, without the content of its subfolders.
    #[must_use]
    pub fn folder(path: &str) -> Self {
        Self::inside(path, Self::Folder)
    }

    /// A folder of the workspace with its whole content.
    #[must_use]
    pub fn tree(path: &str) -> Self {
        Self::inside(path, Self::Tree)
    }

    /// A place behind a URL.
    #[must_use]
    pub fn url(url: &str) -> Self {
        Self::Url(spelling::url(url).unwrap_or_else(|| url.to_owned()))
    }

    /// A service.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self::Service(name.to_owned())
    }

    /// A path that leads out of the workspace, which file tools refuse, could be any resource.
    fn inside(path: &str, kind: fn(String) -> Self) -> Self {
        let plain = spelling::path(path);
        if plain.starts_with('/') || plain == ".." || plain.starts_with("../") {
            return Self::Everything;
        }
        kind(plain)
    }

    /// The host of a URL: in lower case, without port, and without the dot that may end a host.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Url(url) => Some(spelling::host(url)),
            Self::Everything
            | Self::File(_)
            | Self::Folder(_)
            | Self::Tree(_)
            | Self::Service(_) => None,
        }
    }

    fn path(&self) -> Option<&str> {
        match self {
            Self::File(path) | Self::Folder(path) | Self::Tree(path) => Some(path),
            Self::Everything | Self::Url(_) | Self::Service(_) => None,
        }
    }

    /// Whether a write to either resource may change the other.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => true,
            (Self::Service(a), Self::Service(b)) => a == b,
            (Self::Url(_), Self::Url(_)) => self.host() == other.host(),
            _ => match (self.path(), other.path()) {
                // Also where one is above the other: a write makes the folders on its path.
                (Some(a), Some(b)) => is_at_or_below(a, b) || is_at_or_below(b, a),
                (Some(_) | None, _) => false,
            },
        }
    }
}

impl Resources {
    /// A call that touches only its arguments, as a calculation does.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A call that may read and write every resource.
    #[must_use]
    pub fn everything() -> Self {
        Self::reads([Resource::Everything]).and_writes([Resource::Everything])
    }

    /// The resources of a call whose tool does not name any. A `pure` call writes no resource.
    #[must_use]
    pub fn unknown(effect: Effect) -> Self {
        match effect {
            Effect::Pure => Self::reads([Resource::Everything]),
            Effect::Idempotent | Effect::Keyed | Effect::Write => Self::everything(),
        }
    }

    /// A call that reads these.
    pub fn reads(resources: impl IntoIterator<Item = Resource>) -> Self {
        Self {
            reads: resources.into_iter().collect(),
            writes: Vec::new(),
        }
    }

    /// A call that writes these resources, and reads none.
    pub fn writes(resources: impl IntoIterator<Item = Resource>) -> Self {
        Self::none().and_writes(resources)
    }

    /// A call that writes these as well.
    #[must_use]
    pub fn and_writes(mut self, resources: impl IntoIterator<Item = Resource>) -> Self {
        self.writes.extend(resources);
        self
    }

    /// Whether a call writes a resource that the other reads or writes: then the calls have to run one
    /// after the other.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let meet = |some: &[Resource], others: &[Resource]| {
            some.iter()
                .any(|one| others.iter().any(|other| one.meets(other)))
        };
        meet(&self.writes, &other.writes)
            || meet(&self.writes, &other.reads)
            || meet(&self.reads, &other.writes)
    }

    /// The same within the bound on their number.
    pub(super) fn bounded(self) -> Self {
        match self.reads.len() + self.writes.len() {
            ..=MAX_RESOURCES => self,
            _ if self.writes.is_empty() => Self::reads([Resource::Everything]),
            _ => Self::everything(),
        }
    }
}

/// Whether a path is the other path or lies below the other path.
fn is_at_or_below(path: &str, above: &str) -> bool {
    let mut parts = path.split('/');
    above == "."
        || above
            .split('/')
            .all(|name| parts.next().is_some_and(|part| may_be_same(part, name)))
}

/// Whether two names may be of one file. Some file systems know no difference of case, or between the
/// ways in which Unicode writes a letter.
fn may_be_same(a: &str, b: &str) -> bool {
    match a.is_ascii() && b.is_ascii() {
        true => a.eq_ignore_ascii_case(b),
        false => a.to_lowercase() == b.to_lowercase() || !a.is_ascii() && !b.is_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_meet_where_one_is_at_or_above_the_other() {
        let file = Resource::file;
        for (a, b, expected) in [
            (file("a"), file("a"), true),
            (file("a"), file("b"), false),
            (file("a"), file("ab"), false),
            (file("a/b"), file("a"), true),
            (file("./a//b"), file("a/b"), true),
            (file("x/../a"), file("a"), true),
            (file("A/b"), file("a/B"), true),
            (file("\u{e4}"), file("a\u{308}"), true),
            (Resource::folder("."), file("a/b"), true),
            (Resource::tree("a"), file("a/b/c"), true),
            (Resource::tree("a"), file("b/a"), false),
            (file("../a"), file("b"), true),
            (file("/etc/passwd"), Resource::service("mail"), true),
            (file("a"), Resource::url("http://a/"), false),
            (
                Resource::url("http://a.example/x"),
                Resource::url("https://A.example.:8443/y?z"),
                true,
            ),
            (
                Resource::url("http://a.example/"),
                Resource::url("http://b.example/"),
                false,
            ),
            (Resource::service("mail"), Resource::service("mail"), true),
            (Resource::service("mail"), Resource::service("post"), false),
        ] {
            assert_eq!(a.meets(&b), expected, "{a:?} {b:?}");
            assert_eq!(b.meets(&a), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn calls_conflict_where_one_writes_what_the_other_touches() {
        let read = Resources::reads([Resource::file("a")]);
        let write = Resources::writes([Resource::file("a")]);
        let other = Resources::writes([Resource::file("b")]);
        for (a, b, expected) in [
            (&read, &read, false),
            (&read, &write, true),
            (&write, &write, true),
            (&read, &other, false),
            (&write, &other, false),
            (&Resources::everything(), &read, true),
            (&Resources::unknown(Effect::Pure), &read, false),
            (&Resources::unknown(Effect::Pure), &write, true),
            (&Resources::unknown(Effect::Idempotent), &read, true),
            // Nothing is not even a part of everything.
            (&Resources::everything(), &Resources::none(), false),
        ] {
            assert_eq!(a.conflicts_with(b), expected, "{a:?} {b:?}");
            assert_eq!(b.conflicts_with(a), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn more_than_anybody_wants_to_compare_is_everything() {
        let many = |count: usize| (0..count).map(|n| Resource::file(&format!("f{n}")));
        let within = Resources::reads(many(MAX_RESOURCES));
        assert_eq!(within.clone().bounded(), within);
        let reads = Resources::reads(many(MAX_RESOURCES + 1)).bounded();
        assert_eq!(reads, Resources::unknown(Effect::Pure));
        let both = within.and_writes([Resource::service("mail")]).bounded();
        assert_eq!(both, Resources::everything());
    }

    #[test]
    fn they_are_written_as_plain_data() {
        let resources = Resources::reads([Resource::tree("."), Resource::url("HTTP://a")])
            .and_writes([Resource::file("b/../a.txt"), Resource::Everything]);
        let written = json!({
            "reads": [{"tree": "."}, {"url": "http://a/"}],
            "writes": [{"file": "a.txt"}, "everything"],
        });
        assert_eq!(serde_json::to_value(&resources).unwrap(), written);
        assert_eq!(
            serde_json::from_value::<Resources>(written).unwrap(),
            resources
        );
        assert_eq!(serde_json::to_value(Resources::none()).unwrap(), json!({}));
    }
}
