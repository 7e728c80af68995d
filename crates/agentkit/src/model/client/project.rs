//! Schemas of tools as a surface takes them.
//!
//! Servers of MCP write schemas that a provider refuses, and a provider that refuses the schema of one tool refuses the
//! request with all others. So each surface is sent a schema that it takes: the same one where that is possible,
//! else a wider one. Arguments are checked against the schema that the tool has. Sources: the providers' guides to
//! function calling and the shapes that their servers were seen to refuse, November 2026.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::{Map, Value, json};

use super::ApiSurface;

/// The most schemas within one. What lies beyond is not restricted: a few definitions that name one another twice
/// each would otherwise fill the memory once they are written out.
const MAX_NODES: usize = 4_000;
/// The deepest schema within a schema.
const MAX_DEPTH: usize = 48;
/// The types of JSON Schema.
const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];
/// Keywords that no surface takes beside the root's properties.
const NOT_AT_ROOT: [&str; 12] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "enum",
    "const",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
];
/// Keywords that Gemini does not know.
const NOT_GEMINI: [&str; 18] = [
    "$schema",
    "$id",
    "$comment",
    "$anchor",
    "$defs",
    "definitions",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "uniqueItems",
];

/// The schema of a tool's arguments for a surface.
pub(super) fn project(schema: &Value, surface: ApiSurface) -> Cow<'_, Value> {
    let mut projection = Projection {
        root: schema,
        gemini: surface == ApiSurface::GenerateContent,
        nodes: 0,
        within: BTreeSet::new(),
    };
    let made = projection.root();
    match made == *schema {
        true => Cow::Borrowed(schema),
        false => Cow::Owned(made),
    }
}

struct Projection<'a> {
    root: &'a Value,
    gemini: bool,
    nodes: usize,
    /// References that are being written out.
    within: BTreeSet<&'a str>,
}

impl<'a> Projection<'a> {
    /// The arguments of a call are an object with properties, whatever the schema says.
    fn root(&mut self) -> Value {
        let mut map = match self.root {
            Value::Object(map) => match self.referred(map) {
                // Definitions stay where references look for them.
                Some((_, target)) => {
                    let mut whole = map.clone();
                    whole.remove("$ref");
                    for (key, value) in target {
                        whole.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                    self.map_of(&whole, 0)
                }
                None => self.map(map, 0),
            },
            _ => Map::new(),
        };
        self.flatten(&mut map);
        map.insert("type".to_owned(), "object".into());
        map.entry("properties").or_insert_with(|| json!({}));
        Value::Object(map)
    }

    /// The target of a reference within the schema.
    fn referred(&self, map: &Map<String, Value>) -> Option<(&'a str, &'a Map<String, Value>)> {
        let name = map.get("$ref")?.as_str()?;
        let target = self.root.pointer(name.strip_prefix('#')?)?;
        let root = self.root.as_object()?;
        let target = target
            .as_object()
            .filter(|target| !std::ptr::eq(*target, root))?;
        // The text of the schema itself, which lives as long as the schema.
        let name = find_reference(self.root, name, 0)?;
        Some((name, target))
    }

    fn node(&mut self, schema: &Value, depth: usize) -> Value {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            return json!({});
        }
        match schema {
            Value::Object(map) => Value::Object(self.map(map, depth)),
            Value::Bool(false) if !self.gemini => json!({"not": {}}),
            _ => json!({}),
        }
    }

    fn map(&mut self, map: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        if !map.contains_key("$ref") {
            return self.map_of(map, depth);
        }
        let described = || {
            let words = map
                .iter()
                .filter(|(key, _)| matches!(key.as_str(), "description" | "title"));
            words
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect::<Map<_, _>>()
        };
        match self.referred(map) {
            // Elsewhere, or nowhere: nothing is fetched, and nothing is required.
            None => {
                let is_whole = map.get("$ref").is_some_and(|name| name == "#");
                match is_whole && !self.gemini {
                    true => self.map_of(map, depth),
                    false => described(),
                }
            }
            Some(_) if !self.gemini => self.map_of(map, depth),
            // A definition within itself ends here.
            Some((name, _)) if self.within.contains(name) => described(),
            Some((name, target)) => {
                self.within.insert(name);
                let mut written = self.map_of(target, depth + 1);
                self.within.remove(name);
                written.extend(described());
                written
            }
        }
    }

