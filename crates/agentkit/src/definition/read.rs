//! Reading a definition's keys: all that is wrong is said at once.

use std::collections::BTreeSet;

use bounded::schema;
use serde_json::{Map, Value};

use units::{ModelName, duration, money, nearest};

use super::{Definition, DefinitionError, Limits, LongTerm, Memory, Mistake, Output, instructions};
use crate::{
    memory::long_term::{LongTermConfig, MAX_LIMIT},
    planner,
    policy::{Pattern, PolicyFile},
    run::Exhaustion,
};

pub(super) const KEYS: &[&str] = &[
    "name",
    "description",
    "model",
    "instructions",
    "template",
    "planner",
    "temperature",
    "script",
    "tools",
    "agents",
    "output",
    "memory",
    "limits",
    "policy",
];
pub(super) const MEMORY: &[&str] = &[
    "context_tokens",
    "compact_at",
    "keep_exchanges",
    "summarise",
    "long_term",
];
pub(super) const LONG_TERM: &[&str] = &["namespace", "recall", "remember", "limit", "tokens"];
pub(super) const LIMITS: &[&str] = &[
    "max_steps",
    "max_tokens",
    "max_cost_usd",
    "timeout",
    "max_output_tokens",
    "max_children",
    "spawn_depth",
    "on_exhausted",
];
pub(super) const OUTPUT: &[&str] = &["schema", "max_reasks"];
pub(super) const MAX_NAME: usize = 64;

/// One table of a definition.
struct Table<'a> {
    path: Vec<String>,
    map: &'a Map<String, Value>,
    mistakes: &'a mut Vec<Mistake>,
}

/// Reads a definition, whose instructions begin on this line of its file.
pub(super) fn definition(
    value: &Value,
    instructions_line: usize,
) -> Result<Definition, DefinitionError> {
    let mut mistakes = Vec::new();
    let Some(map) = value.as_object() else {
        return Err(DefinitionError::Mistakes(vec![Mistake {
            path: Vec::new(),
            message: "a definition must be a table of keys".to_owned(),
            may_be_newer: false,
        }]));
    };
    let mut top = Table {
        path: Vec::new(),
        map,
        mistakes: &mut mistakes,
    };
    top.known(KEYS);
    let name = top.name();
    // A template is what instructions are unless said: saying so makes no other version.
    let template = top.switch("template").filter(|template| !template);
    let found = Definition {
        agents: top.agents(&name),
        name,
        description: top.text("description").unwrap_or_default(),
        model: top.model(),
        instructions: top.instructions(instructions_line, template.is_none()),
        template,
        planner: top.planner(),
        temperature: top.number("temperature", 0.0..=10.0),
        script: top.text("script"),
        tools: top.tools(),
        output: None,
        memory: Memory::default(),
        limits: Limits::default(),
        policy: map.get("policy").cloned().unwrap_or_default(),
    };
    let output = top.table("output", OUTPUT, |output| Output {
        schema: output.schema(),
        max_reasks: output.small("max_reasks", 0),
    });
    let memory = top.table("memory", MEMORY, |memory| Memory {
        context_tokens: memory.whole("context_tokens", 1),
        compact_at: memory.percent("compact_at"),
        keep_exchanges: memory.small("keep_exchanges", 1),
        summarise: memory.switch("summarise"),
        long_term: memory.table("long_term", LONG_TERM, |long_term| LongTerm {
            namespace: long_term.agent_name("namespace"),
            recall: long_term.switch("recall"),
            remember: long_term.switch("remember"),
            limit: long_term.at_most("limit", MAX_LIMIT),
            tokens: long_term.at_most("tokens", LongTermConfig::MAX_TOKENS),
        }),
    });
    let limits = top.table("limits", LIMITS, |limits| Limits {
        max_steps: limits.small("max_steps", 1),
        max_tokens: limits.whole("max_tokens", 1),
        max_cost_usd: limits.usd("max_cost_usd"),
        timeout: limits.seconds("timeout"),
        max_output_tokens: limits.whole("max_output_tokens", 1),
        max_children: limits.small("max_children", 0),
        spawn_depth: limits.small("spawn_depth", 0),
        on_exhausted: limits.exhaustion(),
    });
    if let Err(DefinitionError::Mistakes(wrong)) = policy(&found.policy) {
        mistakes.extend(wrong);
    }
    if mistakes.is_empty() {
        Ok(Definition {
            output,
            memory: memory.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
            ..found
        })
    } else {
        Err(DefinitionError::Mistakes(mistakes))
    }
}

