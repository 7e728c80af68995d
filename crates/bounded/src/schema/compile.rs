//! From a JSON Schema to checks.
//!
//! Every subschema is compiled once, wherever it is referred to from, so what is compiled is never
//! larger than what was written. All of them are taken from one list: a chain of references as long
//! as the schema needs no stack.

mod applicators;
mod assertions;
mod finish;

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use serde_json::{Map, Value, json};
use url::Url;

use self::{
    assertions::assertions,
    finish::{circle, keep},
};
use super::{
    Limit, SchemaError,
    document::{Document, Draft},
    keyword::{Check, Compiled, Leaf, LeafCheck, Node, NodeId, ResourceId},
    patterns::{self, Pattern, PatternError},
};

/// Schemas of more bytes of text than this are refused.
pub(super) const MAX_BYTES: u64 = 256 * 1024;
/// How deep a schema's JSON may nest.
pub(super) const MAX_DEPTH: usize = 100;
/// Subschemas of a schema.
pub(super) const MAX_NODES: usize = 10_000;
/// Different patterns of a schema.
const MAX_PATTERNS: usize = 500;
/// Bytes of all patterns of a schema together.
const MAX_PATTERN_BYTES: usize = 32 * 1024;
/// Keywords of a schema for which a validator of its own is built.
const MAX_LEAVES: usize = 500;
/// An `enum` of more values than this is looked up by hash.
const MANY_OPTIONS: usize = 8;

struct Compiler<'s> {
    document: Document<'s>,
    nodes: Vec<Node>,
    known: HashMap<*const Value, NodeId>,
    /// Compiled next: the node, its schema, its base, and the pointer to it.
    left: Vec<(NodeId, &'s Value, Rc<Url>, String)>,
    resources: HashMap<String, ResourceId>,
    anchors: HashMap<String, u32>,
    patterns: HashMap<String, Arc<Pattern>>,
    pattern_bytes: usize,
    weight: u64,
    leaves: usize,
}

/// How large a schema is: what is known of it before anything is built from it.
pub(super) fn measure(schema: &Value) -> Result<u64, SchemaError> {
    let mut bytes = 0;
    let mut left = vec![(schema, 0)];
    while let Some((value, depth)) = left.pop() {
        if depth > MAX_DEPTH {
            return Err(SchemaError::TooLarge {
                limit: Limit::Depth,
            });
        }
        bytes += match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 8,
            Value::String(text) => text.len() as u64 + 8,
            Value::Array(items) => {
                left.extend(items.iter().map(|item| (item, depth + 1)));
                8
            }
            Value::Object(members) => {
                left.extend(members.values().map(|member| (member, depth + 1)));
                8 + members.keys().map(|key| key.len() as u64).sum::<u64>()
            }
        };
        if bytes > MAX_BYTES {
            return Err(SchemaError::TooLarge {
                limit: Limit::Bytes,
            });
        }
    }
    Ok(bytes)
}

pub(super) fn compile(schema: &Value) -> Result<Compiled, SchemaError> {
    let bytes = measure(schema)?;
    let draft = draft(schema)?;
    well_formed(schema, draft)?;
    let document = Document::read(schema, draft)
        .map_err(|(at, reason)| SchemaError::Invalid { at, reason })?;
    let mut compiler = Compiler {
        document,
        nodes: Vec::new(),
        known: HashMap::new(),
        left: Vec::new(),
        resources: HashMap::new(),
        anchors: HashMap::new(),
        patterns: HashMap::new(),
        pattern_bytes: 0,
        weight: 0,
        leaves: 0,
    };
    let base = Rc::clone(&compiler.document.base);
    let root = compiler.node(schema, &base, String::new())?;
    let mut dynamic = compiler.rest()?;
    dynamic.resize(compiler.resources.len(), Vec::new());
    let kept = bytes as usize + compiler.nodes.len() * 300 + compiler.weight as usize * 150;
    let mut compiled = Compiled {
        root,
        nodes: compiler.nodes,
        dynamic,
        anchors: u32::try_from(compiler.anchors.len()).unwrap_or(u32::MAX),
        bytes: kept + compiler.leaves * 4_096,
    };
    circle(&compiled)?;
    keep(&mut compiled);
    Ok(compiled)
}

