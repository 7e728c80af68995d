//! What a rule asks of the resources that a call touches.

use serde_json::Value;

use super::{
    pattern,
    spelling::{Kind as Spelling, UrlPatterns},
};
use crate::tool::{Resource, Resources};

/// Patterns of one kind of resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Touched {
    access: Access,
    kind: Kind,
    /// As they are written, and in their plain spelling.
    patterns: Vec<String>,
    /// What lies below the paths that they describe: a rule that restricts a folder by its name restricts
    /// what is in it.
    below: Vec<String>,
    /// The same as patterns of URLs, if they are.
    urls: UrlPatterns,
}

/// How a call touches a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Reads,
    Writes,
    /// Either.
    Touches,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Path,
    Url,
    Host,
    Service,
}

impl Access {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "reads" => Some(Self::Reads),
            "writes" => Some(Self::Writes),
            "touches" => Some(Self::Touches),
            _ => None,
        }
    }

    fn of_call(self, resources: &Resources) -> impl Iterator<Item = &Resource> {
        let (reads, writes) = match self {
            Self::Reads => (&resources.reads[..], &[][..]),
            Self::Writes => (&[][..], &resources.writes[..]),
            Self::Touches => (&resources.reads[..], &resources.writes[..]),
        };
        reads.iter().chain(writes)
    }
}

impl Touched {
    /// The conditions in a table such as `{ path = "secret/*", host = ["a.example", "b.example"] }`.
    pub(super) fn table(access: Access, value: &Value) -> Result<Vec<Self>, String> {
        let expected = "must be a table of `path`, `url`, `host` and `service`";
        let Value::Object(table) = value else {
            return Err(expected.into());
        };
        if table.is_empty() {
            return Err(expected.into());
        }
        table
            .iter()
            .map(|(name, value)| {
                let kind = match name.as_str() {
                    "path" => Kind::Path,
                    "url" => Kind::Url,
                    "host" => Kind::Host,
                    "service" => Kind::Service,
                    other => return Err(format!("has `{other}`, but {expected}")),
                };
                Self::new(access, kind, name, value)
            })
            .collect()
    }

    /// The resources that an argument of this name stands for, judged like it.
    pub(super) fn of_argument(name: &str, value: &Value) -> Option<Self> {
        let kind = match name {
            "path" => Kind::Path,
            "url" => Kind::Url,
            _ => return None,
        };
        Self::new(Access::Touches, kind, name, value).ok()
    }

