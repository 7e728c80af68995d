//! Whether a value is valid: counted, and each question asked once.
//!
//! A verdict belongs to a subschema and a value. Without keeping verdicts, alternatives that recurse
//! are asked `alternatives ^ depth` times, and 37 definitions of `allOf` with two references to the
//! next one are asked 2^37 times about the number `1`. With the verdicts kept of whatever can be
//! asked twice, the work is at most subschemas times parts of the value; the count bounds that
//! product too.

mod parts;
mod seen;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{
    keyword::{Check, Compiled, Leaf, LeafCheck, Node, NodeId, ResourceId},
    patterns::Pattern,
    values::{self, Same, compare, weight},
};
use crate::pool::Stop;

/// Bounds of looking at a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Steps, of some 10 ns each.
    pub(super) steps: u64,
    /// How deep questions may nest.
    pub(super) depth: u32,
}

/// What is done where it is asked for: less than a millisecond, on any stack.
pub(super) const INLINE_BUDGET: Budget = Budget {
    steps: 20_000,
    depth: 400,
};
/// What is done at all: about half a second.
pub(super) const FULL: Budget = Budget {
    steps: 40_000_000,
    depth: 12_000,
};
/// Cost of keeping a verdict. It bounds their number, and so the memory for them.
const KEEPING: u64 = 40;
/// How often the caller's mark is looked at, in steps.
const LOOK: u64 = 4_096;

/// Why there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// The steps are used up, questions nest too deep, or a pattern gave up.
    Budget,
    /// The caller has gone.
    Stopped,
}

/// The dynamic anchors that hold, by number.
pub(super) type Scope = u32;

pub(super) struct Evaluator<'c> {
    pub(super) compiled: &'c Compiled,
    left: u64,
    depth: u32,
    look_at: u64,
    stop: Option<&'c Stop>,
    kept: HashMap<(NodeId, Scope, *const Value), bool>,
    /// By scope and anchor: the outermost schema with it.
    scopes: Vec<Vec<Option<NodeId>>>,
    entered: HashMap<(Scope, ResourceId), Scope>,
}

/// The scope outside of all resources.
pub(super) const NO_RESOURCE: Scope = 0;

type Holds = Result<bool, Spent>;

impl<'c> Evaluator<'c> {
    pub(super) fn new(compiled: &'c Compiled, budget: Budget, stop: Option<&'c Stop>) -> Self {
        Self {
            compiled,
            left: budget.steps,
            depth: budget.depth,
            look_at: budget.steps.saturating_sub(LOOK),
            stop,
            kept: HashMap::new(),
            scopes: vec![vec![None; compiled.anchors as usize]],
            entered: HashMap::new(),
        }
    }

    /// Allows so many steps more, to name the mistakes.
    pub(super) fn allow(&mut self, steps: u64) {
        self.left += steps;
    }

    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Spent> {
        self.left = self.left.checked_sub(steps).ok_or(Spent::Budget)?;
        if self.left <= self.look_at {
            self.look_at = self.left.saturating_sub(LOOK);
            if self.stop.is_some_and(Stop::is_set) {
                return Err(Spent::Stopped);
            }
        }
        Ok(())
    }

