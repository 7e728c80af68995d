//! A query as RFC 9535 means it, and the bounds of its text.

use agentkit::event::Failure;

use super::{parse, pattern::Pattern};
use crate::json::Node;

const MAX_LENGTH: usize = 1024;

/// A query from the root of the document, or from the node that a filter looks at.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) from: From,
    pub(super) segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Root,
    Current,
}

#[derive(Debug)]
pub(super) enum Segment {
    Children(Vec<Selector>),
    Descendants(Vec<Selector>),
}

#[derive(Debug)]
pub(super) enum Selector {
    Name(String),
    Wildcard,
    Index(i64),
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Filter(Condition),
}

/// A condition on a node.
#[derive(Debug)]
pub(super) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Query),
    Compare(Operand, Comparison, Operand),
    /// The functions `match` and `search`.
    Matches {
        text: Operand,
        pattern: Pattern,
        extent: Extent,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How much of a text a pattern has to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Extent {
    /// All of it: `match`.
    Whole,
    /// Any part: `search`.
    Part,
}

/// One value, or no value.
#[derive(Debug)]
pub(super) enum Operand {
    Literal(Node),
    /// A singular query: of names and indices alone.
    Query(Query),
    Length(Box<Operand>),
    Count(Query),
    Value(Query),
}

impl Query {
    /// Whether the query selects one node at the most.
    pub(super) fn is_singular(&self) -> bool {
        let one = |segment: &Segment| match segment {
            Segment::Children(selectors) => {
                matches!(selectors[..], [Selector::Name(_) | Selector::Index(_)])
            }
            Segment::Descendants(_) => false,
        };
        self.segments.iter().all(one)
    }
}

/// The query, if the expression is a query.
pub(super) fn read(text: &str) -> Result<Query, Failure> {
    if text.len() > MAX_LENGTH {
        let size = text.len();
        return Err(invalid(&format!(
            "it has {size} bytes, and {MAX_LENGTH} is the limit"
        )));
    }
    parse::query(text).map_err(|problem| {
        let column = text[..problem.at].chars().count() + 1;
        let hint = problem
            .hint
            .map_or(String::new(), |hint| format!("; {hint}"));
        invalid(&format!("{} at column {column}{hint}", problem.what))
    })
}

fn invalid(problem: &str) -> Failure {
    let message = format!("the query is not JSONPath (RFC 9535): {problem}");
    Failure::last("invalid_query", message)
}