    fn map_of(&mut self, map: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        let mut made = Map::new();
        for (key, value) in map {
            if self.gemini && NOT_GEMINI.contains(&key.as_str()) {
                continue;
            }
            if let Some(value) = self.keyword(key, value, map, depth) {
                let key = match key.as_str() {
                    "oneOf" if self.gemini => "anyOf",
                    "const" if self.gemini => "enum",
                    key => key,
                };
                made.insert(key.to_owned(), value);
            }
        }
        if self.gemini && made.contains_key("allOf") {
            self.flatten_all(&mut made);
        }
        let is = |made: &Map<String, Value>, name: &str| match made.get("type") {
            Some(Value::String(kind)) => kind == name,
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
            _ => false,
        };
        if is(&made, "array") && !made.contains_key("items") {
            made.insert("items".to_owned(), json!({}));
        }
        if let (Some(Value::String(kind)), Some(Value::Array(values))) =
            (made.get("type"), made.get("enum"))
            && !values.iter().any(|value| fits(value, kind))
        {
            made.remove("type");
        }
        made
    }

    /// A keyword's value; `None` if the keyword is left out.
    fn keyword(
        &mut self,
        key: &str,
        value: &Value,
        map: &Map<String, Value>,
        depth: usize,
    ) -> Option<Value> {
        match key {
            "properties" | "$defs" | "definitions" | "patternProperties" | "dependentSchemas" => {
                let members = value.as_object()?.iter();
                let members = members.map(|(name, one)| (name.clone(), self.node(one, depth + 1)));
                Some(Value::Object(members.collect()))
            }
            "items" => match value {
                Value::Array(tuple) => {
                    let mut kinds: Vec<Value> = Vec::new();
                    for one in tuple.iter().filter(|one| !is_never(one)) {
                        let one = self.node(one, depth + 1);
                        if !kinds.contains(&one) {
                            kinds.push(one);
                        }
                    }
                    Some(match kinds.len() {
                        0 => json!({}),
                        1 => kinds.remove(0),
                        _ => json!({"anyOf": kinds}),
                    })
                }
                one => Some(self.node(one, depth + 1)),
            },
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                let is_choice = key == "anyOf" || key == "oneOf";
                let list = value.as_array()?.iter();
                let list = list.filter(|one| !is_choice || !is_never(one));
                let list: Vec<Value> = list.map(|one| self.node(one, depth + 1)).collect();
                (!list.is_empty()).then_some(Value::Array(list))
            }
            "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "unevaluatedProperties"
            | "unevaluatedItems" => match value {
                Value::Object(_) => Some(self.node(value, depth + 1)),
                other => Some(other.clone()),
            },
            "additionalProperties" => match value {
                Value::Bool(_) => Some(value.clone()),
                Value::Object(map) if !map.is_empty() => Some(self.node(value, depth + 1)),
                _ => None,
            },
            // Of the fourth draft, where these were switches of the bounds beside them.
            "exclusiveMinimum" | "exclusiveMaximum" => match value {
                Value::Bool(true) => {
                    let bound = if key == "exclusiveMinimum" {
                        "minimum"
                    } else {
                        "maximum"
                    };
                    map.get(bound).filter(|bound| bound.is_number()).cloned()
                }
                number => Some(number.clone()).filter(Value::is_number),
            },
            "minimum" | "maximum" => {
                let switch = if key == "minimum" {
                    "exclusiveMinimum"
                } else {
                    "exclusiveMaximum"
                };
                let is_exclusive = map.get(switch) == Some(&Value::Bool(true));
                (!is_exclusive && value.is_number()).then(|| value.clone())
            }
            "required" => {
                let names = value.as_array()?.iter().filter(|name| name.is_string());
                Some(Value::Array(names.cloned().collect()))
            }
            "enum" => value
                .as_array()
                .filter(|values| !values.is_empty())
                .map(|_| value.clone()),
            "const" if self.gemini => Some(json!([value])),
            "type" => match value {
                Value::String(kind) if TYPES.contains(&kind.as_str()) => Some(value.clone()),
                Value::Array(kinds) => {
                    let known = kinds
                        .iter()
                        .filter(|kind| kind.as_str().is_some_and(|kind| TYPES.contains(&kind)));
                    let known: Vec<Value> = known.cloned().collect();
                    (!known.is_empty()).then_some(Value::Array(known))
                }
                _ => None,
            },
            "format" if self.gemini => {
                let known = |format: &str| {
                    matches!(
                        format,
                        "date-time" | "enum" | "int32" | "int64" | "float" | "double"
                    )
                };
                value
                    .as_str()
                    .filter(|format| known(format))
                    .map(|_| value.clone())
            }
            _ => Some(value.clone()),
        }
    }

    /// Takes choices out of the root: the properties of all of them are there, and required are those that every
    /// choice requires.
    fn flatten(&mut self, map: &mut Map<String, Value>) {
        self.flatten_all(map);
        for key in ["anyOf", "oneOf"] {
            let Some(Value::Array(choices)) = map.remove(key) else {
                continue;
            };
            let choices: Vec<Map<String, Value>> = choices
                .iter()
                .filter_map(|one| self.resolved(one))
                .collect();
            let mut needed: Option<BTreeSet<String>> = None;
            for choice in &choices {
                let own = required(choice);
                needed = Some(match needed {
                    Some(before) => before.intersection(&own).cloned().collect(),
                    None => own,
                });
                join_properties(map, choice);
            }
            require(map, needed.unwrap_or_default());
        }
        for key in NOT_AT_ROOT {
            map.remove(key);
        }
    }

    /// Takes the parts of `allOf` into the schema itself.
    fn flatten_all(&mut self, map: &mut Map<String, Value>) {
        let Some(Value::Array(parts)) = map.remove("allOf") else {
            return;
        };
        for part in parts.iter().filter_map(|one| self.resolved(one)) {
            join_properties(map, &part);
            require(map, required(&part));
            for (key, value) in part {
                if !matches!(key.as_str(), "properties" | "required") {
                    map.entry(key).or_insert(value);
                }
            }
        }
    }

    /// A part of the projected root, with the target of its reference.
    fn resolved(&mut self, part: &Value) -> Option<Map<String, Value>> {
        let map = part.as_object()?;
        match self.referred(map) {
            Some((_, target)) => Some(self.map_of(target, 1)),
            None => Some(map.clone()),
        }
    }
}

