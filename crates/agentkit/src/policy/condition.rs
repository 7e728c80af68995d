//! Conditions of a rule on a call's arguments.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    pattern::matches,
    spelling::{Kind, UrlPatterns},
    touched::{Access, Touched},
};
use crate::tool::Resources;

/// A condition on one argument, or on the resources that a call touches.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(On);

#[derive(Debug, Clone, PartialEq)]
enum On {
    Argument(Argument),
    /// All of them have to hold.
    Resources(Vec<Touched>),
}

/// A condition on one argument: its location, and the required value.
#[derive(Debug, Clone, PartialEq)]
struct Argument {
    path: Vec<String>,
    /// The argument's kind, if its name tells the kind.
    kind: Option<Kind>,
    test: Test,
    /// The resource that the argument stands for, if its name tells the resource. A call may touch the
    /// resource also where the argument is left out, or names a folder above.
    stands_for: Option<Touched>,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// A text that matches this pattern as a whole.
    Text(String),
    /// A URL that matches this pattern.
    Url(UrlPatterns),
    /// This number or truth value.
    Equal(Value),
    /// A number within these bounds, both inclusive.
    Range { min: f64, max: f64 },
    /// Any of these.
    Any(Vec<Test>),
}

/// A condition that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCondition(String);

impl Condition {
    /// A condition on the argument at `path`: a JSON pointer (`/to/0/address`), or names with dots
    /// between them (`to.address`).
    ///
    /// The value is a text pattern in which `*` stands for any number of characters, a number or a
    /// truth value that the argument has to equal, an array of which one has to hold, or an object
    /// with `min`, `max` or both, between which a number has to be.
    ///
    /// An argument whose name is `path` or `url`, or ends with `_path` or `_url`, is looked at as it is
    /// written and in its plain spelling: a rule that restricts speaks of it if either matches, one
    /// that permits only if both do. A condition on the argument `path` or `url` is also one on the
    /// paths or URLs that the call touches.
    ///
    /// A `path` of `reads`, `writes` or `touches` with a table of `path`, `url`, `host` and `service`
    /// is a condition on the resources of the call alone ([`crate::tool::Resources`]). Their values are
    /// patterns, or lists of them.
    ///
    /// # Errors
    /// If the path is empty, or the value is none of these.
    pub fn new(path: &str, value: &Value) -> Result<Self, InvalidCondition> {
        let invalid = |reason| InvalidCondition(format!("the condition on `{path}` {reason}"));
        let is_table = value.as_object().is_some_and(|table| {
            !table.is_empty() && !table.contains_key("min") && !table.contains_key("max")
        });
        if let Some(access) = Access::of(path).filter(|_| is_table) {
            let touched = Touched::table(access, value).map_err(invalid)?;
            return Ok(Self(On::Resources(touched)));
        }
        let parts: Vec<String> = match path.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => path.split('.').map(str::to_owned).collect(),
        };
        if parts.iter().any(String::is_empty) {
            let message = format!("`{path}` names no argument: write `name`, `a.b` or `/a/b`");
            return Err(InvalidCondition(message));
        }
        let kind = parts.last().and_then(|name| Kind::of(name));
        let mut test = Test::new(value, kind).map_err(invalid)?;
        if parts.last().is_some_and(|name| name == "method") {
            test = test.in_any_case();
        }
        let stands_for = match &parts[..] {
            [name] => Touched::of_argument(name, value),
            _ => None,
        };
        Ok(Self(On::Argument(Argument {
            path: parts,
            kind,
            test,
            stands_for,
        })))
    }

    /// The argument that it is on, if that stands for a path or a URL which the call touches.
    pub(super) fn argument(&self) -> Option<&str> {
        match &self.0 {
            On::Argument(argument) if argument.stands_for.is_some() => {
                argument.path.first().map(String::as_str)
            }
            On::Argument(_) | On::Resources(_) => None,
        }
    }

    /// The path of the condition's argument, if the condition speaks of that argument alone.
    pub(super) fn plain_argument(&self) -> Option<&[String]> {
        match &self.0 {
            On::Argument(argument) if argument.stands_for.is_none() => Some(&argument.path),
            On::Argument(_) | On::Resources(_) => None,
        }
    }

    /// Whether the condition speaks of resources alone, and so of any tool.
    pub(super) fn is_on_resources(&self) -> bool {
        matches!(self.0, On::Resources(_))
    }

    /// Whether the condition holds for a part of the call's reach: for the argument if the call has the
    /// argument, of a list for any of its items, or for a resource.
    pub(super) fn may_hold(&self, arguments: &Value, resources: &Resources) -> bool {
        match &self.0 {
            On::Argument(argument) => argument.may_hold(arguments, resources),
            On::Resources(all) => all.iter().all(|one| one.may_hold(resources)),
        }
    }

    /// Whether the condition holds for the call's whole reach: for the argument if the call has the
    /// argument, of a list for each of its items, and for each resource.
    pub(super) fn surely_holds(&self, arguments: &Value, resources: &Resources) -> bool {
        match &self.0 {
            On::Argument(argument) => argument.surely_holds(arguments, resources),
            On::Resources(all) => all.iter().all(|one| one.surely_holds(resources)),
        }
    }
}

