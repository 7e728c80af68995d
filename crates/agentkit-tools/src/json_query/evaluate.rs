//! Evaluates a query, as RFC 9535 says, within a number of steps.

use std::{borrow::Cow, cmp::Ordering, collections::HashMap};

use agentkit::event::Failure;
use tokio_util::sync::CancellationToken;

use super::{
    pattern::{Compiled, MAX_TEXT, Pattern},
    query::{Comparison, Condition, Extent, From, Operand, Query, Segment, Selector},
};
use crate::{
    json::{Node, Number},
    workspace::stopped,
};

/// The most steps: each node that is looked at is one, and each KiB that is compared or matched.
const MAX_STEPS: usize = 20_000_000;
/// The most nodes that are held at once.
const MAX_NODES: usize = 2_000_000;
/// Steps between two looks for a cancellation.
const STRIDE: usize = 1 << 16;
/// Patterns of the document that are kept compiled.
const MAX_PATTERNS: usize = 64;
/// How many patterns of the document that cannot be used are told.
const MAX_LISTED: usize = 5;

pub(super) struct Evaluation<'a> {
    root: &'a Node,
    abandoned: &'a CancellationToken,
    steps: usize,
    patterns: HashMap<(String, Extent), Option<Compiled>>,
    /// Patterns of the document that cannot be used, and why: they match nothing.
    unusable: Vec<String>,
}

/// What an expression gives: a value of the document or the query, one that was made, or nothing.
type Found<'a> = Option<Cow<'a, Node>>;

impl<'a> Evaluation<'a> {
    pub(super) fn new(root: &'a Node, abandoned: &'a CancellationToken) -> Self {
        Self {
            root,
            abandoned,
            steps: 0,
            patterns: HashMap::new(),
            unusable: Vec::new(),
        }
    }

    /// The nodes that the query selects, in order.
    pub(super) fn query(&mut self, query: &'a Query) -> Result<Vec<&'a Node>, Failure> {
        self.select(self.root, query)
    }

    /// Patterns of the document that had no match because they cannot be used, and why.
    pub(super) fn into_unusable(self) -> Vec<String> {
        self.unusable
    }

    fn select(&mut self, current: &'a Node, query: &'a Query) -> Result<Vec<&'a Node>, Failure> {
        let mut nodes = vec![match query.from {
            From::Root => self.root,
            From::Current => current,
        }];
        for segment in &query.segments {
            let mut next = Vec::new();
            for node in nodes {
                match segment {
                    Segment::Children(selectors) => self.selectors(node, selectors, &mut next)?,
                    Segment::Descendants(selectors) => {
                        let mut waiting = vec![node];
                        while let Some(node) = waiting.pop() {
                            self.selectors(node, selectors, &mut next)?;
                            let from = waiting.len();
                            waiting.extend(children(node));
                            waiting[from..].reverse();
                        }
                    }
                }
            }
            nodes = next;
        }
        Ok(nodes)
    }

    fn selectors(
        &mut self,
        node: &'a Node,
        selectors: &'a [Selector],
        into: &mut Vec<&'a Node>,
    ) -> Result<(), Failure> {
        for selector in selectors {
            self.selector(node, selector, into)?;
        }
        Ok(())
    }

    fn selector(
        &mut self,
        node: &'a Node,
        selector: &'a Selector,
        into: &mut Vec<&'a Node>,
    ) -> Result<(), Failure> {
        self.step(1)?;
        match selector {
            Selector::Name(name) => into.extend(node.member(name)),
            Selector::Index(index) => into.extend(element(node, *index)),
            Selector::Wildcard => {
                for child in children(node) {
                    self.step(1)?;
                    into.push(child);
                }
            }
            Selector::Slice { start, end, step } => {
                if let Node::Array(items) = node {
                    for at in slice(items.len(), *start, *end, *step) {
                        self.step(1)?;
                        into.push(&items[at]);
                    }
                }
            }
            Selector::Filter(filter) => {
                for child in children(node) {
                    self.step(1)?;
                    if self.holds(child, filter)? {
                        into.push(child);
                    }
                }
            }
        }
        if into.len() > MAX_NODES {
            return Err(too_much("selects too many values"));
        }
        Ok(())
    }

