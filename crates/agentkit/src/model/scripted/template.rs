//! Templates and expressions of a script: compiled once, with a context made only on demand.

use std::{cell::OnceCell, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::csv;
use crate::{model::Message, template};

/// Everything of a script that is compiled.
#[derive(Debug)]
pub(super) struct Templates {
    /// Templates by the number of each, with all that one may take.
    full: Environment<'static>,
    /// The same with what is written where it is asked for; made once all are there.
    small: Option<Environment<'static>>,
    count: usize,
}

/// How much a template may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// What costs next to nothing.
    Small,
    /// All that is allowed.
    Full,
}

/// A text that may be a template.
#[derive(Debug)]
pub(super) enum Text {
    Plain(String),
    Template(Template),
}

/// One compiled template.
#[derive(Debug)]
pub(super) struct Template {
    name: String,
    /// Whether it looks at all the results, which costs a copy of them.
    results: bool,
}

/// An expression that holds or not.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) source: String,
    template: Template,
}

/// Arguments of a call.
#[derive(Debug)]
pub(super) enum Arguments {
    /// JSON text, or what stands in its place.
    Plain(String),
    Json(Json),
}

/// JSON with templates in it.
#[derive(Debug)]
pub(super) enum Json {
    Plain(serde_json::Value),
    Text(Template),
    Expression(Template),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Templates {
    pub(super) fn new() -> Self {
        let mut full = template::environment();
        full.add_filter("rows", |state: &State<'_, '_>, text: Arc<str>| {
            csv::rows(&text, |fuel| state.consume_fuel(fuel))
        });
        full.add_filter(
            "column",
            |state: &State<'_, '_>, text: Arc<str>, which: Value| {
                csv::column(&text, &which, |fuel| state.consume_fuel(fuel))
            },
        );
        full.add_filter("fromjson", fromjson);
        full.add_function("result", result);
        Self {
            full,
            small: None,
            count: 0,
        }
    }

    /// All templates are there.
    pub(super) fn complete(&mut self) {
        self.small = Some(template::with_budget(&self.full, template::INLINE_BUDGET));
    }

    /// Compiles a text, if it is a template.
    pub(super) fn text(&mut self, source: String) -> Result<Text, Error> {
        if is_template(&source) {
            Ok(Text::Template(self.template(&source)?))
        } else {
            Ok(Text::Plain(source))
        }
    }

    /// Compiles a condition.
    pub(super) fn condition(&mut self, source: String) -> Result<Condition, Error> {
        template::check_expression(&self.full, &source)?;
        let template = self.template(&format!("{{% if ({source}) %}}1{{% endif %}}"))?;
        Ok(Condition { source, template })
    }

    /// Compiles JSON, every string and every `$expr` in it.
    pub(super) fn json(&mut self, value: serde_json::Value) -> Result<Json, Error> {
        use serde_json::Value;
        match value {
            Value::String(text) if is_template(&text) => Ok(Json::Text(self.template(&text)?)),
            Value::Object(map) if map.len() == 1 && map.contains_key("$expr") => {
                let source = map
                    .get("$expr")
                    .and_then(Value::as_str)
                    .ok_or_else(|| Error::new(ErrorKind::SyntaxError, "`$expr` is not a string"))?;
                template::check_expression(&self.full, source)?;
                Ok(Json::Expression(
                    self.template(&format!("{{{{ ({source})|tojson }}}}"))?,
                ))
            }
            Value::Array(items) => {
                let items: Vec<Json> = items
                    .into_iter()
                    .map(|item| self.json(item))
                    .collect::<Result<_, _>>()?;
                Ok(Json::List(items).folded())
            }
            Value::Object(map) => {
                let entries: Vec<(String, Json)> = map
                    .into_iter()
                    .map(|(key, value)| Ok((key, self.json(value)?)))
                    .collect::<Result<_, Error>>()?;
                Ok(Json::Map(entries).folded())
            }
            value => Ok(Json::Plain(value)),
        }
    }

    fn template(&mut self, source: &str) -> Result<Template, Error> {
        let name = self.count.to_string();
        self.count += 1;
        template::add(&mut self.full, &name, source)?;
        let used = self.full.get_template(&name)?.undeclared_variables(false);
        let results = used.contains("results") || used.contains("result");
        Ok(Template { name, results })
    }

    fn render(&self, template: &Template, scene: &Scene<'_>) -> Result<String, Error> {
        let context = scene.context(template.results);
        let environment = match scene.effort {
            Effort::Small => self.small.as_ref().unwrap_or(&self.full),
            Effort::Full => &self.full,
        };
        template::render(environment, &template.name, context)
    }
}

impl Text {
    pub(super) fn render(&self, all: &Templates, scene: &Scene<'_>) -> Result<String, Error> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Template(template) => all.render(template, scene),
        }
    }
}

impl Condition {
    pub(super) fn holds(&self, all: &Templates, scene: &Scene<'_>) -> Result<bool, Error> {
        Ok(!all.render(&self.template, scene)?.is_empty())
    }
}

impl Arguments {
    pub(super) fn render(&self, all: &Templates, scene: &Scene<'_>) -> Result<String, Error> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Json(json) => Ok(json.render(all, scene)?.to_string()),
        }
    }
}