fn draft(schema: &Value) -> Result<Draft, SchemaError> {
    match schema.get("$schema") {
        None => Ok(Draft::Twenty),
        Some(uri) => uri
            .as_str()
            .and_then(Draft::of)
            .ok_or_else(|| SchemaError::Invalid {
                at: "/$schema".to_owned(),
                reason: "names no draft of JSON Schema; leave it out for 2020-12".to_owned(),
            }),
    }
}

/// Whether every keyword has a value of its kind.
fn well_formed(schema: &Value, draft: Draft) -> Result<(), SchemaError> {
    let checked = match draft {
        Draft::Four => jsonschema::draft4::meta::validate(schema),
        Draft::Six => jsonschema::draft6::meta::validate(schema),
        Draft::Seven => jsonschema::draft7::meta::validate(schema),
        Draft::Nineteen => jsonschema::draft201909::meta::validate(schema),
        Draft::Twenty => jsonschema::draft202012::meta::validate(schema),
    };
    checked.map_err(|error| {
        let mut reason = error.to_string();
        if reason.len() > 300 {
            reason.truncate(reason.floor_char_boundary(300));
            reason.push_str("...");
        }
        SchemaError::Invalid {
            at: error.instance_path().as_str().to_owned(),
            reason,
        }
    })
}

impl<'s> Compiler<'s> {
    /// The node of a schema, compiled now or later.
    fn node(
        &mut self,
        value: &'s Value,
        base: &Rc<Url>,
        at: String,
    ) -> Result<NodeId, SchemaError> {
        if let Some(node) = self.known.get(&std::ptr::from_ref(value)) {
            return Ok(*node);
        }
        if self.nodes.len() == MAX_NODES {
            return Err(SchemaError::TooLarge {
                limit: Limit::Subschemas,
            });
        }
        let node = self.nodes.len() as NodeId;
        self.nodes.push(Node::default());
        self.known.insert(std::ptr::from_ref(value), node);
        let base = self.document.base_of(value, base);
        self.left.push((node, value, base, at));
        Ok(node)
    }

    /// Compiles all that is left. Gives the dynamic anchors of each resource.
    fn rest(&mut self) -> Result<Vec<Vec<(u32, NodeId)>>, SchemaError> {
        let mut dynamic = Vec::new();
        while let Some((node, value, base, at)) = self.left.pop() {
            let count = self.resources.len() as ResourceId;
            let resource = *self.resources.entry(base.to_string()).or_insert(count);
            if resource == count {
                // The first schema of its resource that is met.
                let anchors = self.document.dynamic.get(base.as_str()).cloned();
                let mut here = Vec::new();
                for (name, value) in anchors.unwrap_or_default() {
                    let anchor = self.anchor(name);
                    here.push((anchor, self.node(value, &base, at.clone())?));
                }
                dynamic.push(here);
            }
            let checks = match value {
                Value::Bool(true) => Vec::new(),
                Value::Bool(false) => vec![Check::Never],
                Value::Object(map) => self.checks(map, &base, &at)?,
                _ => return Err(invalid(&at, "is neither an object nor a boolean")),
            };
            self.nodes[node as usize] = Node {
                checks,
                resource,
                keeps: false,
            };
        }
        Ok(dynamic)
    }

    fn anchor(&mut self, name: String) -> u32 {
        let count = self.anchors.len() as u32;
        *self.anchors.entry(name).or_insert(count)
    }

    fn checks(
        &mut self,
        map: &'s Map<String, Value>,
        base: &Rc<Url>,
        at: &str,
    ) -> Result<Vec<Check>, SchemaError> {
        let draft = self.document.draft;
        if draft.ref_stands_alone()
            && let Some(reference) = map.get("$ref")
        {
            return Ok(vec![self.reference(reference, base, at, "$ref")?]);
        }
        // What costs little comes first.
        let mut checks = Vec::new();
        assertions(map, draft, at, &mut checks)?;
        self.costly(map, at, &mut checks)?;
        self.in_place(map, base, at, &mut checks)?;
        self.below(map, base, at, &mut checks)?;
        if draft >= Draft::Nineteen {
            // These need to know what all others have looked at.
            if let Some(schema) = map.get("unevaluatedProperties") {
                let node = self.node(schema, base, format!("{at}/unevaluatedProperties"))?;
                checks.push(Check::UnevaluatedProperties(node));
            }
            if let Some(schema) = map.get("unevaluatedItems") {
                let node = self.node(schema, base, format!("{at}/unevaluatedItems"))?;
                checks.push(Check::UnevaluatedItems(node));
            }
        }
        Ok(checks)
    }