    fn new(access: Access, kind: Kind, name: &str, value: &Value) -> Result<Self, String> {
        let texts = match value {
            Value::String(text) => Some(vec![text.as_str()]),
            Value::Array(items) => items.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let texts = texts
            .filter(|texts| !texts.is_empty())
            .ok_or_else(|| format!("must give `{name}` as a pattern or a list of patterns"))?;
        let mut patterns = Vec::with_capacity(texts.len());
        for text in &texts {
            patterns.extend(kind.patterns(text)?);
        }
        let below = match kind {
            Kind::Path => patterns.iter().map(|one| format!("{one}/*")).collect(),
            Kind::Url | Kind::Host | Kind::Service => Vec::new(),
        };
        let urls = texts.into_iter().filter(|_| kind == Kind::Url);
        Ok(Self {
            access,
            kind,
            patterns,
            below,
            urls: UrlPatterns::new(urls),
        })
    }

    /// Whether the call may touch what the patterns describe. One that may touch everything may.
    pub(super) fn may_hold(&self, resources: &Resources) -> bool {
        self.has_everything(resources) || self.meets_any(resources)
    }

    /// Whether the call touches resources of the kind, and no others of the kind than the patterns
    /// describe.
    pub(super) fn surely_holds(&self, resources: &Resources) -> bool {
        !self.has_everything(resources) && self.covers_all(resources) == Some(true)
    }

    fn has_everything(&self, resources: &Resources) -> bool {
        let mut touched = self.access.of_call(resources);
        touched.any(|one| *one == Resource::Everything)
    }

    /// Whether the patterns may describe something that the call names.
    pub(super) fn meets_any(&self, resources: &Resources) -> bool {
        self.access.of_call(resources).any(|one| self.meets(one))
    }

    /// Whether the patterns describe everything of their kind that the call names; none if it names
    /// nothing of it.
    pub(super) fn covers_all(&self, resources: &Resources) -> Option<bool> {
        let covered = self.access.of_call(resources);
        covered
            .filter_map(|one| self.covers(one))
            .reduce(|all, one| all && one)
    }

    /// Whether the patterns may describe a resource, or a part of it.
    fn meets(&self, resource: &Resource) -> bool {
        let all: Vec<&String> = self.patterns.iter().chain(&self.below).collect();
        self.describe(&all, resource)
    }

    /// Whether these patterns may describe a resource, or a part of it.
    fn describe(&self, patterns: &[&String], resource: &Resource) -> bool {
        let any = |holds: &dyn Fn(&str) -> bool| patterns.iter().any(|one| holds(one));
        match (self.kind, resource) {
            (Kind::Path, Resource::File(path)) => any(&|one| pattern::matches(one, path)),
            (Kind::Path, Resource::Folder(path)) => any(&|one| {
                pattern::matches(one, path) || pattern::matches_all_below(one, &below(path))
            }),
            (Kind::Path, Resource::Tree(path)) => any(&|one| {
                pattern::matches(one, path) || pattern::matches_some_below(one, &below(path))
            }),
            (Kind::Url, Resource::Url(url)) => self.urls.may_match(url),
            (Kind::Host, Resource::Url(_)) => {
                let host = resource.host().unwrap_or_default();
                any(&|one| pattern::matches(one, host))
            }
            (Kind::Service, Resource::Service(name)) => any(&|one| pattern::matches(one, name)),
            (Kind::Path | Kind::Url | Kind::Host | Kind::Service, _) => false,
        }
    }

    /// Whether the patterns describe all of a resource, if it is of their kind.
    fn covers(&self, resource: &Resource) -> Option<bool> {
        let (path, is_folder) = match (self.kind, resource) {
            (Kind::Path, Resource::Folder(path)) => (path, true),
            (Kind::Path, Resource::Tree(path)) => (path, false),
            (Kind::Url, Resource::Url(url)) => return Some(self.urls.surely_match(url)),
            (Kind::Path, Resource::File(_))
            | (Kind::Host, Resource::Url(_))
            | (Kind::Service, Resource::Service(_)) => {
                let patterns: Vec<&String> = self.patterns.iter().collect();
                return Some(self.describe(&patterns, resource));
            }
            (Kind::Path | Kind::Url | Kind::Host | Kind::Service, _) => return None,
        };
        Some(self.patterns.iter().any(|one| {
            pattern::matches_all_below(one, &below(path))
                || (is_folder && pattern::matches(one, path))
        }))
    }
}

/// How the paths below a folder begin.
fn below(folder: &str) -> String {
    match folder {
        "." => String::new(),
        folder => format!("{folder}/"),
    }
}

impl Kind {
    /// A pattern as it is written and, if that is another one, for plain spellings.
    fn patterns(self, text: &str) -> Result<Vec<String>, String> {
        let plain = match self {
            Self::Path if text.starts_with('/') || text.split('/').any(|part| part == "..") => {
                return Err(format!(
                    "can never hold: `{text}` is not below the workspace"
                ));
            }
            // A folder: it, and all that is in it.
            Self::Path if text.ends_with('/') => {
                let folder = Spelling::Path.pattern(text);
                let folder = folder.unwrap_or_else(|| text.trim_end_matches('/').to_owned());
                let below = format!("{folder}/*");
                return Ok(vec![folder, below]);
            }
            Self::Path => Spelling::Path.pattern(text),
            Self::Url if !may_be_url(text) => {
                return Err(format!(
                    "can never hold: `{text}` has no scheme; write `https://{text}`, or `*://{text}`"
                ));
            }
            Self::Url => Spelling::Url.pattern(text),
            Self::Host if text.contains('/') || text.rsplit_once(':').is_some_and(is_port) => {
                return Err(format!(
                    "can never hold: `{text}` is no host; a host has no port, judge the `url` for that"
                ));
            }
            Self::Host => return Ok(vec![text.trim_end_matches('.').to_ascii_lowercase()]),
            Self::Service => None,
        };
        Ok([Some(text.to_owned()), plain]
            .into_iter()
            .flatten()
            .collect())
    }
}

/// Whether a pattern can match a URL: it has a scheme, or a `*` that may stand for one.
fn may_be_url(pattern: &str) -> bool {
    let beginning = pattern.split_once('*').map(|(beginning, _)| beginning);
    let is_scheme = |text: &str| {
        let name = text.trim_end_matches('/').trim_end_matches(':');
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(&byte))
    };
    pattern.contains("://") || beginning.is_some_and(is_scheme)
}

