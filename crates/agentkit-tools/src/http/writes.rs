//! What an operator knows of places that `http_request` writes to: whether the server knows a repeated
//! request by its key, and how to see whether a lost one took effect.

use std::{collections::BTreeMap, time::Duration};

use agentkit::{
    event::Seen,
    policy,
    tool::{Effect, NotDone},
};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

/// The most bytes that an argument may fill into the URL of a probe.
const MAX_FILLED: usize = 512;
/// The most bytes of a probe's answer that are read.
const MAX_ANSWER: u64 = 8 << 10;

/// Knowledge of a place that requests write to. The first rule that fits a request holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteRule {
    /// Scheme, host, port and the beginning of the path, in whole segments.
    pub url: String,
    /// The methods, for instance `POST`; all of them if none is named.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Whether the server does a request once for each `Idempotency-Key`.
    #[serde(default)]
    pub keyed: bool,
    /// How to see whether a request took effect.
    #[serde(default)]
    pub probe: Option<ProbeRule>,
}

/// How to see whether a request took effect: by a `GET`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRule {
    /// A template: `{key}` stands for the request's key, `{/json/id}` for the argument at this JSON
    /// Pointer. One that begins with `/` is of the rule's own server.
    pub url: String,
    /// How the answer looks if the request took effect.
    pub done: Looks,
    /// How it looks if the request did not.
    pub not_done: Looks,
    /// How long a lost request may still take effect; the timeout of the HTTP tools unless given.
    #[serde(default, deserialize_with = "duration")]
    pub settle: Option<Duration>,
    /// What follows where a request whose server does not know keys did not take effect.
    #[serde(default)]
    pub on_not_done: OnNotDone,
}

/// How an answer looks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looks {
    /// Its status.
    pub status: u16,
    /// A JSON Pointer into its body.
    #[serde(default)]
    pub at: Option<String>,
    /// The value there.
    #[serde(default)]
    pub is: Option<Value>,
}

/// The consequence where a request did not take effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNotDone {
    /// A person decides.
    #[default]
    Park,
    /// The request is sent again, with the same key.
    Rerun,
}

