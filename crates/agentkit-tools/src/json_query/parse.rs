//! Reads a query by the grammar of RFC 9535, and refuses other texts with a hint.
//!
//! Models write what other dialects of JSONPath know: `in`, `is null`, `size`, arithmetic. A reader
//! that takes such words for a part of a name answers with nothing, which looks like an answer. So
//! the grammar is kept to the letter: white space only where it may stand, names of plain
//! characters, each function with the kind of argument that it takes.

mod cursor;

use super::{
    pattern::Pattern,
    query::{Comparison, Condition, Extent, From, Operand, Query, Segment, Selector},
};
use crate::json::{Node, Number};

/// How deep filters, parentheses and functions nest.
const MAX_DEPTH: usize = 16;

/// A mistake of a query, and its byte.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) at: usize,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

type Result<T> = std::result::Result<T, Problem>;

pub(super) fn query(text: &str) -> Result<Query> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    if !parser.eat("$") {
        return Err(parser.wrong("it has to begin with `$`"));
    }
    let segments = parser.segments()?;
    if parser.at < text.len() {
        return Err(parser.wrong("expected `.`, `..`, `[` or the end"));
    }
    Ok(Query {
        from: From::Root,
        segments,
    })
}

struct Parser<'a> {
    text: &'a str,
    /// The next byte to read; always between two characters.
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn segments(&mut self) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        loop {
            let before = self.at;
            self.space();
            if self.eat("..") {
                segments.push(Segment::Descendants(self.selectors("..")?));
            } else if self.eat(".") {
                if self.peek() == Some('[') {
                    return Err(self.wrong("expected a name or `*` after `.`"));
                }
                segments.push(Segment::Children(self.selectors(".")?));
            } else if self.peek() == Some('[') {
                segments.push(Segment::Children(self.bracketed()?));
            } else {
                self.at = before;
                return Ok(segments);
            }
        }
    }

    /// What comes after `.` or `..`.
    fn selectors(&mut self, after: &str) -> Result<Vec<Selector>> {
        match self.peek() {
            Some('[') => self.bracketed(),
            Some('*') => {
                self.at += 1;
                Ok(vec![Selector::Wildcard])
            }
            Some(c) if is_name_start(c) => {
                let name = self.take(|c| is_name_start(c) || c.is_ascii_digit());
                Ok(vec![Selector::Name(name.to_owned())])
            }
            Some(_) | None => Err(self.wrong(&format!("expected a name or `*` after `{after}`"))),
        }
    }

    fn bracketed(&mut self) -> Result<Vec<Selector>> {
        self.at += 1;
        self.space();
        let mut selectors = vec![self.selector()?];
        loop {
            self.space();
            if self.eat("]") {
                return Ok(selectors);
            }
            if !self.eat(",") {
                return Err(self.wrong("expected `,` or `]`"));
            }
            self.space();
            selectors.push(self.selector()?);
        }
    }

    fn selector(&mut self) -> Result<Selector> {
        match self.peek() {
            Some('\'' | '"') => Ok(Selector::Name(self.string()?)),
            Some('*') => {
                self.at += 1;
                Ok(Selector::Wildcard)
            }
            Some('?') => {
                self.at += 1;
                self.space();
                Ok(Selector::Filter(self.deeper(Self::condition)?))
            }
            Some('-' | ':' | '0'..='9') => self.index_or_slice(),
            Some(_) | None => {
                Err(self
                    .wrong("expected a name in quotes, an index, a slice, `*` or a filter `?...`"))
            }
        }
    }

    fn index_or_slice(&mut self) -> Result<Selector> {
        let start = self.index()?;
        let after = self.at;
        self.space();
        if !self.eat(":") {
            self.at = after;
            return match start {
                Some(index) => Ok(Selector::Index(index)),
                None => Err(self.wrong("expected an index")),
            };
        }
        self.space();
        let end = self.index()?;
        let after = self.at;
        self.space();
        let step = if self.eat(":") {
            self.space();
            self.index()?
        } else {
            self.at = after;
            None
        };
        Ok(Selector::Slice {
            start,
            end,
            step: step.unwrap_or(1),
        })
    }

    fn condition(&mut self) -> Result<Condition> {
        let first = self.all()?;
        let mut parts = vec![first];
        while self.operator("||") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition> {
        let mut parts = vec![self.basic()?];
        while self.operator("&&") {
            parts.push(self.basic()?);
        }
        Ok(one_or(parts, Condition::All))
    }

    fn operator(&mut self, operator: &str) -> bool {
        let before = self.at;
        self.space();
        if self.eat(operator) {
            self.space();
            return true;
        }
        self.at = before;
        false
    }

    fn basic(&mut self) -> Result<Condition> {
        let negated = self.eat("!");
        if negated {
            self.space();
        }
        let from = self.at;
        let condition = if self.peek() == Some('(') {
            self.parenthesised()?
        } else {
            self.test_or_comparison()?
        };
        if !negated {
            return Ok(condition);
        }
        if matches!(condition, Condition::Compare(..)) {
            return Err(self.wrong_at(
                from,
                "`!` stands before a test or before parentheses, not before a comparison",
            ));
        }
        Ok(Condition::Not(Box::new(condition)))
    }

    fn parenthesised(&mut self) -> Result<Condition> {
        self.at += 1;
        self.space();
        let condition = self.deeper(Self::condition)?;
        self.space();
        if !self.eat(")") {
            return Err(self.wrong("expected `)`"));
        }
        let before = self.at;
        if self.comparison().is_some() {
            return Err(self.wrong_at(
                before,
                "parentheses hold a condition, which cannot be compared: leave them out",
            ));
        }
        // A comparison is not negated, but one in parentheses is.
        Ok(match condition {
            Condition::Compare(..) => Condition::All(vec![condition]),
            other => other,
        })
    }

    fn test_or_comparison(&mut self) -> Result<Condition> {
        let from = self.at;
        if let Some(condition) = self.matching()? {
            let before = self.at;
            if self.comparison().is_some() {
                return Err(self.wrong_at(
                    before,
                    "`match` and `search` are tests by themselves: do not compare them",
                ));
            }
            return Ok(condition);
        }
        let left = self.operand()?;
        let Some(comparison) = self.comparison() else {
            return match left {
                Term::Query(query) => Ok(Condition::Exists(query)),
                Term::Operand(Operand::Literal(_)) => {
                    Err(self.wrong("a literal has to be compared: expected an operator"))
                }
                Term::Operand(_) => Err(self.wrong(
                    "the result of a function like `length` has to be compared: expected an operator",
                )),
            };
        };
        let left = self.singular(left, from)?;
        let from = self.at;
        let right = self.operand()?;
        let right = self.singular(right, from)?;
        let before = self.at;
        if self.comparison().is_some() {
            return Err(self.wrong_at(before, "comparisons are not chained: join them with `&&`"));
        }
        Ok(Condition::Compare(left, comparison, right))
    }

    /// The operator of a comparison with the white space around it, if there is an operator.
    fn comparison(&mut self) -> Option<Comparison> {
        let before = self.at;
        self.space();
        let operators = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (text, comparison) in operators {
            if self.eat(text) {
                self.space();
                return Some(comparison);
            }
        }
        self.at = before;
        None
    }

    /// A call of `match` or `search`, if it is one.
    fn matching(&mut self) -> Result<Option<Condition>> {
        let from = self.at;
        let extent = if self.eat("match(") {
            Extent::Whole
        } else if self.eat("search(") {
            Extent::Part
        } else {
            return Ok(None);
        };
        self.space();
        let (text, pattern) = self.deeper(|parser| {
            let text = parser.value_argument()?;
            parser.space();
            if !parser.eat(",") {
                return Err(parser.wrong("expected `,` and a pattern"));
            }
            parser.space();
            let at = parser.at;
            let pattern = Pattern::new(parser.value_argument()?, extent)
                .map_err(|problem| parser.wrong_at(at, &problem))?;
            Ok((text, pattern))
        })?;
        self.close(from)?;
        Ok(Some(Condition::Matches {
            text,
            pattern,
            extent,
        }))
    }

    /// A literal, a query or a function that gives a value.
    fn operand(&mut self) -> Result<Term> {
        match self.peek() {
            Some('@') => self.inner(From::Current),
            Some('$') => self.inner(From::Root),
            Some('\'' | '"') => {
                let text = self.string()?;
                Ok(Term::Operand(Operand::Literal(Node::String(text.into()))))
            }
            Some('-' | '0'..='9') => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.word(),
            Some(_) | None => {
                Err(self
                    .wrong("expected a query that begins with `@` or `$`, a literal or a function"))
            }
        }
    }

    fn inner(&mut self, from: From) -> Result<Term> {
        self.at += 1;
        let segments = self.segments()?;
        Ok(Term::Query(Query { from, segments }))
    }

    fn word(&mut self) -> Result<Term> {
        let from = self.at;
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        let called = self.eat("(");
        let operand = match (name, called) {
            ("true", false) => Operand::Literal(Node::Bool(true)),
            ("false", false) => Operand::Literal(Node::Bool(false)),
            ("null", false) => Operand::Literal(Node::Null),
            ("length", true) => {
                self.space();
                let argument = self.deeper(Self::value_argument)?;
                self.close(from)?;
                Operand::Length(Box::new(argument))
            }
            ("count" | "value", true) => {
                self.space();
                let start = self.at;
                let Term::Query(query) = self.deeper(Self::operand)? else {
                    return Err(self.wrong_at(start, &format!("`{name}` takes a query")));
                };
                self.close(from)?;
                if name == "count" {
                    Operand::Count(query)
                } else {
                    Operand::Value(query)
                }
            }
            ("match" | "search", true) => {
                return Err(self.wrong_at(
                    from,
                    "`match` and `search` are tests by themselves: do not compare them",
                ));
            }
            (_, true) => {
                let name: String = name.chars().take(32).collect();
                return Err(self.wrong_at(
                    from,
                    &format!(
                        "there is no function `{name}`; there are length, count, value, match and \
                         search"
                    ),
                ));
            }
            (_, false) => {
                return Err(self.wrong_at(
                    from,
                    "expected a query that begins with `@` or `$`, a literal or a function",
                ));
            }
        };
        Ok(Term::Operand(operand))
    }

    /// The end of a call that began there.
    fn close(&mut self, from: usize) -> Result<()> {
        self.space();
        if self.eat(")") {
            return Ok(());
        }
        let name: String = self.text[from..]
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect();
        Err(self.wrong(&format!("expected `)` after the arguments of `{name}`")))
    }

    fn value_argument(&mut self) -> Result<Operand> {
        let from = self.at;
        if self.matching()?.is_some() {
            return Err(self.wrong_at(from, "`match` and `search` give no value"));
        }
        let term = self.operand()?;
        self.singular(term, from)
    }

    /// An expression for one value.
    fn singular(&self, term: Term, from: usize) -> Result<Operand> {
        match term {
            Term::Operand(operand) => Ok(operand),
            Term::Query(query) if query.is_singular() => Ok(Operand::Query(query)),
            Term::Query(_) => {
                let mut problem = self.wrong_at(from, "this query may select several values");
                problem.hint = Some(
                    "only names and indices may stand here; count(...) says how many a query \
                     selects, value(...) takes its only one, and a filter within it looks at each: \
                     `@.tags[?@ == \"x\"]`"
                        .to_owned(),
                );
                Err(problem)
            }
        }
    }

    fn number(&mut self) -> Result<Term> {
        let from = self.at;
        self.eat("-");
        let whole = self.take(|c| c.is_ascii_digit());
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(self.wrong_at(from, "expected a number without leading zeros"));
        }
        if self.text[self.at..].starts_with('.') {
            self.at += 1;
            if self.take(|c| c.is_ascii_digit()).is_empty() {
                return Err(self.wrong("expected a digit"));
            }
        }
        if self.text[self.at..].starts_with(['e', 'E']) {
            self.at += 1;
            self.at += usize::from(self.text[self.at..].starts_with(['+', '-']));
            if self.take(|c| c.is_ascii_digit()).is_empty() {
                return Err(self.wrong("expected a digit"));
            }
        }
        let number = Number::read(&self.text[from..self.at]);
        Ok(Term::Operand(Operand::Literal(Node::Number(number))))
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(Problem {
                at: self.at,
                what: format!(
                    "filters, parentheses and functions nest deeper than {MAX_DEPTH} levels"
                ),
                hint: None,
            });
        }
        self.depth += 1;
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }
}

/// A test, or one side of a comparison.
enum Term {
    Query(Query),
    Operand(Operand),
}

fn one_or(mut parts: Vec<Condition>, many: fn(Vec<Condition>) -> Condition) -> Condition {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        many(parts)
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}