/// The policy of a definition.
pub(super) fn policy(value: &Value) -> Result<Option<PolicyFile>, DefinitionError> {
    let wrong = |message: String| {
        DefinitionError::Mistakes(vec![Mistake {
            path: vec!["policy".to_owned()],
            message: format!("`policy`: {message}"),
            may_be_newer: true,
        }])
    };
    if value.is_null() {
        return Ok(None);
    }
    let table: toml::Table = serde_json::from_value(value.clone())
        .map_err(|_| wrong("must be a table like that of a policy file".to_owned()))?;
    PolicyFile::from_table(&table)
        .map(Some)
        .map_err(|error| wrong(error.to_string()))
}

impl Table<'_> {
    fn mistake(&mut self, key: &str, message: String) {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        self.mistakes.push(Mistake {
            path,
            message,
            may_be_newer: false,
        });
    }

    fn wrong(&mut self, key: &str, what: &str) {
        let location = self.location(key);
        self.mistake(key, format!("`{location}` {what}"));
    }

    fn location(&self, key: &str) -> String {
        let keys = self.path.iter().map(String::as_str).chain([key]);
        keys.collect::<Vec<_>>().join(".")
    }

    fn known(&mut self, known: &[&str]) {
        for key in self.map.keys() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let hint = nearest::hint(key, known.iter().copied());
            let key: String = key.chars().take(80).collect();
            let location = self.location(&key);
            self.mistake(&key, format!("there is no key `{location}`; {hint}"));
            self.may_be_newer();
        }
    }

    /// A newer release may know what this one finds wrong.
    fn may_be_newer(&mut self) {
        if let Some(last) = self.mistakes.last_mut() {
            last.may_be_newer = true;
        }
    }

    /// The value of a key; what is null is not there.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong(key, "must be text");
                None
            }
        }
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = match self.get(key)? {
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        if texts.is_none() {
            self.wrong(key, "must be a list of texts");
        }
        texts
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        let number = self.get(key)?.as_f64();
        let fits = number.filter(|number| range.contains(number));
        if fits.is_none() {
            let what = format!("must be a number from {} to {}", range.start(), range.end());
            self.wrong(key, &what);
        }
        fits
    }

    /// An amount of money that is not zero, in USD.
    fn usd(&mut self, key: &str) -> Option<f64> {
        let usd = self.get(key)?.as_f64();
        let fits = usd.filter(|usd| money::from_usd(*usd).is_ok_and(|micros| micros > 0));
        if fits.is_none() {
            self.wrong(key, &format!("must be {}", money::FORM));
        }
        fits
    }

    fn whole(&mut self, key: &str, least: u64) -> Option<u64> {
        let number = self.get(key)?.as_u64().filter(|number| *number >= least);
        if number.is_none() {
            self.wrong(key, &format!("must be a whole number, {least} or more"));
        }
        number
    }

    fn small(&mut self, key: &str, least: u64) -> Option<u32> {
        let number = self.whole(key, least)?;
        let small = u32::try_from(number).ok();
        if small.is_none() {
            self.wrong(key, &format!("must be {} at most", u32::MAX));
        }
        small
    }

    /// A whole number from 1 to a bound.
    fn at_most(&mut self, key: &str, most: u32) -> Option<u32> {
        let number = self.get(key)?.as_u64();
        let fits = number.and_then(|number| u32::try_from(number).ok());
        let fits = fits.filter(|number| (1..=most).contains(number));
        if fits.is_none() {
            self.wrong(key, &format!("must be a whole number from 1 to {most}"));
        }
        fits
    }

    /// A name as agents have them.
    fn agent_name(&mut self, key: &str) -> Option<String> {
        let name = self.text(key)?;
        if !is_name(&name) {
            let location = self.location(key);
            let shown: String = name.chars().take(80).collect();
            self.mistake(key, not_a_name(&location, &shown));
        }
        Some(name)
    }

    fn percent(&mut self, key: &str) -> Option<u8> {
        let share = self.get(key)?.as_u64();
        let fits = share.filter(|share| (1..=100).contains(share));
        if fits.is_none() {
            self.wrong(key, "must be a whole number from 1 to 100");
        }
        fits.and_then(|share| u8::try_from(share).ok())
    }

    fn switch(&mut self, key: &str) -> Option<bool> {
        let switch = self.get(key)?.as_bool();
        if switch.is_none() {
            self.wrong(key, "must be `true` or `false`");
        }
        switch
    }

    fn exhaustion(&mut self) -> Option<Exhaustion> {
        match self.get("on_exhausted")?.as_str() {
            Some("fail") => Some(Exhaustion::Fail),
            Some("wait") => Some(Exhaustion::Wait),
            Some(_) | None => {
                self.wrong("on_exhausted", "must be `fail` or `wait`");
                None
            }
        }
    }

    /// A duration that is not zero, in seconds.
    fn seconds(&mut self, key: &str) -> Option<f64> {
        let time = match self.get(key)? {
            Value::String(text) => duration::parse(text).ok(),
            other => other
                .as_f64()
                .and_then(|seconds| duration::from_seconds(seconds).ok()),
        };
        let fits = time.filter(|time| !time.is_zero());
        if fits.is_none() {
            self.wrong(key, &format!("must be {}", duration::FORM));
        }
        fits.map(|time| time.as_secs_f64())
    }

    fn table<T>(
        &mut self,
        key: &str,
        known: &[&str],
        read: impl FnOnce(&mut Table<'_>) -> T,
    ) -> Option<T> {
        let Some(map) = self.get(key)?.as_object() else {
            self.wrong(key, "must be a table");
            return None;
        };
        let map = map.clone();
        let mut path = self.path.clone();
        path.push(key.to_owned());
        let mut table = Table {
            path,
            map: &map,
            mistakes: &mut *self.mistakes,
        };
        table.known(known);
        Some(read(&mut table))
    }

    fn name(&mut self) -> String {
        let name = match self.get("name") {
            Some(_) => self.text("name"),
            None => {
                self.mistake(
                    "name",
                    "`name` is missing: write name = \"helper\"".to_owned(),
                );
                None
            }
        };
        if let Some(name) = name.as_ref().filter(|name| !is_name(name)) {
            let shown: String = name.chars().take(80).collect();
            self.mistake("name", not_a_name("name", &shown));
        }
        name.unwrap_or_default()
    }

    fn agents(&mut self, own: &str) -> Vec<String> {
        let agents = self.texts("agents").unwrap_or_default();
        let mut seen = BTreeSet::new();
        for agent in &agents {
            if !is_name(agent) {
                let shown: String = agent.chars().take(80).collect();
                self.mistake("agents", not_a_name("agents", &shown));
            } else if agent == own {
                let message = format!(
                    "`agents`: `{own}` starts itself: {own} -> {own}; leave it out, as \
                     spawn_agent without a name starts the same agent"
                );
                self.mistake("agents", message);
            } else if !seen.insert(agent.as_str()) {
                self.wrong("agents", &format!("names `{agent}` twice"));
            }
        }
        agents
    }

    /// One name or a list of them.
    fn model(&mut self) -> Vec<String> {
        let models = match self.get("model") {
            None => return Vec::new(),
            Some(Value::String(name)) => Some(vec![name.clone()]),
            Some(Value::Array(names)) if !names.is_empty() => names
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect(),
            Some(_) => None,
        };
        let Some(models) = models else {
            self.wrong(
                "model",
                "must be text like \"openai/gpt-5\", or a list of such",
            );
            return Vec::new();
        };
        for model in &models {
            if let Err(error) = model.parse::<ModelName>() {
                self.mistake("model", format!("`model`: {error}"));
            }
        }
        models
    }

    fn planner(&mut self) -> Option<String> {
        let name = self.text("planner")?;
        if let Err(failure) = planner::by_name(&name) {
            self.mistake("planner", format!("`planner`: {}", failure.message));
            self.may_be_newer();
        }
        Some(name)
    }

    fn tools(&mut self) -> Option<Vec<String>> {
        let tools = self.texts("tools")?;
        for tool in &tools {
            // `SOURCE/TOOL` is a tool of one source.
            let (source, pattern) = match tool.split_once('/') {
                Some((source, pattern)) => (Some(source), pattern),
                None => (None, tool.as_str()),
            };
            if let Err(error) = pattern.parse::<Pattern>() {
                self.mistake("tools", format!("`tools`: {error}"));
            }
            let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
            if source.is_some_and(|name| name.is_empty() || !name.chars().all(named)) {
                let tool: String = tool.chars().take(80).collect();
                let message = format!("`tools`: `{tool}` is not like `TOOL` or `SOURCE/TOOL`");
                self.mistake("tools", message);
            }
        }
        Some(tools)
    }

    fn schema(&mut self) -> Value {
        let schema = self.get("schema").map(schema::unwrapped).cloned();
        let schema = schema.unwrap_or_default();
        if schema.is_null() {
            self.wrong("schema", "is missing: a JSON Schema of the answers");
        } else if let Err(error) = planner::check_schema(&schema) {
            self.wrong("schema", &format!("cannot be used: {error}"));
        }
        schema
    }

    fn instructions(&mut self, first_line: usize, is_template: bool) -> String {
        let text = self.text("instructions").unwrap_or_default();
        if let (true, Err(message)) = (is_template, instructions::check(&text, first_line)) {
            let message =
                format!("`instructions`: {message} (`template = false` takes the text as it is)");
            self.mistake("instructions", message);
        }
        text
    }
}

pub(super) fn is_name(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= MAX_NAME
        && name.starts_with(alphanumeric)
        && name.chars().all(|c| alphanumeric(c) || "-_.".contains(c))
}

fn not_a_name(key: &str, name: &str) -> String {
    format!(
        "`{key}`: `{name}` is not an agent's name: use 1 to 64 lower-case letters, digits, `-`, `_` \
         and `.`, a letter or digit first"
    )
}
