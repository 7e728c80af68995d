//! Which parts of a value the keywords of a node have looked at: what `unevaluatedProperties` and
//! `unevaluatedItems` ask.

use std::collections::HashSet;

use serde_json::Value;

use super::{Evaluator, Scope, Spent};
use crate::schema::keyword::{Check, NodeId};

/// Which parts of a value were looked at.
#[derive(Default)]
pub(in crate::schema) struct Seen<'v> {
    all: bool,
    names: HashSet<&'v str>,
    first: usize,
    items: HashSet<usize>,
    asked: HashSet<(NodeId, Scope)>,
}

impl Seen<'_> {
    pub(in crate::schema) fn has_name(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    pub(in crate::schema) fn has_item(&self, index: usize) -> bool {
        self.all || index < self.first || self.items.contains(&index)
    }
}

impl<'c> Evaluator<'c> {
    /// Parts that the other keywords of a node have looked at.
    pub(in crate::schema) fn seen<'v>(
        &mut self,
        id: NodeId,
        except: &Check,
        value: &'v Value,
        scope: Scope,
    ) -> Result<Seen<'v>, Spent> {
        let mut seen = Seen::default();
        self.mark(id, Some(except), value, scope, &mut seen)?;
        Ok(seen)
    }

    /// Marks the parts that a node that holds has looked at. Each node is asked once: what it marks is a union.
    pub(in crate::schema) fn mark<'v>(
        &mut self,
        id: NodeId,
        except: Option<&Check>,
        value: &'v Value,
        scope: Scope,
        seen: &mut Seen<'v>,
    ) -> Result<(), Spent> {
        self.spend(4)?;
        let scope = self.enter(scope, id);
        if seen.all || !seen.asked.insert((id, scope)) {
            return Ok(());
        }
        for check in &self.node(id).checks {
            if except.is_some_and(|except| std::ptr::eq(except, check)) {
                continue;
            }
            self.deeper(|this| this.mark_by(check, value, scope, seen))?;
        }
        Ok(())
    }

    pub(in crate::schema) fn mark_by<'v>(
        &mut self,
        check: &'c Check,
        value: &'v Value,
        scope: Scope,
        seen: &mut Seen<'v>,
    ) -> Result<(), Spent> {
        match check {
            Check::Ref(node) => self.mark(*node, None, value, scope, seen),
            Check::DynamicRef { anchor, otherwise } => {
                let node = self.dynamic(scope, *anchor, *otherwise);
                self.mark(node, None, value, scope, seen)
            }
            Check::AllOf(nodes) => nodes
                .iter()
                .try_for_each(|node| self.mark(*node, None, value, scope, seen)),
            Check::AnyOf(nodes) | Check::OneOf(nodes) => nodes
                .iter()
                .try_for_each(|node| self.mark_if(*node, value, scope, seen)),
            Check::If {
                condition,
                then,
                otherwise,
            } => {
                let holds = self.holds(*condition, value, scope)?;
                if holds {
                    self.mark(*condition, None, value, scope, seen)?;
                }
                let branch = if holds { then } else { otherwise };
                branch.map_or(Ok(()), |node| self.mark(node, None, value, scope, seen))
            }
            Check::DependentSchemas(nodes) => nodes
                .iter()
                .filter(|(name, _)| value.get(name).is_some())
                .try_for_each(|(_, node)| self.mark(*node, None, value, scope, seen)),
            Check::Properties(properties) => {
                let Value::Object(map) = value else {
                    return Ok(());
                };
                for name in map.keys() {
                    let mut nodes = Vec::new();
                    self.of_property(properties, name, &mut nodes)?;
                    if !nodes.is_empty() {
                        seen.names.insert(name);
                    }
                }
                Ok(())
            }
            Check::Items { first, rest } => {
                seen.first = match rest {
                    Some(_) => usize::MAX,
                    None => seen.first.max(first.len()),
                };
                Ok(())
            }
            Check::Contains {
                node, marks: true, ..
            } => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    if self.holds(*node, item, scope)? {
                        seen.items.insert(index);
                    }
                }
                Ok(())
            }
            Check::UnevaluatedProperties(_) => {
                seen.all |= value.is_object();
                Ok(())
            }
            Check::UnevaluatedItems(_) => {
                seen.all |= value.is_array();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(in crate::schema) fn mark_if<'v>(
        &mut self,
        node: NodeId,
        value: &'v Value,
        scope: Scope,
        seen: &mut Seen<'v>,
    ) -> Result<(), Spent> {
        match self.holds(node, value, scope)? {
            true => self.mark(node, None, value, scope, seen),
            false => Ok(()),
        }
    }
}
