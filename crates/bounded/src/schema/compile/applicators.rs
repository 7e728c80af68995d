//! Keywords that apply other subschemas: to the same value, to its parts, or by reference.

use std::rc::Rc;

use serde_json::{Map, Value};
use url::Url;

use super::{
    Compiler,
    assertions::{texts, whole},
    invalid,
};
use crate::schema::{
    SchemaError,
    document::{Draft, RECURSIVE, Target, escaped},
    keyword::{Check, Leaf, LeafCheck, NodeId, Properties},
};

impl<'s> Compiler<'s> {
    pub(super) fn in_place(
        &mut self,
        map: &'s Map<String, Value>,
        base: &Rc<Url>,
        at: &str,
        checks: &mut Vec<Check>,
    ) -> Result<(), SchemaError> {
        let draft = self.document.draft;
        let dynamic = match draft {
            Draft::Nineteen => Some("$recursiveRef"),
            Draft::Twenty => Some("$dynamicRef"),
            Draft::Four | Draft::Six | Draft::Seven => None,
        };
        for keyword in ["$ref"].into_iter().chain(dynamic) {
            if let Some(reference) = map.get(keyword) {
                checks.push(self.reference(reference, base, at, keyword)?);
            }
        }
        for (keyword, check) in [
            ("allOf", Check::AllOf as fn(Vec<NodeId>) -> Check),
            ("anyOf", Check::AnyOf),
            ("oneOf", Check::OneOf),
        ] {
            if let Some(schemas) = map.get(keyword) {
                checks.push(check(self.list(
                    schemas,
                    base,
                    &format!("{at}/{keyword}"),
                )?));
            }
        }
        if let Some(schema) = map.get("not") {
            checks.push(Check::Not(self.node(schema, base, format!("{at}/not"))?));
        }
        if draft >= Draft::Seven
            && let Some(schema) = map.get("if")
        {
            let condition = self.node(schema, base, format!("{at}/if"))?;
            let mut branch = |key: &str| match map.get(key) {
                Some(schema) => self.node(schema, base, format!("{at}/{key}")).map(Some),
                None => Ok(None),
            };
            let (then, otherwise) = (branch("then")?, branch("else")?);
            checks.push(Check::If {
                condition,
                then,
                otherwise,
            });
        }
        if draft >= Draft::Nineteen
            && let Some(schemas) = map.get("dependentSchemas")
        {
            let at = format!("{at}/dependentSchemas");
            checks.push(Check::DependentSchemas(self.members(schemas, base, &at)?));
        }
        if let Some(dependencies) = map.get("dependencies") {
            self.dependencies(dependencies, base, &format!("{at}/dependencies"), checks)?;
        }
        Ok(())
    }

    /// Names that need other names, or a schema for the whole object.
    pub(super) fn dependencies(
        &mut self,
        value: &'s Value,
        base: &Rc<Url>,
        at: &str,
        checks: &mut Vec<Check>,
    ) -> Result<(), SchemaError> {
        let members = value
            .as_object()
            .ok_or_else(|| invalid(at, "must be an object"))?;
        let (mut names, mut schemas) = (Vec::new(), Vec::new());
        for (name, needs) in members {
            let at = format!("{at}/{}", escaped(name));
            if needs.is_array() {
                names.push((name.clone(), texts(needs, &at)?));
            } else {
                schemas.push((name.clone(), self.node(needs, base, at)?));
            }
        }
        if !names.is_empty() {
            checks.push(Check::DependentRequired(names));
        }
        if !schemas.is_empty() {
            checks.push(Check::DependentSchemas(schemas));
        }
        Ok(())
    }