    /// Assertions that need a pattern, or another library.
    fn costly(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        checks: &mut Vec<Check>,
    ) -> Result<(), SchemaError> {
        let draft = self.document.draft;
        if let Some(divisor) = map.get("multipleOf") {
            checks.push(self.leaf("multipleOf", divisor, json!({"multipleOf": divisor}))?);
        }
        if let Some(pattern) = map.get("pattern") {
            let at = format!("{at}/pattern");
            let pattern = pattern
                .as_str()
                .ok_or_else(|| invalid(&at, "must be text"))?;
            checks.push(Check::Pattern(self.pattern(pattern, &at)?));
        }
        if let Some(Value::String(name)) = map.get("format")
            && let Some(validator) = format(draft, name)
        {
            checks.push(Check::Leaf(Leaf {
                keyword: "format",
                says: name.as_str().into(),
                check: LeafCheck::Validator(validator),
            }));
        }
        if matches!(draft, Draft::Six | Draft::Seven) {
            let of = |key: &str| map.get(key).map(|value| (key.to_owned(), value.clone()));
            let content: Map<String, Value> = of("contentMediaType")
                .into_iter()
                .chain(of("contentEncoding"))
                .collect();
            if !content.is_empty() {
                let says = Value::Object(content);
                checks.push(self.leaf("content", &says, says.clone())?);
            }
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        keyword: &'static str,
        says: &Value,
        schema: Value,
    ) -> Result<Check, SchemaError> {
        self.leaves += 1;
        if self.leaves > MAX_LEAVES {
            return Err(SchemaError::TooLarge {
                limit: Limit::Keywords(keyword),
            });
        }
        let check = LeafCheck::Validator(Arc::new(library(self.document.draft, &schema)?));
        Ok(Check::Leaf(Leaf {
            keyword,
            says: says.clone(),
            check,
        }))
    }

    fn pattern(&mut self, source: &str, at: &str) -> Result<Arc<Pattern>, SchemaError> {
        if let Some(pattern) = self.patterns.get(source) {
            return Ok(Arc::clone(pattern));
        }
        let too_large = SchemaError::TooLarge {
            limit: Limit::Patterns { at: at.to_owned() },
        };
        self.pattern_bytes += source.len();
        if self.patterns.len() == MAX_PATTERNS || self.pattern_bytes > MAX_PATTERN_BYTES {
            return Err(too_large);
        }
        match Pattern::compile(source, patterns::MAX_WEIGHT - self.weight) {
            Ok(pattern) => {
                self.weight += pattern.weight;
                let pattern = Arc::new(pattern);
                self.patterns
                    .insert(source.to_owned(), Arc::clone(&pattern));
                Ok(pattern)
            }
            Err(PatternError::TooLarge) => Err(too_large),
            Err(PatternError::Invalid) => Err(invalid(
                at,
                "is no regular expression of ECMA 262 that can be used here",
            )),
        }
    }
}

fn invalid(at: &str, reason: &str) -> SchemaError {
    SchemaError::Invalid {
        at: at.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A validator of one keyword.
fn library(draft: Draft, schema: &Value) -> Result<jsonschema::Validator, SchemaError> {
    jsonschema::options()
        .with_draft(draft.library())
        .should_validate_formats(true)
        .offline()
        .build(schema)
        .map_err(|error| invalid("", &error.to_string()))
}

/// The validator of a format, if it is one of the draft's; other formats are not checked.
fn format(draft: Draft, name: &str) -> Option<Arc<jsonschema::Validator>> {
    type Known = HashMap<(Draft, String), Arc<jsonschema::Validator>>;
    static FORMATS: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    if !jsonschema::options().is_known_format(draft.library(), name) {
        return None;
    }
    let mut formats = FORMATS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (draft, name.to_owned());
    if let Some(known) = formats.get(&key) {
        return Some(Arc::clone(known));
    }
    let built = Arc::new(library(draft, &json!({"format": name})).ok()?);
    formats.insert(key, Arc::clone(&built));
    Some(built)
}
