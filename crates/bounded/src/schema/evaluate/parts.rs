//! Keywords that look at the members of an object and the items of a list.

use serde_json::Value;

use super::{Evaluator, Holds, Scope, Spent};
use crate::schema::keyword::{NodeId, Properties};

impl<'c> Evaluator<'c> {
    pub(in crate::schema) fn properties(
        &mut self,
        all: &'c Properties,
        value: &Value,
        scope: Scope,
    ) -> Holds {
        let Value::Object(map) = value else {
            return Ok(true);
        };
        let mut nodes = Vec::new();
        for (name, member) in map {
            if all.patterns.is_empty() {
                self.spend(1)?;
                if let Some(node) = all.named.get(name).copied().or(all.others)
                    && !self.holds(node, member, scope)?
                {
                    return Ok(false);
                }
                continue;
            }
            nodes.clear();
            self.of_property(all, name, &mut nodes)?;
            for node in nodes.iter().copied() {
                if !self.holds(node, member, scope)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The subschemas that a property has to be valid under.
    pub(in crate::schema) fn of_property(
        &mut self,
        all: &'c Properties,
        name: &str,
        nodes: &mut Vec<NodeId>,
    ) -> Result<(), Spent> {
        self.spend(1 + name.len() as u64 / 32)?;
        nodes.extend(all.named.get(name));
        for (pattern, node) in &all.patterns {
            if self.matches(pattern, name)? {
                nodes.push(*node);
            }
        }
        if nodes.is_empty() {
            nodes.extend(all.others);
        }
        Ok(())
    }

    pub(in crate::schema) fn names(&mut self, node: NodeId, value: &Value, scope: Scope) -> Holds {
        let Value::Object(map) = value else {
            return Ok(true);
        };
        for name in map.keys() {
            if !self.name(node, name, scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a property's name is valid.
    pub(in crate::schema) fn name(&mut self, node: NodeId, name: &str, scope: Scope) -> Holds {
        self.spend(4 + name.len() as u64 / 32)?;
        let name = Value::String(name.to_owned());
        // Another name may come to stand where this one stood.
        let kept = std::mem::take(&mut self.kept);
        let holds = self.holds(node, &name, scope);
        self.kept = kept;
        holds
    }

    pub(in crate::schema) fn items(
        &mut self,
        first: &[NodeId],
        rest: Option<NodeId>,
        value: &Value,
        scope: Scope,
    ) -> Holds {
        let Value::Array(items) = value else {
            return Ok(true);
        };
        for (index, item) in items.iter().enumerate() {
            let Some(node) = first.get(index).copied().or(rest) else {
                break;
            };
            if !self.holds(node, item, scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many items are valid under a subschema; none if the value is no list. It stops at `most`.
    pub(in crate::schema) fn containing(
        &mut self,
        node: NodeId,
        value: &Value,
        scope: Scope,
        most: u64,
    ) -> Result<Option<u64>, Spent> {
        let Value::Array(items) = value else {
            return Ok(None);
        };
        let mut found = 0;
        for item in items {
            if found == most {
                break;
            }
            found += u64::from(self.holds(node, item, scope)?);
        }
        Ok(Some(found))
    }
}