    fn holds(&mut self, node: &'a Node, condition: &'a Condition) -> Result<bool, Failure> {
        self.step(1)?;
        match condition {
            Condition::Any(parts) => {
                for part in parts {
                    if self.holds(node, part)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Condition::All(parts) => {
                for part in parts {
                    if !self.holds(node, part)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Condition::Not(inner) => Ok(!self.holds(node, inner)?),
            Condition::Exists(query) => Ok(!self.select(node, query)?.is_empty()),
            Condition::Compare(left, comparison, right) => {
                let left = self.operand(node, left)?;
                let right = self.operand(node, right)?;
                self.compare(left, *comparison, right)
            }
            Condition::Matches {
                text,
                pattern,
                extent,
            } => {
                let text = self.operand(node, text)?;
                match pattern {
                    Pattern::Literal(compiled) => self.matches(text, compiled),
                    Pattern::Computed(pattern) => {
                        let pattern = self.operand(node, pattern)?;
                        match self.compiled(pattern, *extent)? {
                            Some(compiled) => self.matches(text, &compiled),
                            None => Ok(false),
                        }
                    }
                }
            }
        }
    }

    fn compare(
        &mut self,
        left: Found<'a>,
        comparison: Comparison,
        right: Found<'a>,
    ) -> Result<bool, Failure> {
        let mut same = || -> Result<bool, Failure> {
            match (&left, &right) {
                (None, None) => Ok(true),
                (Some(left), Some(right)) => self.same(left, right),
                (None, Some(_)) | (Some(_), None) => Ok(false),
            }
        };
        let order = || order(left.as_deref()?, right.as_deref()?);
        match comparison {
            Comparison::Equal => same(),
            Comparison::Unequal => Ok(!same()?),
            Comparison::Less => Ok(order() == Some(Ordering::Less)),
            Comparison::Greater => Ok(order() == Some(Ordering::Greater)),
            Comparison::LessOrEqual => Ok(order() == Some(Ordering::Less) || same()?),
            Comparison::GreaterOrEqual => Ok(order() == Some(Ordering::Greater) || same()?),
        }
    }

    fn operand(&mut self, node: &'a Node, operand: &'a Operand) -> Result<Found<'a>, Failure> {
        self.step(1)?;
        let count = |count: usize| Ok(Some(Cow::Owned(Node::Number(Number::from(count)))));
        match operand {
            Operand::Literal(value) => Ok(Some(Cow::Borrowed(value))),
            Operand::Query(query) => {
                let found = self.select(node, query)?;
                Ok(found.first().map(|node| Cow::Borrowed(*node)))
            }
            Operand::Length(inner) => match self.operand(node, inner)?.as_deref() {
                Some(Node::String(text)) => {
                    self.step(text.len() / 1024)?;
                    count(text.chars().count())
                }
                Some(Node::Array(items)) => count(items.len()),
                Some(Node::Object(members)) => count(members.len()),
                Some(Node::Null | Node::Bool(_) | Node::Number(_)) | None => Ok(None),
            },
            Operand::Count(query) => count(self.select(node, query)?.len()),
            Operand::Value(query) => match self.select(node, query)?.as_slice() {
                [one] => Ok(Some(Cow::Borrowed(one))),
                _ => Ok(None),
            },
        }
    }

    /// The pattern that a value of the document holds, if the value is a pattern.
    fn compiled(
        &mut self,
        pattern: Found<'a>,
        extent: Extent,
    ) -> Result<Option<Compiled>, Failure> {
        let Some(Node::String(pattern)) = pattern.as_deref() else {
            return Ok(None);
        };
        let key = (pattern.to_string(), extent);
        if let Some(known) = self.patterns.get(&key) {
            return Ok(known.clone());
        }
        if self.patterns.len() >= MAX_PATTERNS {
            self.patterns.clear();
        }
        // To compile one takes as long as many steps.
        self.step(1000 + pattern.len())?;
        let compiled = match Compiled::of_document(pattern, extent) {
            Ok(compiled) => Some(compiled),
            Err(problem) => {
                if self.unusable.len() < MAX_LISTED && !self.unusable.contains(&problem) {
                    self.unusable.push(problem);
                }
                None
            }
        };
        self.patterns.insert(key, compiled.clone());
        Ok(compiled)
    }

    /// Whether a text matches a pattern (RFC 9485); what is no text does not.
    fn matches(&mut self, text: Found<'a>, pattern: &Compiled) -> Result<bool, Failure> {
        let Some(Node::String(text)) = text.as_deref() else {
            return Ok(false);
        };
        if text.len() > MAX_TEXT {
            return Err(too_much("matches a text of more than 4 MiB"));
        }
        self.step((1 + text.len() / 64).saturating_mul(pattern.weight))?;
        Ok(pattern.regex.is_match(text))
    }

    /// Whether two values are equal; numbers are by their exact value.
    fn same(&mut self, left: &Node, right: &Node) -> Result<bool, Failure> {
        self.step(1)?;
        match (left, right) {
            (Node::Number(left), Node::Number(right)) => {
                self.step(left.len().min(right.len()) / 1024)?;
                Ok(left == right)
            }
            (Node::Array(left), Node::Array(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right) {
                    if !self.same(left, right)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Node::Object(left), Node::Object(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for ((name, left), (other, right)) in left.iter().zip(right) {
                    if name != other || !self.same(left, right)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Node::String(left), Node::String(right)) => {
                self.step(left.len().min(right.len()) / 1024)?;
                Ok(left == right)
            }
            (left, right) => Ok(left == right),
        }
    }

    fn step(&mut self, count: usize) -> Result<(), Failure> {
        let before = self.steps / STRIDE;
        self.steps = self.steps.saturating_add(count);
        if self.steps > MAX_STEPS {
            return Err(too_much("takes too many steps"));
        }
        if self.steps / STRIDE != before && self.abandoned.is_cancelled() {
            return Err(stopped());
        }
        Ok(())
    }
}

fn too_much(what: &str) -> Failure {
    let message = format!("the query {what} on this document: make it more exact");
    Failure::last("query_too_expensive", message)
}

fn children(node: &Node) -> Box<dyn Iterator<Item = &Node> + '_> {
    match node {
        Node::Array(items) => Box::new(items.iter()),
        Node::Object(members) => Box::new(members.iter().map(|(_, member)| member)),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => {
            Box::new(std::iter::empty())
        }
    }
}

/// An element of an array; a negative index counts from the end.
fn element(node: &Node, index: i64) -> Option<&Node> {
    let Node::Array(items) = node else {
        return None;
    };
    let index = if index < 0 {
        items
            .len()
            .checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
    } else {
        usize::try_from(index).ok()?
    };
    items.get(index)
}

/// The indices of a slice (RFC 9535, 2.3.4.2.2).
fn slice(
    len: usize,
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
) -> Box<dyn Iterator<Item = usize>> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let stride = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
    let normal = |at: i64| if at < 0 { len.saturating_add(at) } else { at };
    let index = |at: i64| usize::try_from(at).ok();
    if step > 0 {
        let from = normal(start.unwrap_or(0)).clamp(0, len);
        let to = normal(end.unwrap_or(len)).clamp(0, len);
        Box::new((from..to).step_by(stride).filter_map(index))
    } else if step < 0 {
        let from = start.map_or(len - 1, normal).clamp(-1, len - 1);
        let to = end.map_or(-1, normal).clamp(-1, len - 1);
        Box::new((to + 1..=from).rev().step_by(stride).filter_map(index))
    } else {
        Box::new(std::iter::empty())
    }
}

/// Numbers and texts have an order, each among themselves.
fn order(left: &Node, right: &Node) -> Option<Ordering> {
    match (left, right) {
        (Node::Number(left), Node::Number(right)) => Some(left.cmp(right)),
        (Node::String(left), Node::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}
