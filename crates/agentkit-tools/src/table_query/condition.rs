//! What holds of a row.

use std::cmp::Ordering;

use agentkit::event::Failure;
use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::{
    column,
    rows::{Cell, Decimal, compare},
};
use crate::{grep, json::Node};

/// A condition as it was given.
#[derive(Deserialize)]
pub(super) struct Given {
    column: String,
    op: Op,
    value: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    Unequal,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
    In,
    Contains,
    Matches,
    Empty,
    NotEmpty,
}

/// A condition on a column.
pub(super) struct Condition {
    at: usize,
    test: Test,
    decimal: Decimal,
}

enum Test {
    /// The cell is one of these, or is none of them.
    Among(Vec<Cell>, bool),
    /// The order of the cell and the value is one of these.
    Order(Cell, &'static [Ordering]),
    Contains(String),
    Matches(Box<Regex>),
    Empty(bool),
}

impl Condition {
    pub(super) fn new(
        given: &Given,
        columns: &[String],
        decimal: Decimal,
    ) -> Result<Self, Failure> {
        use Ordering::{Equal, Greater, Less};
        let wrong = |problem: &str| {
            let message = format!("`where` of column {:?}: {problem}", given.column);
            Failure::last("invalid_arguments", message)
        };
        let value = || {
            given
                .value
                .as_ref()
                .ok_or_else(|| wrong("a `value` is missing"))
        };
        let one = || match value()? {
            Value::Array(_) => Err(wrong(
                "a list is a `value` of `in`; give one text or number",
            )),
            Value::Object(_) => Err(wrong("`value` has to be a text, a number or a truth value")),
            one => Ok(cell(one)),
        };
        let text = || {
            let value = value()?.as_str();
            value.ok_or_else(|| wrong("`value` has to be a text"))
        };
        let test = match given.op {
            Op::Equal => Test::Among(vec![one()?], true),
            Op::Unequal => Test::Among(vec![one()?], false),
            Op::Less => Test::Order(one()?, &[Less]),
            Op::LessOrEqual => Test::Order(one()?, &[Less, Equal]),
            Op::Greater => Test::Order(one()?, &[Greater]),
            Op::GreaterOrEqual => Test::Order(one()?, &[Greater, Equal]),
            Op::In => {
                let list = value()?.as_array();
                let list = list.ok_or_else(|| wrong("`value` has to be a list"))?;
                let is_nested = |item: &Value| item.is_array() || item.is_object();
                if list.iter().any(is_nested) {
                    return Err(wrong("`value` has to be a list of texts and numbers"));
                }
                Test::Among(list.iter().map(cell).collect(), true)
            }
            Op::Contains => Test::Contains(text()?.to_owned()),
            Op::Matches => Test::Matches(Box::new(grep::compile(text()?, false)?)),
            Op::Empty => Test::Empty(true),
            Op::NotEmpty => Test::Empty(false),
        };
        Ok(Self {
            at: column(columns, &given.column)?,
            test,
            decimal,
        })
    }

    pub(super) fn holds(&self, row: &[Cell]) -> bool {
        let cell = row.get(self.at).unwrap_or(&Cell::Empty);
        match &self.test {
            Test::Among(values, wanted) => {
                values.iter().any(|value| self.same(cell, value)) == *wanted
            }
            Test::Order(value, orders) => self
                .order(cell, value)
                .is_some_and(|order| orders.contains(&order)),
            Test::Contains(text) => cell.text().contains(text),
            Test::Matches(regex) => regex.is_match(cell.text().as_bytes()),
            Test::Empty(empty) => (*cell == Cell::Empty) == *empty,
        }
    }

    /// A text is the same as a text that is written so: `"0123"` is not `123`. Numbers are by value.
    fn same(&self, cell: &Cell, value: &Cell) -> bool {
        match value {
            Cell::Text(text) => *cell != Cell::Empty && cell.text() == *text,
            Cell::Empty | Cell::Json(_) => self.order(cell, value) == Some(Ordering::Equal),
        }
    }

    /// Numbers are compared with numbers and texts with texts; other pairs have no order.
    fn order(&self, cell: &Cell, value: &Cell) -> Option<Ordering> {
        if *cell == Cell::Empty || *value == Cell::Empty {
            return (cell == value).then_some(Ordering::Equal);
        }
        let numbers = (cell.number(self.decimal), value.number(self.decimal));
        match numbers {
            (Some(_), None) | (None, Some(_)) => None,
            _ => Some(compare(cell, value, self.decimal)),
        }
    }
}

/// A value of the arguments as a cell.
fn cell(value: &Value) -> Cell {
    match value {
        Value::String(text) if text.is_empty() => Cell::Empty,
        Value::String(text) => Cell::Text(text.clone()),
        Value::Null => Cell::Empty,
        other => Cell::Json(Node::from(other.clone())),
    }
}