impl Argument {
    fn may_hold(&self, arguments: &Value, resources: &Resources) -> bool {
        let compare = UrlPatterns::may_match;
        let holds = |value| {
            self.spellings(value)
                .any(|value| self.test.holds(&value, compare))
        };
        self.values(arguments).into_iter().any(holds)
            || self
                .stands_for
                .as_ref()
                .is_some_and(|touched| touched.meets_any(resources))
    }

    fn surely_holds(&self, arguments: &Value, resources: &Resources) -> bool {
        let values = self.values(arguments);
        let compare = UrlPatterns::surely_match;
        let holds = |value| {
            self.spellings(value)
                .all(|value| self.test.holds(&value, compare))
        };
        let touched = self.stands_for.as_ref();
        let covered = touched.and_then(|touched| touched.covers_all(resources));
        (!values.is_empty() || covered.is_some())
            && values.into_iter().all(holds)
            && covered.unwrap_or(true)
    }

    /// The value as written and, if different, in its plain spelling.
    fn spellings<'a>(&self, value: &'a Value) -> impl Iterator<Item = Cow<'a, Value>> {
        let plain = self.kind.zip(value.as_str());
        let plain = plain.and_then(|(kind, text)| kind.plain(text));
        let plain = plain.map(|text| Cow::Owned(Value::String(text)));
        std::iter::once(Cow::Borrowed(value)).chain(plain)
    }

    /// The values at the path. A list on the way stands for its items, unless the path counts them.
    fn values<'a>(&self, arguments: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![arguments];
        for part in &self.path {
            found = found
                .into_iter()
                .flat_map(|value| match value {
                    Value::Object(members) => members.get(part).into_iter().collect(),
                    Value::Array(items) => match part.parse::<usize>() {
                        Ok(index) => items.get(index).into_iter().collect(),
                        Err(_) => items.iter().filter_map(|item| item.get(part)).collect(),
                    },
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        Vec::new()
                    }
                })
                .collect();
        }
        let mut values = Vec::new();
        for value in found {
            match value {
                Value::Array(items) => values.extend(items),
                other => values.push(other),
            }
        }
        values
    }
}

impl Test {
    fn new(value: &Value, kind: Option<Kind>) -> Result<Self, String> {
        match value {
            Value::String(pattern) if kind == Some(Kind::Url) => {
                Ok(Self::Url(UrlPatterns::new([pattern.as_str()])))
            }
            Value::String(pattern) => {
                let text = Self::Text(pattern.clone());
                let plain = kind.and_then(|kind| kind.pattern(pattern));
                let folder = kind == Some(Kind::Path) && pattern.ends_with('/');
                let below = folder.then(|| {
                    let folder = plain.as_deref().unwrap_or(pattern).trim_end_matches('/');
                    format!("{folder}/*")
                });
                let others: Vec<Self> = plain.into_iter().chain(below).map(Self::Text).collect();
                Ok(match others.is_empty() {
                    true => text,
                    false => Self::Any(std::iter::once(text).chain(others).collect()),
                })
            }
            Value::Bool(_) | Value::Number(_) => Ok(Self::Equal(value.clone())),
            Value::Array(items) if items.is_empty() => {
                Err("can never hold: its list is empty".into())
            }
            Value::Array(items) => Ok(Self::Any(
                items
                    .iter()
                    .map(|item| Self::new(item, kind))
                    .collect::<Result<_, _>>()?,
            )),
            Value::Object(bounds) => {
                let bound = |name: &str, without: f64| match bounds.get(name) {
                    None => Ok(without),
                    Some(bound) => bound
                        .as_f64()
                        .ok_or(format!("has a `{name}` that is no number")),
                };
                let known = |name: &&String| matches!(name.as_str(), "min" | "max");
                if let Some(other) = bounds.keys().find(|name| !known(name)) {
                    return Err(format!("has `{other}`, but knows only `min` and `max`"));
                }
                if bounds.is_empty() {
                    return Err("has neither `min` nor `max`".into());
                }
                let (min, max) = (
                    bound("min", f64::NEG_INFINITY)?,
                    bound("max", f64::INFINITY)?,
                );
                if min > max {
                    return Err(format!("can never hold: {min} is above {max}"));
                }
                Ok(Self::Range { min, max })
            }
            Value::Null => Err("has no value".into()),
        }
    }

