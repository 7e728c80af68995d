//! The resources of a schema, and the targets of its references. No document is ever fetched.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use serde_json::{Map, Value};
use url::Url;

/// The drafts of JSON Schema, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Draft {
    Four,
    Six,
    Seven,
    Nineteen,
    Twenty,
}

impl Draft {
    const ALL: [(&str, Self); 5] = [
        ("json-schema.org/draft-04/schema", Self::Four),
        ("json-schema.org/draft-06/schema", Self::Six),
        ("json-schema.org/draft-07/schema", Self::Seven),
        ("json-schema.org/draft/2019-09/schema", Self::Nineteen),
        ("json-schema.org/draft/2020-12/schema", Self::Twenty),
    ];

    /// The draft of a `$schema`, or of a reference to a draft's own schema.
    pub(super) fn of(uri: &str) -> Option<Self> {
        let uri = uri.trim_end_matches('#');
        let uri = uri
            .strip_prefix("http://")
            .or_else(|| uri.strip_prefix("https://"))?;
        Self::ALL
            .iter()
            .find(|(known, _)| *known == uri)
            .map(|(_, draft)| *draft)
    }

    pub(super) fn library(self) -> jsonschema::Draft {
        match self {
            Self::Four => jsonschema::Draft::Draft4,
            Self::Six => jsonschema::Draft::Draft6,
            Self::Seven => jsonschema::Draft::Draft7,
            Self::Nineteen => jsonschema::Draft::Draft201909,
            Self::Twenty => jsonschema::Draft::Draft202012,
        }
    }

    /// Keywords beside `$ref` do not count.
    pub(super) fn ref_stands_alone(self) -> bool {
        self <= Self::Seven
    }
}

/// Keywords whose value is a schema; `items` may also be a list of them.
pub(super) const ONE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
pub(super) const LIST: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
pub(super) const MAP: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// Calls back with each schema that stands in this schema, and the way to it.
pub(super) fn subschemas<'s>(map: &'s Map<String, Value>, each: &mut dyn FnMut(String, &'s Value)) {
    let is_schema = |value: &Value| value.is_object() || value.is_boolean();
    for (key, value) in map {
        let key = key.as_str();
        match value {
            Value::Object(_) | Value::Bool(_) if ONE.contains(&key) => each(key.to_owned(), value),
            Value::Array(items) if LIST.contains(&key) => {
                for (index, item) in items.iter().enumerate().filter(|(_, item)| is_schema(item)) {
                    each(format!("{key}/{index}"), item);
                }
            }
            Value::Object(members) if MAP.contains(&key) => {
                for (name, member) in members.iter().filter(|(_, member)| is_schema(member)) {
                    each(format!("{key}/{}", escaped(name)), member);
                }
            }
            _ => {}
        }
    }
}

/// A name as a part of a JSON Pointer (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Where a reference leads.
pub(super) enum Target<'s> {
    Schema {
        value: &'s Value,
        base: Rc<Url>,
        /// The pointer to it from the root, as far as that is known.
        at: String,
        /// The name of the dynamic anchor that was named.
        dynamic: Option<String>,
    },
    /// The schema of a draft.
    Draft(Draft),
}