impl From<OnNotDone> for NotDone {
    fn from(on_not_done: OnNotDone) -> Self {
        match on_not_done {
            OnNotDone::Park => Self::Park,
            OnNotDone::Rerun => Self::Rerun,
        }
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(value)?;
    let parsed = units::duration::parse(&text);
    parsed.map(Some).map_err(serde::de::Error::custom)
}

impl WriteRule {
    /// The mistake of the rule, if there is a mistake.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        let url = self.endpoint().ok_or_else(|| {
            format!(
                "`url` must be an http or https URL without query, user or fragment, and not `{}`",
                self.url
            )
        })?;
        for method in &self.methods {
            if !["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
                return Err(format!(
                    "`methods` has `{method}`; known are POST, PUT, PATCH and DELETE"
                ));
            }
        }
        let Some(probe) = &self.probe else {
            return match self.keyed {
                true => Ok(()),
                false => Err("it says nothing: set `keyed = true`, or a `probe`".to_owned()),
            };
        };
        if probe.done == probe.not_done {
            return Err("`probe.done` and `probe.not_done` are the same".to_owned());
        }
        for (name, looks) in [("done", &probe.done), ("not_done", &probe.not_done)] {
            if looks.at.is_some() != looks.is.is_some() {
                return Err(format!(
                    "`probe.{name}` needs both of `at` and `is`, or neither"
                ));
            }
            if looks.at.as_ref().is_some_and(|at| !at.starts_with('/')) {
                return Err(format!("`probe.{name}.at` must begin with `/`"));
            }
        }
        let filled = fill(&probe.url, |_| Some("x".to_owned()));
        let filled = filled.ok_or("`probe.url` has a `{` without its `}`")?;
        let target = url.join(&filled).ok();
        if !target.is_some_and(|target| matches!(target.scheme(), "http" | "https")) {
            return Err("`probe.url` must be an http or https URL, or begin with `/`".to_owned());
        }
        if !probe.url.contains('{') {
            return Err(
                "`probe.url` looks the same for every request; put `{key}` or an argument such as \
                 `{/json/id}` into it"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The rule in words, for a list of tools.
    #[must_use]
    pub fn summary(&self) -> String {
        let methods = match self.methods.is_empty() {
            true => "any method".to_owned(),
            false => self.methods.join(", "),
        };
        let keyed = if self.keyed { ", keyed" } else { "" };
        let probe = self.probe.as_ref().map(|probe| {
            let reruns = match (self.keyed, probe.on_not_done) {
                (true, _) | (_, OnNotDone::Rerun) => "runs again",
                (false, OnNotDone::Park) => "parks",
            };
            format!(", probe {} (not done: {reruns})", probe.url)
        });
        format!("{methods} {}{keyed}{}", self.url, probe.unwrap_or_default())
    }

    fn endpoint(&self) -> Option<Url> {
        let url = Url::parse(&self.url).ok()?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        (plain && matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
    }

    fn fits(&self, url: &Url, method: &str) -> bool {
        let plain = policy::plain_url(&self.url);
        let Some(endpoint) = plain.and_then(|plain| Url::parse(&plain).ok()) else {
            return false;
        };
        let path = endpoint.path().trim_end_matches('/');
        let below = url.path().strip_prefix(path);
        (self.methods.is_empty() || self.methods.iter().any(|known| known == method))
            && endpoint.origin() == url.origin()
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The rules of an installation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes(pub(crate) Vec<WriteRule>);

impl Writes {
    /// The first rule that fits a request. A server may read an escaped `/` or `..` in the path as what it stands for:
    /// where that would be the place of another rule or of none, nothing is known of the request.
    fn rule(&self, arguments: &Value) -> Option<&WriteRule> {
        let (url, method) = (
            crate::text(arguments, "url"),
            crate::text(arguments, "method"),
        );
        let place = |url: &str| {
            let url = Url::parse(url).ok()?;
            self.0.iter().position(|rule| rule.fits(&url, method))
        };
        let found = place(&policy::plain_url(url)?)?;
        let lenient = policy::lenient_url(url);
        let is_sure = lenient.is_none_or(|lenient| place(&lenient) == Some(found));
        let is_sure = is_sure || units::mutant!("agentkit-tools.an_escaped_path_is_believed");
        self.0.get(found).filter(|_| is_sure)
    }

    /// The effect of sending a request again.
    pub(crate) fn effect(&self, arguments: &Value) -> Effect {
        match self.rule(arguments) {
            Some(rule) if rule.keyed => Effect::Keyed,
            Some(_) | None => Effect::Write,
        }
    }

    /// How to see whether a request took effect, and the arguments of the `http_fetch` that looks.
    /// None where an argument that the URL needs is not there, or is one that would change its path.
    pub(crate) fn probe(&self, arguments: &Value, key: &str) -> Option<(&ProbeRule, Value)> {
        let rule = self.rule(arguments)?;
        let probe = rule.probe.as_ref()?;
        let key = given_key(arguments).unwrap_or(key);
        let filled = fill(&probe.url, |name| match name {
            "key" => Some(key.to_owned()),
            pointer => match arguments.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            },
        })?;
        let target = rule.endpoint()?.join(&filled).ok()?;
        let mut input = json!({"url": target.as_str(), "raw": true, "max_bytes": MAX_ANSWER});
        // What lets the request in lets the look in, on the same server and nowhere else.
        let own = Url::parse(crate::text(arguments, "url")).ok()?;
        if own.origin() == target.origin()
            && let Some(headers) = arguments.get("headers").and_then(Value::as_object)
        {
            let of_request = [
                "content-type",
                "content-encoding",
                "idempotency-key",
                "if-match",
            ];
            let kept: BTreeMap<_, _> = headers
                .iter()
                .filter(|(name, _)| !of_request.contains(&name.to_ascii_lowercase().as_str()))
                .collect();
            if !kept.is_empty() {
                input["headers"] = json!(kept);
            }
        }
        Some((probe, input))
    }

    /// The meaning of the answer to a look.
    pub(crate) fn probed(&self, arguments: &Value, result: &Value) -> Seen {
        let rule = self.rule(arguments).and_then(|rule| rule.probe.as_ref());
        let Some(probe) = rule else {
            return Seen::Unknown;
        };
        // A redirect that may not be followed is no answer to the question.
        if result.get("not_followed").is_some() {
            return Seen::Unknown;
        }
        match (looks(&probe.done, result), looks(&probe.not_done, result)) {
            (true, false) => Seen::Done,
            (false, true) => Seen::NotDone,
            // `done` may be a closer look at what `not_done` says by the status alone, or the reverse.
            (true, true) if probe.done.at.is_some() && probe.not_done.at.is_none() => Seen::Done,
            (true, true) if probe.not_done.at.is_some() && probe.done.at.is_none() => Seen::NotDone,
            (true, true) | (false, false) => Seen::Unknown,
        }
    }
}

fn looks(looks: &Looks, result: &Value) -> bool {
    if result.get("status").and_then(Value::as_u64) != Some(u64::from(looks.status)) {
        return false;
    }
    let (Some(at), Some(is)) = (&looks.at, &looks.is) else {
        return true;
    };
    let body = result.get("text").and_then(Value::as_str);
    let body = body.and_then(|text| serde_json::from_str::<Value>(text).ok());
    body.as_ref().and_then(|body| body.pointer(at)) == Some(is)
}

/// The key that the caller gave the request itself: it wins over the call's own.
fn given_key(arguments: &Value) -> Option<&str> {
    let headers = arguments.get("headers")?.as_object()?;
    let mut given = headers.iter();
    let (_, key) = given.find(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"))?;
    key.as_str()
}

/// A template with its gaps filled in, percent-encoded; none if there is nothing to fill one with.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        filled.push_str(before);
        let value = value(name)?;
        // An empty one, or dots, would make it the address of something else.
        if value.is_empty() || value.len() > MAX_FILLED || value.chars().all(|c| c == '.') {
            return None;
        }
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    filled.push(char::from(byte));
                }
                _ => filled.push_str(&format!("%{byte:02X}")),
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(value: Value) -> Writes {
        let rules: Vec<WriteRule> = serde_json::from_value(value).unwrap();
        for rule in &rules {
            rule.check().unwrap();
        }
        Writes(rules)
    }

    fn shop() -> Writes {
        rules(json!([
            {"url": "https://pay.example/v1", "methods": ["POST"], "keyed": true},
            {"url": "https://shop.example/orders", "probe": {
                "url": "/orders/{/json/id}?key={key}", "settle": "5s", "on_not_done": "rerun",
                "done": {"status": 200, "at": "/state", "is": "placed"},
                "not_done": {"status": 404},
            }},
        ]))
    }

    fn request(method: &str, url: &str) -> Value {
        json!({"method": method, "url": url, "json": {"id": "a/b c"}})
    }

    #[test]
    fn a_rule_holds_for_its_server_its_path_and_its_methods() {
        for (method, url, effect) in [
            ("POST", "https://pay.example/v1", Effect::Keyed),
            (
                "POST",
                "https://pay.example:443/v1/charges?x=1",
                Effect::Keyed,
            ),
            ("PUT", "https://pay.example/v1/charges", Effect::Write),
            ("POST", "https://pay.example/v10", Effect::Write),
            ("POST", "https://pay.example/v1/../v2", Effect::Write),
            ("POST", "https://pay.example/v1/..%2fv2", Effect::Write),
            ("POST", "https://pay.example/v1%2f..%2fv2", Effect::Write),
            (
                "POST",
                "https://pay.example/v1/%252e%252e/v2",
                Effect::Write,
            ),
            ("POST", "https://pay.example/v1/a;x=1/..;/b", Effect::Keyed),
            ("POST", "https://pay.example/v1/..;/v2", Effect::Write),
            ("POST", "https://PAY.example./%76%31/a%2Fb", Effect::Keyed),
            ("POST", "https://shop.example/x/..%2forders", Effect::Write),
            ("POST", "http://pay.example/v1", Effect::Write),
            ("POST", "https://pay.example:8443/v1", Effect::Write),
            ("POST", "https://pay.example.evil/v1", Effect::Write),
            ("POST", "https://evil/https://pay.example/v1", Effect::Write),
            ("POST", "https://shop.example/orders", Effect::Write),
        ] {
            assert_eq!(
                shop().effect(&request(method, url)),
                effect,
                "{method} {url}"
            );
        }
    }

    #[test]
    fn a_probe_is_filled_in_with_the_key_and_the_arguments() {
        let writes = shop();
        let mut call = request("POST", "https://shop.example/orders");
        let input = |call: &Value| Some(writes.probe(call, "k-1")?.1["url"].clone());
        let url = "https://shop.example/orders/a%2Fb%20c?key=k-1";
        assert_eq!(input(&call), Some(json!(url)));
        call["headers"] = json!({"Idempotency-Key": "mine", "Authorization": "Bearer x"});
        let (_, looked) = writes.probe(&call, "k-1").unwrap();
        assert_eq!(looked["url"], json!(url.replace("k-1", "mine")));
        assert_eq!(looked["headers"], json!({"Authorization": "Bearer x"}));
        // What would be the address of something else is no address.
        for id in [
            json!(""),
            json!(".."),
            json!(null),
            json!({}),
            json!("x".repeat(600)),
        ] {
            call["json"]["id"] = id.clone();
            assert_eq!(input(&call), None, "{id}");
        }
        assert_eq!(input(&request("POST", "https://pay.example/v1")), None);
    }

    #[test]
    fn an_answer_says_done_not_done_or_neither() {
        let writes = shop();
        let call = request("POST", "https://shop.example/orders");
        for (result, seen) in [
            (
                json!({"status": 200, "text": "{\"state\": \"placed\"}"}),
                Seen::Done,
            ),
            (json!({"status": 404, "text": "no"}), Seen::NotDone),
            (
                json!({"status": 200, "text": "{\"state\": \"new\"}"}),
                Seen::Unknown,
            ),
            (
                json!({"status": 200, "text": "{\"state\": \"pla"}),
                Seen::Unknown,
            ),
            (json!({"status": 200, "base64": "AA=="}), Seen::Unknown),
            (json!({"status": 503, "text": ""}), Seen::Unknown),
            (json!({"status": 404, "not_followed": "no"}), Seen::Unknown),
            (
                json!({"preview": "{\"status\":404", "handle": "call_4"}),
                Seen::Unknown,
            ),
            (json!("text"), Seen::Unknown),
        ] {
            assert_eq!(writes.probed(&call, &result), seen, "{result}");
        }
    }

    #[test]
    fn a_rule_that_cannot_hold_is_refused_with_its_reason() {
        let probe = |probe: Value| json!({"url": "https://a.example/x", "probe": probe});
        let looks = |status: u16| json!({"status": status});
        for (rule, word) in [
            (json!({"url": "https://a.example/x"}), "says nothing"),
            (json!({"url": "a.example", "keyed": true}), "`url`"),
            (
                json!({"url": "https://u:p@a.example/", "keyed": true}),
                "`url`",
            ),
            (
                json!({"url": "https://a.example/", "keyed": true, "methods": ["GET"]}),
                "GET",
            ),
            (
                probe(json!({"url": "/x", "done": looks(200), "not_done": looks(404)})),
                "the same for every request",
            ),
            (
                probe(json!({"url": "/{key", "done": looks(200), "not_done": looks(404)})),
                "without its",
            ),
            (
                probe(json!({"url": "/{key}", "done": looks(200), "not_done": looks(200)})),
                "are the same",
            ),
            (
                probe(json!({"url": "/{key}", "done": {"status": 200, "at": "/a"},
                    "not_done": looks(404)})),
                "both",
            ),
            (
                probe(json!({"url": "ftp://a/{key}", "done": looks(200), "not_done": looks(404)})),
                "`probe.url`",
            ),
        ] {
            let read: WriteRule = serde_json::from_value(rule.clone()).unwrap();
            let error = read.check().unwrap_err();
            assert!(error.contains(word), "{rule}: {error}");
        }
    }
}
