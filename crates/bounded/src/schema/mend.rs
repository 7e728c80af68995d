//! Values as models write them, made into the values that are meant: a whole number written as `3.0`, and
//! `null` for a property that may be missing, which is how a provider's strict mode leaves one out.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    evaluate::{Evaluator, Scope, Spent, is_whole_float},
    keyword::{Check, NodeId, Properties},
    values,
};

/// How far references are followed to see which alternative is meant.
const FOLLOWED: u32 = 8;

/// A part of the way to a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Name(String),
    Index(usize),
}

/// The change of the value at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Edit {
    /// The number is written as a whole number.
    Whole,
    /// The member is taken out of its object.
    Remove,
}

/// A change, and its place.
#[derive(Debug, Default)]
pub(super) struct Edits {
    list: Vec<(Vec<Part>, Edit)>,
    way: Vec<Part>,
    asked: HashSet<(NodeId, Scope, *const Value)>,
}

/// Whether a value has a part that could need an edit.
pub(super) fn may_need_edits(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(_) => is_whole_float(value),
        Value::Bool(_) | Value::String(_) => false,
        Value::Array(items) => items.iter().any(may_need_edits),
        Value::Object(map) => map.values().any(may_need_edits),
    }
}

impl Edits {
    /// Carries them out.
    pub(super) fn apply(self, value: &mut Value) {
        for (way, edit) in &self.list {
            let (parents, last) = match (edit, way.split_last()) {
                (Edit::Remove, Some((last, parents))) => (parents, Some(last)),
                (Edit::Remove | Edit::Whole, _) => (way.as_slice(), None),
            };
            let place = parents
                .iter()
                .try_fold(&mut *value, |value, part| match part {
                    Part::Name(name) => value.get_mut(name.as_str()),
                    Part::Index(index) => value.get_mut(*index),
                });
            match (place, last) {
                (Some(Value::Object(map)), Some(Part::Name(name))) => drop(map.remove(name)),
                (Some(number @ Value::Number(_)), None) => whole(number),
                // Another edit has been there.
                _ => {}
            }
        }
    }

    fn within(
        &mut self,
        part: Part,
        look: impl FnOnce(&mut Self) -> Result<(), Spent>,
    ) -> Result<(), Spent> {
        self.way.push(part);
        let answer = look(self);
        self.way.pop();
        answer
    }
}

fn whole(value: &mut Value) {
    let exact = match &*value {
        Value::Number(number) => {
            values::exact(number).and_then(|number| i64::try_from(number).ok())
        }
        _ => None,
    };
    if let Some(number) = exact {
        *value = number.into();
    }
}

impl<'c> Evaluator<'c> {
    /// The changes that make a value the value that a model meant. A value that is valid as it is
    /// keeps each `null`.
    pub(super) fn edits(
        &mut self,
        node: NodeId,
        value: &Value,
        scope: Scope,
    ) -> Result<Edits, Spent> {
        let mut edits = Edits::default();
        self.mend(node, value, scope, &mut Vec::new(), &mut edits)?;
        Ok(edits)
    }

    /// `required` are the names that outer subschemas want of the same value.
    fn mend(
        &mut self,
        id: NodeId,
        value: &Value,
        scope: Scope,
        required: &mut Vec<&'c Vec<String>>,
        edits: &mut Edits,
    ) -> Result<(), Spent> {
        self.spend(2)?;
        let scope = self.enter(scope, id);
        if !edits.asked.insert((id, scope, std::ptr::from_ref(value))) {
            return Ok(());
        }
        let outer = required.len();
        let checks = &self.node(id).checks;
        required.extend(checks.iter().filter_map(|check| match check {
            Check::Required(names) => Some(names),
            _ => None,
        }));
        for check in checks {
            self.deeper(|this| this.mend_by(check, value, scope, required, edits))?;
        }
        required.truncate(outer);
        Ok(())
    }

    fn mend_by(
        &mut self,
        check: &'c Check,
        value: &Value,
        scope: Scope,
        required: &mut Vec<&'c Vec<String>>,
        edits: &mut Edits,
    ) -> Result<(), Spent> {
        match check {
            Check::Type(types) if types.wants_integer() && is_whole_float(value) => {
                edits.list.push((edits.way.clone(), Edit::Whole));
                Ok(())
            }
            Check::Ref(node) => self.mend(*node, value, scope, required, edits),
            Check::DynamicRef { anchor, otherwise } => {
                let node = self.dynamic(scope, *anchor, *otherwise);
                self.mend(node, value, scope, required, edits)
            }
            Check::AllOf(nodes) => nodes
                .iter()
                .try_for_each(|node| self.mend(*node, value, scope, required, edits)),
            Check::AnyOf(nodes) | Check::OneOf(nodes) => {
                for node in nodes {
                    if self.fits(*node, value, scope, FOLLOWED)? {
                        self.mend(*node, value, scope, required, edits)?;
                    }
                }
                Ok(())
            }
            Check::Properties(properties) => {
                self.mend_properties(properties, value, scope, required, edits)
            }
            Check::Items { first, rest } => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    let Some(node) = first.get(index).copied().or(*rest) else {
                        break;
                    };
                    edits.within(Part::Index(index), |edits| {
                        self.mend(node, item, scope, &mut Vec::new(), edits)
                    })?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn mend_properties(
        &mut self,
        properties: &'c Properties,
        value: &Value,
        scope: Scope,
        required: &[&'c Vec<String>],
        edits: &mut Edits,
    ) -> Result<(), Spent> {
        for (name, member) in value.as_object().into_iter().flatten() {
            let mut nodes = Vec::new();
            self.of_property(properties, name, &mut nodes)?;
            let names = required.iter().map(|names| names.len() as u64).sum();
            self.spend(names)?;
            let may_miss = properties.named.contains_key(name)
                && !required.iter().any(|names| names.contains(name));
            for node in nodes {
                let leaves_out =
                    member.is_null() && may_miss && !self.holds(node, member, scope)?;
                edits.within(Part::Name(name.clone()), |edits| {
                    if leaves_out {
                        edits.list.push((edits.way.clone(), Edit::Remove));
                        return Ok(());
                    }
                    self.mend(node, member, scope, &mut Vec::new(), edits)
                })?;
            }
        }
        Ok(())
    }
}