fn is_port((_, port): (&str, &str)) -> bool {
    !port.contains(']')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn touched(access: Access, table: Value) -> Touched {
        let mut conditions = Touched::table(access, &table).unwrap();
        assert_eq!(conditions.len(), 1);
        conditions.remove(0)
    }

    #[test]
    fn patterns_of_paths_meet_and_cover_files_folders_and_trees() {
        let (file, folder, tree) = (Resource::file, Resource::folder, Resource::tree);
        for (pattern, resource, meets, covers) in [
            ("secret/*", file("secret/a"), true, true),
            ("secret/*", file("secret"), false, false),
            ("secret/*", file("other/a"), false, false),
            ("./secret//*", file("secret/a"), true, true),
            ("secret/*", tree("."), true, false),
            ("secret/*", tree("secret"), true, true),
            ("secret/*", tree("secret/deep"), true, true),
            ("secret/*", tree("sec"), false, false),
            ("secret/*", tree("other"), false, false),
            ("secret/a.txt", tree("secret"), true, false),
            ("*.key", tree("keys"), true, false),
            ("*", tree("."), true, true),
            ("*", folder("."), true, true),
            ("docs/*.md", tree("docs"), true, false),
            // The names in a folder are not the files.
            ("secret/*", folder("."), false, false),
            ("secret/*", folder("secret"), true, true),
            ("secret", folder("secret"), true, true),
            ("*.key", folder("keys"), false, false),
            ("secret/*", Resource::url("http://secret/a"), false, false),
            // A folder by its name: restricted with what is in it, permitted alone.
            ("secret", file("secret/a"), true, false),
            ("secret", file("secret/deep/a"), true, false),
            ("secret", file("secrets"), false, false),
            ("secret", tree("secret/deep"), true, false),
            ("./secret", file("secret/a"), true, false),
            ("sec*", file("secret/a"), true, true),
            ("secret/", file("secret/a"), true, true),
            ("secret/", file("secret/deep/a"), true, true),
            ("secret/", folder("secret"), true, true),
            ("secret/", tree("."), true, false),
            (".//secret//", file("secret/a"), true, true),
            ("secret/", file("secrets"), false, false),
        ] {
            let condition = touched(Access::Touches, json!({"path": pattern}));
            let resources = Resources::reads([resource.clone()]);
            assert_eq!(
                condition.may_hold(&resources),
                meets,
                "{pattern} {resource:?}"
            );
            assert_eq!(
                condition.surely_holds(&resources),
                covers,
                "{pattern} {resource:?}"
            );
        }
    }

    #[test]
    fn hosts_urls_and_services_are_judged_by_their_patterns() {
        let url = |text: &str| Resources::reads([Resource::url(text)]);
        for (table, resources, expected) in [
            (
                json!({"host": "*.Example.com"}),
                url("https://API.example.com.:8443/x"),
                true,
            ),
            (
                json!({"host": "*.example.com"}),
                url("https://example.com.evil.org/"),
                false,
            ),
            (json!({"host": ["a", "b"]}), url("http://b/"), true),
            (
                json!({"url": "HTTPS://Host:443/v1/*"}),
                url("https://host/v1/a"),
                true,
            ),
            (
                json!({"url": "https://host/v1/*"}),
                url("https://host/v1/../admin"),
                false,
            ),
            (
                json!({"url": "*.example.com/*"}),
                url("http://a.example.com/"),
                true,
            ),
            (json!({"url": "http*"}), url("http://a.example.com/"), true),
            (json!({"url": "http:*"}), url("http://a.example.com/"), true),
            (
                json!({"service": "mail"}),
                Resources::writes([Resource::service("mail")]),
                true,
            ),
            (json!({"service": "mail"}), url("http://mail/"), false),
        ] {
            let condition = touched(Access::Touches, table);
            assert_eq!(condition.may_hold(&resources), expected, "{condition:?}");
            assert_eq!(
                condition.surely_holds(&resources),
                expected,
                "{condition:?}"
            );
        }
    }

    /// Servers differ in how they read such paths.
    #[test]
    fn a_url_that_servers_read_in_two_ways_is_judged_by_both() {
        for (pattern, url, may, surely) in [
            ("http://h/public/*", "http://h/public/..%2fx", true, false),
            (
                "http://h/public/*",
                "http://h/public/%2e%2e%2fx",
                true,
                false,
            ),
            ("http://h/public/*", "http://h/public/..;/x", true, false),
            ("http://h/public/*", "http://h/public/..%5cx", true, false),
            ("http://h/public/*", "http://h/public/x%2Fy", true, true),
            ("http://h/deny/*", "http://h//deny/x", true, false),
        ] {
            let resources = Resources::reads([Resource::url(url)]);
            let table = touched(Access::Touches, json!({"url": pattern}));
            assert_eq!(table.may_hold(&resources), may, "{pattern} {url}");
            assert_eq!(table.surely_holds(&resources), surely, "{pattern} {url}");
        }
    }

    #[test]
    fn reads_and_writes_are_told_apart() {
        let resources = Resources::reads([Resource::file("a")]).and_writes([Resource::file("b")]);
        for (access, path, expected) in [
            (Access::Reads, "a", true),
            (Access::Reads, "b", false),
            (Access::Writes, "a", false),
            (Access::Writes, "b", true),
            (Access::Touches, "a", true),
        ] {
            let condition = touched(access, json!({"path": path}));
            assert_eq!(
                condition.may_hold(&resources),
                expected,
                "{access:?} {path}"
            );
        }
        // Both are files, and only one of them is this one.
        let condition = touched(Access::Touches, json!({"path": "a"}));
        assert!(!condition.surely_holds(&resources));
        assert!(touched(Access::Reads, json!({"path": "a"})).surely_holds(&resources));
    }

    #[test]
    fn a_call_that_may_touch_everything_may_touch_this() {
        let condition = touched(Access::Touches, json!({"path": "a"}));
        assert!(condition.may_hold(&Resources::everything()));
        let beside = Resources::reads([Resource::file("a"), Resource::Everything]);
        assert!(!condition.surely_holds(&beside));
        assert!(!condition.may_hold(&Resources::none()));
        assert!(!condition.surely_holds(&Resources::none()));
        let writes = touched(Access::Writes, json!({"path": "a"}));
        let pure = Resources::unknown(crate::tool::Effect::Pure);
        assert!(!writes.may_hold(&pure), "it only reads");
    }

    #[test]
    fn what_can_never_hold_is_refused() {
        for (table, message) in [
            (
                json!({}),
                "must be a table of `path`, `url`, `host` and `service`",
            ),
            (
                json!("a"),
                "must be a table of `path`, `url`, `host` and `service`",
            ),
            (
                json!({"paths": "a"}),
                "has `paths`, but must be a table of `path`, `url`, `host` and `service`",
            ),
            (
                json!({"path": []}),
                "must give `path` as a pattern or a list of patterns",
            ),
            (
                json!({"path": [1]}),
                "must give `path` as a pattern or a list of patterns",
            ),
            (
                json!({"path": "/etc/*"}),
                "can never hold: `/etc/*` is not below the workspace",
            ),
            (
                json!({"path": "a/../b"}),
                "can never hold: `a/../b` is not below the workspace",
            ),
            (
                json!({"url": "api.example.com/*"}),
                "can never hold: `api.example.com/*` has no scheme; write `https://api.example.com/*`, or \
                 `*://api.example.com/*`",
            ),
            (
                json!({"url": ["https://a/*", "/v1/*"]}),
                "can never hold: `/v1/*` has no scheme; write `https:///v1/*`, or `*:///v1/*`",
            ),
            (
                json!({"host": "a.example:80"}),
                "can never hold: `a.example:80` is no host; a host has no port, judge the `url` for that",
            ),
        ] {
            assert_eq!(
                Touched::table(Access::Touches, &table).unwrap_err(),
                message
            );
        }
    }
}
