//! Evaluates a query, as RFC 9535 says, within a number of steps.

use std::{cmp::Ordering, collections::HashMap};

use agentkit::event::Failure;
use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, Literal, Segment, Selector, SingularQuery,
    SingularQuerySegment, Test, TestFunction,
};
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::workspace::stopped;

/// The most steps: each node that is looked at is one, and each KiB that is compared or matched.
const MAX_STEPS: usize = 20_000_000;
/// The most nodes that are held at once.
const MAX_NODES: usize = 2_000_000;
/// How many steps are taken before somebody may stop them.
const STRIDE: usize = 1 << 16;
/// The most memory of a compiled pattern, in bytes.
const MAX_COMPILED: usize = 256 << 10;
/// Patterns that are kept compiled: most queries hold one.
const MAX_PATTERNS: usize = 64;

pub(super) struct Evaluation<'a> {
    root: &'a Value,
    abandoned: &'a CancellationToken,
    steps: usize,
    patterns: HashMap<String, Option<Regex>>,
}

/// What an expression gives: a value of the document, one that was made, or nothing.
type Operand<'a> = Option<std::borrow::Cow<'a, Value>>;

impl<'a> Evaluation<'a> {
    pub(super) fn new(root: &'a Value, abandoned: &'a CancellationToken) -> Self {
        Self {
            root,
            abandoned,
            steps: 0,
            patterns: HashMap::new(),
        }
    }