/// Whether nothing fits a schema.
fn is_never(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.len() == 1 && map.get("not") == Some(&json!({})),
        schema => *schema == Value::Bool(false),
    }
}

/// The text of a reference, borrowed from the schema.
fn find_reference<'a>(schema: &'a Value, name: &str, depth: usize) -> Option<&'a str> {
    if depth > MAX_DEPTH * 2 {
        return None;
    }
    match schema {
        Value::Object(map) => {
            let own = map.get("$ref").and_then(Value::as_str);
            own.filter(|own| *own == name).or_else(|| {
                let mut inner = map.values();
                inner.find_map(|one| find_reference(one, name, depth + 1))
            })
        }
        Value::Array(items) => items
            .iter()
            .find_map(|one| find_reference(one, name, depth + 1)),
        _ => None,
    }
}

fn required(map: &Map<String, Value>) -> BTreeSet<String> {
    let names = map.get("required").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

fn require(map: &mut Map<String, Value>, names: BTreeSet<String>) {
    if names.is_empty() {
        return;
    }
    let mut all = required(map);
    all.extend(names);
    map.insert("required".to_owned(), all.into_iter().collect());
}

/// Adds the properties of another schema. A property of two kinds may be either.
fn join_properties(map: &mut Map<String, Value>, other: &Map<String, Value>) {
    let Some(Value::Object(more)) = other.get("properties") else {
        return;
    };
    let own = map.entry("properties").or_insert_with(|| json!({}));
    let Some(own) = own.as_object_mut() else {
        return;
    };
    for (name, schema) in more {
        match own.get_mut(name) {
            None => {
                own.insert(name.clone(), schema.clone());
            }
            Some(same) if same == schema => {}
            Some(before) => match before.get_mut("anyOf").and_then(Value::as_array_mut) {
                Some(kinds) if kinds.contains(schema) => {}
                Some(kinds) => kinds.push(schema.clone()),
                None => *before = json!({"anyOf": [before.clone(), schema]}),
            },
        }
    }
}

fn fits(value: &Value, kind: &str) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => kind == "number" || kind == "integer" && !number.is_f64(),
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

#[cfg(test)]
mod tests;