    pub(super) fn deeper<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, Spent>,
    ) -> Result<T, Spent> {
        let less = u32::from(!units::mutant!("bounded.depth"));
        self.depth = self.depth.checked_sub(less).ok_or(Spent::Budget)?;
        let answer = ask(self);
        self.depth += less;
        answer
    }

    pub(super) fn node(&self, node: NodeId) -> &'c Node {
        &self.compiled.nodes[node as usize]
    }

    /// The scope within a node: the anchors of its resource hold, unless outer ones do.
    pub(super) fn enter(&mut self, scope: Scope, node: NodeId) -> Scope {
        if self.compiled.anchors == 0 {
            return scope;
        }
        let resource = self.node(node).resource;
        let own = &self.compiled.dynamic[resource as usize];
        if own.is_empty() {
            return scope;
        }
        if let Some(known) = self.entered.get(&(scope, resource)) {
            return *known;
        }
        let mut anchors = self.scopes[scope as usize].clone();
        for (anchor, node) in own {
            anchors[*anchor as usize].get_or_insert(*node);
        }
        let known = self.scopes.iter().position(|known| *known == anchors);
        let inner = known.unwrap_or(self.scopes.len()) as Scope;
        if known.is_none() {
            self.scopes.push(anchors);
        }
        self.entered.insert((scope, resource), inner);
        inner
    }

    /// Where a dynamic reference leads in this scope.
    pub(super) fn dynamic(&self, scope: Scope, anchor: u32, otherwise: NodeId) -> NodeId {
        self.scopes[scope as usize][anchor as usize].unwrap_or(otherwise)
    }

    /// Whether a value is valid.
    pub(super) fn holds(&mut self, id: NodeId, value: &Value, scope: Scope) -> Holds {
        self.spend(1)?;
        let scope = self.enter(scope, id);
        let node = self.node(id);
        let key = (id, scope, std::ptr::from_ref(value));
        if node.keeps
            && let Some(known) = self.kept.get(&key)
        {
            return Ok(*known);
        }
        let mut holds = true;
        for check in &node.checks {
            if !self.passes(id, check, value, scope)? {
                holds = false;
                break;
            }
        }
        if node.keeps {
            self.spend(KEEPING)?;
            self.kept.insert(key, holds);
        }
        Ok(holds)
    }

    /// Whether a value passes one check of a node.
    pub(super) fn passes(
        &mut self,
        id: NodeId,
        check: &'c Check,
        value: &Value,
        scope: Scope,
    ) -> Holds {
        match self.asserts(check, value)? {
            Some(passes) => Ok(passes),
            None => self.deeper(|this| this.applies(id, check, value, scope)),
        }
    }

    /// Keywords that ask no other subschema; none for those that do.
    pub(super) fn asserts(
        &mut self,
        check: &'c Check,
        value: &Value,
    ) -> Result<Option<bool>, Spent> {
        self.spend(1)?;
        let passes = match (check, value) {
            (Check::Never, _) => false,
            (Check::Type(types), _) => types.takes(value),
            (Check::Const(wanted), _) => {
                self.spend(weight(wanted, u64::MAX))?;
                Same(wanted) == Same(value)
            }
            (Check::Enum(options), _) => {
                let by_hash = options.texts.is_some() && value.is_string();
                self.spend(if by_hash { 1 } else { options.cost })?;
                options.has(value)
            }
            (Check::Minimum { limit, exclusive }, Value::Number(number)) => {
                let order = compare(number, limit);
                order.is_gt() || (order.is_eq() && !exclusive)
            }
            (Check::Maximum { limit, exclusive }, Value::Number(number)) => {
                let order = compare(number, limit);
                order.is_lt() || (order.is_eq() && !exclusive)
            }
            (Check::MinLength(least), Value::String(text)) => self.length(text)? >= *least,
            (Check::MaxLength(most), Value::String(text)) => self.length(text)? <= *most,
            (Check::Pattern(pattern), Value::String(text)) => self.matches(pattern, text)?,
            (Check::MinItems(least), Value::Array(items)) => items.len() as u64 >= *least,
            (Check::MaxItems(most), Value::Array(items)) => items.len() as u64 <= *most,
            (Check::UniqueItems, Value::Array(items)) => {
                self.spend(3 * weight(value, self.left))?;
                let mut seen = HashSet::with_capacity(items.len());
                items.iter().all(|item| seen.insert(Same(item)))
            }
            (Check::MinProperties(least), Value::Object(map)) => map.len() as u64 >= *least,
            (Check::MaxProperties(most), Value::Object(map)) => map.len() as u64 <= *most,
            (Check::Required(names), Value::Object(map)) => {
                self.spend(names.len() as u64)?;
                names.iter().all(|name| map.contains_key(name))
            }
            (Check::DependentRequired(all), Value::Object(map)) => {
                let names = all.iter().map(|(_, names)| 1 + names.len() as u64);
                self.spend(names.sum())?;
                let holds = |(name, names): &(String, Vec<String>)| {
                    !map.contains_key(name) || names.iter().all(|name| map.contains_key(name))
                };
                all.iter().all(holds)
            }
            (Check::Leaf(leaf), _) => self.leaf(leaf, value)?,
            (
                Check::Minimum { .. }
                | Check::Maximum { .. }
                | Check::MinLength(_)
                | Check::MaxLength(_)
                | Check::Pattern(_)
                | Check::MinItems(_)
                | Check::MaxItems(_)
                | Check::UniqueItems
                | Check::MinProperties(_)
                | Check::MaxProperties(_)
                | Check::Required(_)
                | Check::DependentRequired(_),
                _,
            ) => true,
            (
                Check::Ref(_)
                | Check::DynamicRef { .. }
                | Check::AllOf(_)
                | Check::AnyOf(_)
                | Check::OneOf(_)
                | Check::Not(_)
                | Check::If { .. }
                | Check::DependentSchemas(_)
                | Check::Properties(_)
                | Check::PropertyNames(_)
                | Check::Items { .. }
                | Check::Contains { .. }
                | Check::UnevaluatedProperties(_)
                | Check::UnevaluatedItems(_),
                _,
            ) => return Ok(None),
        };
        Ok(Some(passes))
    }

    fn length(&mut self, text: &str) -> Result<u64, Spent> {
        self.spend(text.len() as u64 / 32)?;
        Ok(text.chars().count() as u64)
    }

    fn matches(&mut self, pattern: &Pattern, text: &str) -> Holds {
        self.spend(pattern.cost(text.len()))?;
        pattern.matches(text).ok_or(Spent::Budget)
    }

    fn leaf(&mut self, leaf: &Leaf, value: &Value) -> Holds {
        let (is_about, each) = match (&leaf.check, leaf.keyword) {
            (LeafCheck::Validator(_), "multipleOf") => (value.is_number(), 20),
            (LeafCheck::Validator(_), _) => (value.is_string(), 20),
            (LeafCheck::Schema(_), _) => (true, 200),
        };
        if !is_about {
            return Ok(true);
        }
        self.spend(each * weight(value, self.left))?;
        Ok(match &leaf.check {
            LeafCheck::Validator(validator) => validator.is_valid(value),
            LeafCheck::Schema(draft) => is_schema(*draft, value),
        })
    }

    /// Keywords that ask other subschemas, about the value or its parts.
    fn applies(&mut self, id: NodeId, check: &'c Check, value: &Value, scope: Scope) -> Holds {
        match check {
            Check::Ref(node) => self.holds(*node, value, scope),
            Check::DynamicRef { anchor, otherwise } => {
                let node = self.dynamic(scope, *anchor, *otherwise);
                self.holds(node, value, scope)
            }
            Check::AllOf(nodes) => self.all(nodes, value, scope),
            Check::AnyOf(nodes) => Ok(self.count(nodes, value, scope, 1)? > 0),
            Check::OneOf(nodes) => Ok(self.count(nodes, value, scope, 2)? == 1),
            Check::Not(node) => Ok(!self.holds(*node, value, scope)?),
            Check::If {
                condition,
                then,
                otherwise,
            } => {
                let branch = match self.holds(*condition, value, scope)? {
                    true => then,
                    false => otherwise,
                };
                branch.map_or(Ok(true), |node| self.holds(node, value, scope))
            }
            Check::DependentSchemas(nodes) => self.dependent(nodes, value, scope),
            Check::Properties(properties) => self.properties(properties, value, scope),
            Check::PropertyNames(node) => self.names(*node, value, scope),
            Check::Items { first, rest } => self.items(first, *rest, value, scope),
            Check::Contains {
                node, least, most, ..
            } => {
                let found =
                    self.containing(*node, value, scope, most.map_or(*least, |_| u64::MAX))?;
                Ok(found
                    .is_none_or(|found| found >= *least && most.is_none_or(|most| found <= most)))
            }
            Check::UnevaluatedProperties(node) => {
                let Value::Object(map) = value else {
                    return Ok(true);
                };
                let seen = self.seen(id, check, value, scope)?;
                for (name, member) in map {
                    if !seen.has_name(name) && !self.holds(*node, member, scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Check::UnevaluatedItems(node) => {
                let Value::Array(items) = value else {
                    return Ok(true);
                };
                let seen = self.seen(id, check, value, scope)?;
                for (index, item) in items.iter().enumerate() {
                    if !seen.has_item(index) && !self.holds(*node, item, scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn all(&mut self, nodes: &[NodeId], value: &Value, scope: Scope) -> Holds {
        for node in nodes {
            if !self.holds(*node, value, scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many of these hold; it stops counting at `most`.
    pub(super) fn count(
        &mut self,
        nodes: &[NodeId],
        value: &Value,
        scope: Scope,
        most: usize,
    ) -> Result<usize, Spent> {
        let mut found = 0;
        for node in nodes {
            if self.holds(*node, value, scope)? {
                found += 1;
                if found == most {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn dependent(&mut self, nodes: &[(String, NodeId)], value: &Value, scope: Scope) -> Holds {
        for (name, node) in nodes {
            if value.get(name).is_some() && !self.holds(*node, value, scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_schema(draft: jsonschema::Draft, value: &Value) -> bool {
    // The library needs as much of the stack as the value nests.
    let shallow = super::compile::measure(value).is_ok();
    shallow
        && match draft {
            jsonschema::Draft::Draft4 => jsonschema::draft4::meta::is_valid(value),
            jsonschema::Draft::Draft6 => jsonschema::draft6::meta::is_valid(value),
            jsonschema::Draft::Draft7 => jsonschema::draft7::meta::is_valid(value),
            jsonschema::Draft::Draft201909 => jsonschema::draft201909::meta::is_valid(value),
            _ => jsonschema::draft202012::meta::is_valid(value),
        }
}

/// Whether a value is a whole number that is written with a fraction.
pub(super) fn is_whole_float(value: &Value) -> bool {
    matches!(value, Value::Number(number) if number.is_f64() && values::exact(number).is_some())
}