    /// The nodes that the query selects, in order.
    pub(super) fn query(&mut self, segments: &[Segment]) -> Result<Vec<&'a Value>, Failure> {
        self.select(self.root, segments)
    }

    fn select(&mut self, from: &'a Value, segments: &[Segment]) -> Result<Vec<&'a Value>, Failure> {
        let mut nodes = vec![from];
        for segment in segments {
            let mut next = Vec::new();
            for node in nodes {
                self.segment(node, segment, &mut next)?;
            }
            nodes = next;
        }
        Ok(nodes)
    }

    fn segment(
        &mut self,
        node: &'a Value,
        segment: &Segment,
        into: &mut Vec<&'a Value>,
    ) -> Result<(), Failure> {
        match segment {
            Segment::Selector(selector) => self.selector(node, selector, into),
            Segment::Selectors(selectors) => {
                for selector in selectors {
                    self.selector(node, selector, into)?;
                }
                Ok(())
            }
            Segment::Descendant(inner) => {
                self.segment(node, inner, into)?;
                for child in children(node) {
                    self.segment(child, segment, into)?;
                }
                Ok(())
            }
        }
    }

    fn selector(
        &mut self,
        node: &'a Value,
        selector: &Selector,
        into: &mut Vec<&'a Value>,
    ) -> Result<(), Failure> {
        self.step(1)?;
        match selector {
            Selector::Name(name) => into.extend(node.get(name.as_str())),
            Selector::Index(index) => into.extend(element(node, *index)),
            Selector::Wildcard => {
                for child in children(node) {
                    self.step(1)?;
                    into.push(child);
                }
            }
            Selector::Slice(start, end, step) => {
                if let Value::Array(items) = node {
                    for at in slice(items.len(), *start, *end, step.unwrap_or(1)) {
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

    fn holds(&mut self, node: &'a Value, filter: &Filter) -> Result<bool, Failure> {
        match filter {
            Filter::Or(parts) => {
                for part in parts {
                    if self.holds(node, part)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::And(parts) => {
                for part in parts {
                    if !self.holds(node, part)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Atom(FilterAtom::Filter { expr, not }) => Ok(self.holds(node, expr)? != *not),
            Filter::Atom(FilterAtom::Test { expr, not }) => Ok(self.test(node, expr)? != *not),
            Filter::Atom(FilterAtom::Comparison(comparison)) => self.compare(node, comparison),
        }
    }

    fn test(&mut self, node: &'a Value, test: &Test) -> Result<bool, Failure> {
        self.step(1)?;
        match test {
            Test::RelQuery(segments) => Ok(!self.select(node, segments)?.is_empty()),
            Test::AbsQuery(query) => Ok(!self.select(self.root, &query.segments)?.is_empty()),
            Test::Function(function) => {
                let value = self.function(node, function)?;
                Ok(value.is_some_and(|value| *value == Value::Bool(true)))
            }
        }
    }

    fn compare(&mut self, node: &'a Value, comparison: &Comparison) -> Result<bool, Failure> {
        let (left, right) = comparison.vals();
        let left = self.operand(node, left)?;
        let right = self.operand(node, right)?;
        self.step(1)?;
        let mut same = || -> Result<bool, Failure> {
            match (&left, &right) {
                (None, None) => Ok(true),
                (Some(left), Some(right)) => self.same(left, right),
                _ => Ok(false),
            }
        };
        let order = || order(left.as_deref()?, right.as_deref()?);
        match comparison {
            Comparison::Eq(..) => same(),
            Comparison::Ne(..) => Ok(!same()?),
            Comparison::Lt(..) => Ok(order() == Some(Ordering::Less)),
            Comparison::Gt(..) => Ok(order() == Some(Ordering::Greater)),
            Comparison::Lte(..) => Ok(order() == Some(Ordering::Less) || same()?),
            Comparison::Gte(..) => Ok(order() == Some(Ordering::Greater) || same()?),
        }
    }

    fn operand(
        &mut self,
        node: &'a Value,
        comparable: &Comparable,
    ) -> Result<Operand<'a>, Failure> {
        use std::borrow::Cow;
        match comparable {
            Comparable::Literal(value) => Ok(Some(Cow::Owned(literal(value)))),
            Comparable::Function(function) => self.function(node, function),
            Comparable::SingularQuery(query) => {
                let (from, segments) = match query {
                    SingularQuery::Current(segments) => (node, segments),
                    SingularQuery::Root(segments) => (self.root, segments),
                };
                let found = segments
                    .iter()
                    .try_fold(from, |node, segment| match segment {
                        SingularQuerySegment::Index(index) => element(node, *index),
                        SingularQuerySegment::Name(name) => node.get(name.as_str()),
                    });
                Ok(found.map(Cow::Borrowed))
            }
        }
    }

    fn function(
        &mut self,
        node: &'a Value,
        function: &TestFunction,
    ) -> Result<Operand<'a>, Failure> {
        use std::borrow::Cow;
        let made = |value: Value| Ok(Some(Cow::Owned(value)));
        match function {
            TestFunction::Length(argument) => {
                let length = match self.argument(node, argument)?.as_deref() {
                    Some(Value::String(text)) => {
                        self.step(text.len() / 1024)?;
                        text.chars().count()
                    }
                    Some(Value::Array(items)) => items.len(),
                    Some(Value::Object(members)) => members.len(),
                    Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {
                        return Ok(None);
                    }
                };
                made(length.into())
            }
            TestFunction::Count(argument) => made(self.nodes(node, argument)?.len().into()),
            TestFunction::Value(argument) => match self.nodes(node, argument)?.as_slice() {
                [one] => Ok(Some(Cow::Borrowed(one))),
                _ => Ok(None),
            },
            TestFunction::Search(text, pattern) => {
                let (text, pattern) = (self.argument(node, text)?, self.argument(node, pattern)?);
                made(self.matches(text, pattern, "(?:", ")")?.into())
            }
            TestFunction::Match(text, pattern) => {
                let (text, pattern) = (self.argument(node, text)?, self.argument(node, pattern)?);
                made(self.matches(text, pattern, r"\A(?:", r")\z")?.into())
            }
            // Refused when the query was read.
            TestFunction::Custom(..) => Ok(None),
        }
    }

    /// The value of an argument; none if a query selects no node, or more than one.
    fn argument(&mut self, node: &'a Value, argument: &FnArg) -> Result<Operand<'a>, Failure> {
        use std::borrow::Cow;
        match argument {
            FnArg::Literal(value) => Ok(Some(Cow::Owned(literal(value)))),
            FnArg::Test(test) => match &**test {
                Test::Function(function) => self.function(node, function),
                Test::RelQuery(_) | Test::AbsQuery(_) => {
                    match self.nodes(node, argument)?.as_slice() {
                        [one] => Ok(Some(Cow::Borrowed(one))),
                        _ => Ok(None),
                    }
                }
            },
            FnArg::Filter(_) => Ok(None),
        }
    }

    /// The nodes that a query as an argument selects.
    fn nodes(&mut self, node: &'a Value, argument: &FnArg) -> Result<Vec<&'a Value>, Failure> {
        self.step(1)?;
        match argument {
            FnArg::Test(test) => match &**test {
                Test::RelQuery(segments) => self.select(node, segments),
                Test::AbsQuery(query) => self.select(self.root, &query.segments),
                Test::Function(_) => Ok(Vec::new()),
            },
            FnArg::Literal(_) | FnArg::Filter(_) => Ok(Vec::new()),
        }
    }

    /// Whether a text matches a pattern (RFC 9485); what is no text or no pattern does not.
    fn matches(
        &mut self,
        text: Operand<'a>,
        pattern: Operand<'a>,
        before: &str,
        after: &str,
    ) -> Result<bool, Failure> {
        let (Some(Value::String(text)), Some(Value::String(pattern))) =
            (text.as_deref(), pattern.as_deref())
        else {
            return Ok(false);
        };
        self.step(1 + text.len() / 64)?;
        let pattern = format!("{before}{pattern}{after}");
        if self.patterns.len() > MAX_PATTERNS {
            self.patterns.clear();
        }
        if !self.patterns.contains_key(&pattern) {
            // To compile one takes as long as many steps.
            self.step(1000 + pattern.len())?;
            let compiled = RegexBuilder::new(&pattern)
                .size_limit(MAX_COMPILED)
                .dfa_size_limit(MAX_COMPILED)
                .build();
            self.patterns.insert(pattern.clone(), compiled.ok());
        }
        let regex = self.patterns.get(&pattern).and_then(Option::as_ref);
        Ok(regex.is_some_and(|regex| regex.is_match(text)))
    }

    /// Whether two values are equal; numbers are by their value.
    fn same(&mut self, left: &Value, right: &Value) -> Result<bool, Failure> {
        self.step(1)?;
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => {
                Ok(left == right || left.as_f64() == right.as_f64())
            }
            (Value::Array(left), Value::Array(right)) => {
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
            (Value::Object(left), Value::Object(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (name, left) in left {
                    match right.get(name) {
                        Some(right) if self.same(left, right)? => {}
                        Some(_) | None => return Ok(false),
                    }
                }
                Ok(true)
            }
            (Value::String(left), Value::String(right)) => {
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

fn children(node: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match node {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Box::new(std::iter::empty())
        }
    }
}

/// An element of an array; a negative index counts from the end.
fn element(node: &Value, index: i64) -> Option<&Value> {
    let Value::Array(items) = node else {
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

fn literal(literal: &Literal) -> Value {
    match literal {
        Literal::Int(number) => (*number).into(),
        Literal::Float(number) => (*number).into(),
        Literal::String(text) => text.as_str().into(),
        Literal::Bool(truth) => (*truth).into(),
        Literal::Null => Value::Null,
    }
}

/// Numbers and texts have an order, each among themselves.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}