pub(super) struct Document<'s> {
    pub(super) draft: Draft,
    pub(super) base: Rc<Url>,
    resources: HashMap<String, (&'s Value, String)>,
    anchors: HashMap<(String, String), (&'s Value, String)>,
    /// Dynamic anchors by the resource that has them.
    pub(super) dynamic: HashMap<String, Vec<(String, &'s Value)>>,
    /// The base of each schema that was seen, by its address.
    bases: HashMap<*const Value, Rc<Url>>,
}

/// The name of the anchor that `$recursiveAnchor` stands for; no anchor of its own can have it.
pub(super) const RECURSIVE: &str = "";

impl<'s> Document<'s> {
    pub(super) fn read(root: &'s Value, draft: Draft) -> Result<Self, (String, String)> {
        let base = Rc::new(Url::parse("json-schema:///").expect("the address is valid"));
        let mut document = Self {
            draft,
            base: Rc::clone(&base),
            resources: HashMap::from([(base.to_string(), (root, String::new()))]),
            anchors: HashMap::new(),
            dynamic: HashMap::new(),
            bases: HashMap::new(),
        };
        document.scan(root, &base, String::new())?;
        document.base = document.base_of(root, &base);
        Ok(document)
    }

    /// The base of a schema; `outer` for a resource that was not seen.
    pub(super) fn base_of(&self, value: &'s Value, outer: &Rc<Url>) -> Rc<Url> {
        let known = self.bases.get(&std::ptr::from_ref(value));
        Rc::clone(known.unwrap_or(outer))
    }

    /// Notes the resources and anchors of a schema and of those in it.
    fn scan(
        &mut self,
        root: &'s Value,
        base: &Rc<Url>,
        at: String,
    ) -> Result<(), (String, String)> {
        let mut left = vec![(root, Rc::clone(base), at)];
        while let Some((value, mut base, at)) = left.pop() {
            if self.bases.contains_key(&std::ptr::from_ref(value)) {
                continue;
            }
            if let Value::Object(map) = value {
                if let Some(id) = self.id(map) {
                    base = self.resource(value, id, &base, &at)?;
                }
                self.note_anchors(value, map, &base, &at);
                subschemas(map, &mut |way, inner| {
                    left.push((inner, Rc::clone(&base), format!("{at}/{way}")));
                });
            }
            self.bases.insert(std::ptr::from_ref(value), base);
        }
        Ok(())
    }

    fn id<'m>(&self, map: &'m Map<String, Value>) -> Option<&'m str> {
        let key = if self.draft == Draft::Four {
            "id"
        } else {
            "$id"
        };
        if self.draft.ref_stands_alone() && map.contains_key("$ref") {
            return None;
        }
        map.get(key)?.as_str()
    }

    fn resource(
        &mut self,
        value: &'s Value,
        id: &str,
        base: &Rc<Url>,
        at: &str,
    ) -> Result<Rc<Url>, (String, String)> {
        if let Some(anchor) = id.strip_prefix('#') {
            // An anchor, up to draft 7.
            let key = (base.to_string(), anchor.to_owned());
            self.anchors.insert(key, (value, at.to_owned()));
            return Ok(Rc::clone(base));
        }
        let mut url = base
            .join(id)
            .map_err(|error| (format!("{at}/$id"), format!("is no address: {error}")))?;
        url.set_fragment(None);
        self.resources
            .insert(url.to_string(), (value, at.to_owned()));
        Ok(Rc::new(url))
    }

    fn note_anchors(&mut self, value: &'s Value, map: &Map<String, Value>, base: &Url, at: &str) {
        let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut dynamic = Vec::new();
        if self.draft >= Draft::Nineteen
            && let Some(name) = text("$anchor")
        {
            let key = (base.to_string(), name);
            self.anchors.insert(key, (value, at.to_owned()));
        }
        if self.draft == Draft::Twenty
            && let Some(name) = text("$dynamicAnchor")
        {
            let key = (base.to_string(), name.clone());
            self.anchors.insert(key, (value, at.to_owned()));
            dynamic.push(name);
        }
        let recursive = map.get("$recursiveAnchor") == Some(&Value::Bool(true));
        if self.draft == Draft::Nineteen && recursive {
            dynamic.push(RECURSIVE.to_owned());
        }
        if !dynamic.is_empty() {
            let known = self.dynamic.entry(base.to_string()).or_default();
            known.extend(dynamic.into_iter().map(|name| (name, value)));
        }
    }

    /// The target of a reference from a schema with this base; why it points nowhere.
    pub(super) fn resolve(
        &mut self,
        reference: &str,
        base: &Rc<Url>,
    ) -> Result<Target<'s>, String> {
        let (mut url, fragment) = match reference {
            "" => (Url::clone(base), String::new()),
            reference => {
                let url = base
                    .join(reference)
                    .map_err(|_| "is no address".to_owned())?;
                let fragment = url.fragment().unwrap_or_default();
                let decoded = percent_encoding::percent_decode_str(fragment).decode_utf8();
                let decoded = decoded.map_err(|_| "is no text once it is decoded".to_owned())?;
                let decoded = decoded.into_owned();
                (url, decoded)
            }
        };
        url.set_fragment(None);
        let Some((resource, at)) = self.resources.get(url.as_str()).cloned() else {
            return match Draft::of(url.as_str()).filter(|_| fragment.is_empty()) {
                Some(draft) => Ok(Target::Draft(draft)),
                None => Err("is not part of the schema, and nothing is fetched".to_owned()),
            };
        };
        let base = self.base_of(resource, &Rc::new(url));
        if fragment.is_empty() {
            return Ok(Target::Schema {
                value: resource,
                base,
                at,
                dynamic: None,
            });
        }
        if fragment.starts_with('/') {
            return self.pointed(resource, base, at, &fragment);
        }
        let key = (base.to_string(), fragment);
        let Some((value, at)) = self.anchors.get(&key).cloned() else {
            return Err("names no anchor of the schema".to_owned());
        };
        let (resource, name) = key;
        let names: HashSet<&str> = self
            .dynamic
            .get(&resource)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let dynamic = names.contains(name.as_str()).then_some(name);
        Ok(Target::Schema {
            base: self.base_of(value, &base),
            value,
            at,
            dynamic,
        })
    }

    fn pointed(
        &mut self,
        resource: &'s Value,
        mut base: Rc<Url>,
        mut at: String,
        pointer: &str,
    ) -> Result<Target<'s>, String> {
        let mut value = resource;
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            let inner = match value {
                Value::Object(map) => map.get(&name),
                Value::Array(items) => name.parse::<usize>().ok().and_then(|at| items.get(at)),
                _ => None,
            };
            value = inner.ok_or_else(|| "points to nothing in the schema".to_owned())?;
            at = format!("{at}/{part}");
            base = self.base_of(value, &base);
        }
        if !value.is_object() && !value.is_boolean() {
            return Err("points to something that is no schema".to_owned());
        }
        self.scan(value, &base, at.clone())
            .map_err(|(_, reason)| reason)?;
        let base = self.base_of(value, &base);
        Ok(Target::Schema {
            value,
            base,
            at,
            dynamic: None,
        })
    }
}