impl From<Json> for Arguments {
    fn from(json: Json) -> Self {
        match json {
            Json::Plain(value) => Self::Plain(value.to_string()),
            json => Self::Json(json),
        }
    }
}

impl Json {
    /// Plain, if all of its parts are.
    fn folded(self) -> Self {
        use serde_json::Value;
        match self {
            Self::List(items) if items.iter().all(Self::is_plain) => Self::Plain(Value::Array(
                items.into_iter().filter_map(Self::plain).collect(),
            )),
            Self::Map(entries) if entries.iter().all(|(_, value)| value.is_plain()) => {
                let entries = entries
                    .into_iter()
                    .filter_map(|(key, v)| Some((key, v.plain()?)));
                Self::Plain(Value::Object(entries.collect()))
            }
            other => other,
        }
    }

    fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn plain(self) -> Option<serde_json::Value> {
        match self {
            Self::Plain(value) => Some(value),
            Self::Text(_) | Self::Expression(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    fn render(&self, all: &Templates, scene: &Scene<'_>) -> Result<serde_json::Value, Error> {
        match self {
            Self::Plain(value) => Ok(value.clone()),
            Self::Text(template) => all.render(template, scene).map(Into::into),
            Self::Expression(template) => {
                let text = all.render(template, scene)?;
                serde_json::from_str(&text)
                    .map_err(|_| Error::new(ErrorKind::BadSerialization, "`$expr` is not JSON"))
            }
            Self::List(items) => items.iter().map(|item| item.render(all, scene)).collect(),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), value.render(all, scene)?)))
                .collect(),
        }
    }
}

/// What templates see of a run.
pub(super) struct Scene<'a> {
    pub(super) messages: &'a [Arc<Message>],
    turn: usize,
    effort: Effort,
    with_results: OnceCell<Value>,
    without_results: OnceCell<Value>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(messages: &'a [Arc<Message>], turn: usize, effort: Effort) -> Self {
        Self {
            messages,
            turn,
            effort,
            with_results: OnceCell::new(),
            without_results: OnceCell::new(),
        }
    }

    fn context(&self, results: bool) -> Value {
        let cell = if results {
            &self.with_results
        } else {
            &self.without_results
        };
        let make = || {
            let plain = [
                ("goal", Value::from(self.goal())),
                ("turn", Value::from(self.turn)),
                ("last", Value::from(self.last())),
            ];
            let results = results.then(|| ("results", self.results()));
            let all = plain.into_iter().chain(results);
            template::map(
                all.map(|(name, value)| (Value::from(name), value))
                    .collect(),
            )
        };
        cell.get_or_init(make).clone()
    }

    fn goal(&self) -> &str {
        let goal = self.messages.iter().find_map(|message| match &**message {
            Message::User { content, .. } => Some(content.as_str()),
            Message::System { .. } | Message::Assistant { .. } | Message::Tool { .. } => None,
        });
        goal.unwrap_or_default()
    }

    fn last(&self) -> String {
        let start = self
            .messages
            .iter()
            .rposition(|message| matches!(**message, Message::Assistant { .. }));
        let results = self.messages[start.unwrap_or(self.messages.len())..].iter();
        let texts: Vec<&str> = results
            .filter_map(|message| match &**message {
                Message::Tool { content, .. } => Some(content.as_str()),
                Message::System { .. } | Message::User { .. } | Message::Assistant { .. } => None,
            })
            .collect();
        texts.join("\n")
    }

    fn results(&self) -> Value {
        let results = self.messages.iter().filter_map(|message| match &**message {
            Message::Tool {
                name,
                content,
                is_error,
                ..
            } => {
                let members = [
                    ("tool", Value::from(name)),
                    ("text", Value::from(content)),
                    ("error", Value::from(*is_error)),
                ];
                let members = members.map(|(name, value)| (Value::from(name), value));
                Some(template::map(members.into()))
            }
            Message::System { .. } | Message::User { .. } | Message::Assistant { .. } => None,
        });
        template::list(results.collect())
    }
}

/// What is wrong with a template, for people.
pub(super) fn explain(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it takes too long to write; loop over less".to_owned();
    }
    match error.detail() {
        Some(detail) => format!("{}, {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// The function `result`.
fn result(state: &State<'_, '_>, number: i64) -> Result<Value, Error> {
    let results = state.lookup("results").unwrap_or_default();
    let count = results.len().unwrap_or(0);
    let index = match usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX) {
        0 => None,
        n if number > 0 => Some(n - 1),
        n => count.checked_sub(n),
    };
    let index = index.filter(|index| *index < count).ok_or_else(|| {
        let message = format!("result({number}) is none of the {count} results, counted from 1");
        Error::new(ErrorKind::InvalidOperation, message)
    })?;
    results.get_item_by_index(index)?.get_attr("text")
}

/// The filter `fromjson`.
fn fromjson(state: &State<'_, '_>, text: Arc<str>) -> Result<Value, Error> {
    state.consume_fuel(2 * csv::reading(&text))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the text is not JSON"))?;
    Ok(template::from_json(&value))
}