    pub(super) fn below(
        &mut self,
        map: &'s Map<String, Value>,
        base: &Rc<Url>,
        at: &str,
        checks: &mut Vec<Check>,
    ) -> Result<(), SchemaError> {
        let draft = self.document.draft;
        let mut properties = Properties::default();
        if let Some(schemas) = map.get("properties") {
            let members = self.members(schemas, base, &format!("{at}/properties"))?;
            properties.named = members.into_iter().collect();
        }
        if let Some(schemas) = map.get("patternProperties") {
            let at = format!("{at}/patternProperties");
            for (source, node) in self.members(schemas, base, &at)? {
                let pattern = self.pattern(&source, &format!("{at}/{}", escaped(&source)))?;
                properties.patterns.push((pattern, node));
            }
        }
        if let Some(schema) = map.get("additionalProperties") {
            let at = format!("{at}/additionalProperties");
            properties.others = Some(self.node(schema, base, at)?);
        }
        let is_empty = properties.named.is_empty()
            && properties.patterns.is_empty()
            && properties.others.is_none();
        if !is_empty {
            checks.push(Check::Properties(properties));
        }
        if draft >= Draft::Six
            && let Some(schema) = map.get("propertyNames")
        {
            let node = self.node(schema, base, format!("{at}/propertyNames"))?;
            checks.push(Check::PropertyNames(node));
        }
        self.items(map, base, at, checks)?;
        if draft >= Draft::Six
            && let Some(schema) = map.get("contains")
        {
            let node = self.node(schema, base, format!("{at}/contains"))?;
            let counts = draft >= Draft::Nineteen;
            let count = |key: &str| match map.get(key).filter(|_| counts) {
                Some(value) => whole(value, &format!("{at}/{key}")).map(Some),
                None => Ok(None),
            };
            checks.push(Check::Contains {
                node,
                least: count("minContains")?.unwrap_or(1),
                most: count("maxContains")?,
                marks: draft == Draft::Twenty,
            });
        }
        Ok(())
    }

    pub(super) fn items(
        &mut self,
        map: &'s Map<String, Value>,
        base: &Rc<Url>,
        at: &str,
        checks: &mut Vec<Check>,
    ) -> Result<(), SchemaError> {
        let (first, rest) = match (self.document.draft, map.get("items")) {
            (Draft::Twenty, _) => ("prefixItems", "items"),
            (_, Some(Value::Array(_))) => ("items", "additionalItems"),
            (_, _) => ("", "items"),
        };
        let nodes = match map.get(first) {
            Some(schemas) => self.list(schemas, base, &format!("{at}/{first}"))?,
            None => Vec::new(),
        };
        let rest = match map.get(rest) {
            Some(schema) => Some(self.node(schema, base, format!("{at}/{rest}"))?),
            None => None,
        };
        if !nodes.is_empty() || rest.is_some() {
            checks.push(Check::Items { first: nodes, rest });
        }
        Ok(())
    }

    pub(super) fn list(
        &mut self,
        value: &'s Value,
        base: &Rc<Url>,
        at: &str,
    ) -> Result<Vec<NodeId>, SchemaError> {
        let schemas = value
            .as_array()
            .ok_or_else(|| invalid(at, "must be a list"))?;
        let node = |(index, schema)| self.node(schema, base, format!("{at}/{index}"));
        schemas.iter().enumerate().map(node).collect()
    }

    pub(super) fn members(
        &mut self,
        value: &'s Value,
        base: &Rc<Url>,
        at: &str,
    ) -> Result<Vec<(String, NodeId)>, SchemaError> {
        let schemas = value
            .as_object()
            .ok_or_else(|| invalid(at, "must be an object"))?;
        let node = |(name, schema): (&String, &'s Value)| {
            let node = self.node(schema, base, format!("{at}/{}", escaped(name)))?;
            Ok((name.clone(), node))
        };
        schemas.iter().map(node).collect()
    }

    pub(super) fn reference(
        &mut self,
        value: &Value,
        base: &Rc<Url>,
        at: &str,
        keyword: &str,
    ) -> Result<Check, SchemaError> {
        let at = format!("{at}/{keyword}");
        let reference = value.as_str().ok_or_else(|| invalid(&at, "must be text"))?;
        let target = self.document.resolve(reference, base).map_err(|reason| {
            let shown: String = reference.chars().take(120).collect();
            invalid(&at, &format!("`{shown}` {reason}"))
        })?;
        match target {
            Target::Draft(draft) => Ok(Check::Leaf(Leaf {
                keyword: "$ref",
                says: reference.into(),
                check: LeafCheck::Schema(draft.library()),
            })),
            Target::Schema {
                value,
                base,
                at,
                dynamic,
            } => {
                let recursive = value.get("$recursiveAnchor") == Some(&Value::Bool(true));
                let anchor = match keyword {
                    "$dynamicRef" => dynamic,
                    "$recursiveRef" if recursive => Some(RECURSIVE.to_owned()),
                    _ => None,
                };
                let node = self.node(value, &base, at)?;
                Ok(match anchor {
                    Some(name) => {
                        let anchor = self.anchor(name);
                        Check::DynamicRef {
                            anchor,
                            otherwise: node,
                        }
                    }
                    None => Check::Ref(node),
                })
            }
        }
    }
}