    /// With the texts in upper case as well: methods of HTTP are, and a rule on `delete` means them.
    fn in_any_case(self) -> Self {
        match self {
            Self::Text(text) => {
                let upper = text.to_ascii_uppercase();
                Self::Any(vec![Self::Text(text), Self::Text(upper)])
            }
            Self::Any(tests) => Self::Any(tests.into_iter().map(Self::in_any_case).collect()),
            other @ (Self::Url(_) | Self::Equal(_) | Self::Range { .. }) => other,
        }
    }

    /// `compare` says whether a URL has to match in one of its readings, or in each.
    fn holds(&self, value: &Value, compare: fn(&UrlPatterns, &str) -> bool) -> bool {
        match self {
            Self::Url(patterns) => value.as_str().is_some_and(|url| compare(patterns, url)),
            Self::Text(pattern) => value.as_str().is_some_and(|text| matches(pattern, text)),
            // 1 and 1.0 are one number to a person who writes a rule.
            Self::Equal(Value::Number(number)) => value.as_f64() == number.as_f64(),
            Self::Equal(expected) => value == expected,
            Self::Range { min, max } => value
                .as_f64()
                .is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(value, compare)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_for_what_they_describe() {
        for (path, value, arguments, any, all) in [
            (
                "url",
                json!("https://*"),
                json!({"url": "https://a.b/c"}),
                true,
                true,
            ),
            (
                "url",
                json!("https://*"),
                json!({"url": "http://a.b/c"}),
                false,
                false,
            ),
            (
                "target_path",
                json!("secret/"),
                json!({"target_path": "secret/./a"}),
                true,
                true,
            ),
            (
                "target_path",
                json!("secret/"),
                json!({"target_path": "secrets"}),
                false,
                false,
            ),
            ("url", json!("https://*"), json!({}), false, false),
            ("url", json!("https://*"), json!({"url": 5}), false, false),
            (
                "to.name",
                json!("a"),
                json!({"to": {"name": "a"}}),
                true,
                true,
            ),
            (
                "/to/0/name",
                json!("a"),
                json!({"to": [{"name": "a"}]}),
                true,
                true,
            ),
            ("/a~1b", json!(true), json!({"a/b": true}), true, true),
            (
                "to.name",
                json!("a"),
                json!({"to": [{"name": "a"}, {"name": "b"}]}),
                true,
                false,
            ),
            (
                "cmd",
                json!("rm*"),
                json!({"cmd": ["rm", "-rf"]}),
                true,
                false,
            ),
            (
                "cmd",
                json!(["rm", "-*"]),
                json!({"cmd": ["rm", "-rf"]}),
                true,
                true,
            ),
            (
                "method",
                json!("delete"),
                json!({"method": "DELETE"}),
                true,
                true,
            ),
            (
                "method",
                json!(["put", "delete"]),
                json!({"method": "DELETE"}),
                true,
                true,
            ),
            (
                "method",
                json!("delete"),
                json!({"method": "GET"}),
                false,
                false,
            ),
            (
                "url",
                json!("http://h/a/*"),
                json!({"url": "http://h/a/..%2fx"}),
                true,
                false,
            ),
            (
                "url",
                json!("http://h/a/*"),
                json!({"url": "http://h//a/x"}),
                true,
                false,
            ),
            (
                "url",
                json!("http://h/a/*"),
                json!({"url": "http://h/a/x%2Fy"}),
                true,
                true,
            ),
            ("n", json!(3), json!({"n": 3.0}), true, true),
            ("n", json!(3), json!({"n": "3"}), false, false),
            ("n", json!(false), json!({"n": false}), true, true),
            (
                "n",
                json!({"min": 1, "max": 5}),
                json!({"n": 5}),
                true,
                true,
            ),
            ("n", json!({"min": 1}), json!({"n": 0.5}), false, false),
            ("n", json!({"max": 5}), json!({"n": -1e300}), true, true),
            ("n", json!({"max": 5}), json!({"n": "4"}), false, false),
        ] {
            let condition = Condition::new(path, &value).unwrap();
            assert_eq!(
                condition.may_hold(&arguments, &Resources::none()),
                any,
                "{path} {value} {arguments}"
            );
            assert_eq!(
                condition.surely_holds(&arguments, &Resources::none()),
                all,
                "{path} {value} {arguments}"
            );
        }
    }

    /// security/S6
    #[test]
    fn an_argument_that_is_a_path_or_url_stands_for_what_the_call_touches() {
        use crate::tool::Resource;
        let all = || Resources::reads([Resource::tree(".")]);
        let docs = || Resources::reads([Resource::tree("docs")]);
        let fetch = || Resources::reads([Resource::url("http://evil.example/")]);
        for (name, pattern, arguments, resources, any, surely) in [
            ("path", "secret/*", json!({}), all(), true, false),
            ("path", "secret/*", json!({"path": "."}), all(), true, false),
            (
                "path",
                "docs/*",
                json!({"path": "docs"}),
                docs(),
                true,
                false,
            ),
            ("path", "docs*", json!({"path": "docs"}), docs(), true, true),
            ("path", "*", json!({}), all(), true, true),
            (
                "path",
                "secret/*",
                json!({}),
                Resources::none(),
                false,
                false,
            ),
            // Who does not say what a call touches says it with the argument.
            (
                "path",
                "secret/*",
                json!({}),
                Resources::everything(),
                false,
                false,
            ),
            (
                "path",
                "a",
                json!({"path": "a"}),
                Resources::everything(),
                true,
                true,
            ),
            (
                "url",
                "http://evil.example/*",
                json!({}),
                fetch(),
                true,
                true,
            ),
            (
                "url",
                "http://good.example/*",
                json!({"url": "http://good.example/"}),
                fetch(),
                true,
                false,
            ),
            ("to_path", "secret/*", json!({}), all(), false, false),
        ] {
            let condition = Condition::new(name, &json!(pattern)).unwrap();
            let told = format!("{name} {pattern} {arguments} {resources:?}");
            assert_eq!(condition.may_hold(&arguments, &resources), any, "{told}");
            assert_eq!(
                condition.surely_holds(&arguments, &resources),
                surely,
                "{told}"
            );
        }
    }

    #[test]
    fn a_table_of_resources_is_a_condition_on_them() {
        use crate::tool::Resource;
        let table = json!({"path": "secret/*", "host": "a.example"});
        let condition = Condition::new("touches", &table).unwrap();
        let both = Resources::reads([Resource::tree("."), Resource::url("http://a.example/x")]);
        assert!(condition.may_hold(&json!({}), &both));
        let one = Resources::reads([Resource::tree(".")]);
        assert!(!condition.may_hold(&json!({}), &one), "each has to hold");
        // An argument may have such a name.
        for value in [json!("a"), json!({"min": 1})] {
            let argument = Condition::new("reads", &value).unwrap();
            assert!(!argument.is_on_resources());
        }
        let error = Condition::new("reads", &json!({"files": "a"})).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the condition on `reads` has `files`")
        );
    }

    #[test]
    fn a_condition_that_can_never_hold_is_refused() {
        for (path, value, message) in [
            (
                "",
                json!("x"),
                "`` names no argument: write `name`, `a.b` or `/a/b`",
            ),
            (
                "a..b",
                json!("x"),
                "`a..b` names no argument: write `name`, `a.b` or `/a/b`",
            ),
            (
                "n",
                json!({"least": 1}),
                "the condition on `n` has `least`, but knows only `min` and `max`",
            ),
            (
                "n",
                json!({}),
                "the condition on `n` has neither `min` nor `max`",
            ),
            (
                "n",
                json!({"min": "a"}),
                "the condition on `n` has a `min` that is no number",
            ),
            (
                "n",
                json!({"min": 5, "max": 1}),
                "the condition on `n` can never hold: 5 is above 1",
            ),
            (
                "n",
                json!([]),
                "the condition on `n` can never hold: its list is empty",
            ),
        ] {
            assert_eq!(
                Condition::new(path, &value).unwrap_err().to_string(),
                message
            );
        }
    }
}
