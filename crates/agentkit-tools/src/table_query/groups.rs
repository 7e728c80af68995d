//! Rows that are put together: how many, how much, and the least and most of them.

use std::collections::{BTreeMap, BTreeSet};

use agentkit::event::Failure;
use dashu_ratio::RBig;
use serde::Deserialize;
use serde_json::Value;

use super::{
    column,
    rows::{Cell, Decimal, compare},
    too_large,
};
use crate::calculator;

/// The most groups.
const MAX_GROUPS: usize = 100_000;
/// The most bytes of different values that are kept to be counted, of all groups together.
const MAX_DISTINCT: usize = 64 << 20;

/// A value that is calculated for each group.
#[derive(Deserialize)]
pub(super) struct Aggregate {
    #[serde(rename = "fn")]
    function: Function,
    column: Option<String>,
    #[serde(rename = "as")]
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    CountDistinct,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::CountDistinct => "count_distinct",
        }
    }
}

/// A calculation, its column, and its name.
struct Wanted {
    function: Function,
    at: Option<usize>,
    name: String,
}

/// Knowledge of a column of one group so far.
#[derive(Default)]
struct State {
    count: usize,
    numbers: usize,
    sum: RBig,
    /// The least or most of the numbers.
    extreme: Option<Cell>,
    /// How many cells are texts and no numbers, and the least or most of them.
    texts: usize,
    extreme_text: Option<Cell>,
    distinct: BTreeSet<String>,
}

pub(super) struct Groups {
    by: Vec<(usize, String)>,
    wanted: Vec<Wanted>,
    decimal: Decimal,
    groups: BTreeMap<Vec<String>, (Vec<Cell>, Vec<State>)>,
    distinct: usize,
    /// Cells that are there and are no numbers, by column.
    not_numbers: BTreeMap<String, usize>,
}

impl Groups {
    pub(super) fn new(
        by: &[String],
        aggregates: &[Aggregate],
        columns: &[String],
        decimal: Decimal,
    ) -> Result<Self, Failure> {
        let by = by
            .iter()
            .map(|name| Ok((column(columns, name)?, name.clone())))
            .collect::<Result<Vec<_>, Failure>>()?;
        let wanted = aggregates
            .iter()
            .map(|aggregate| {
                let function = aggregate.function;
                let at = aggregate.column.as_deref();
                let at = at.map(|name| column(columns, name)).transpose()?;
                if at.is_none() && function != Function::Count {
                    let message = format!("`{}` needs a `column`", function.name());
                    return Err(Failure::last("invalid_arguments", message));
                }
                let name = aggregate.name.clone().unwrap_or_else(|| {
                    let column = aggregate.column.as_deref();
                    column.map_or(function.name().to_owned(), |column| {
                        format!("{}_{column}", function.name())
                    })
                });
                Ok(Wanted { function, at, name })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let mut groups = Self {
            by,
            wanted,
            decimal,
            groups: BTreeMap::new(),
            distinct: 0,
            not_numbers: BTreeMap::new(),
        };
        let mut names = BTreeSet::new();
        if let Some(name) = groups
            .names()
            .into_iter()
            .find(|name| !names.insert(name.clone()))
        {
            let message =
                format!("the result would have two columns {name:?}: name one of them with `as`");
            return Err(Failure::last("invalid_arguments", message));
        }
        if groups.by.is_empty() {
            // All rows are one group, also where there is none.
            let states = groups.states();
            groups.groups.insert(Vec::new(), (Vec::new(), states));
        }
        Ok(groups)
    }

    fn states(&self) -> Vec<State> {
        self.wanted.iter().map(|_| State::default()).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let by = self.by.iter().map(|(_, name)| name.clone());
        by.chain(self.wanted.iter().map(|wanted| wanted.name.clone()))
            .collect()
    }

    pub(super) fn add(&mut self, row: &[Cell]) -> Result<(), Failure> {
        let cell = |at: usize| row.get(at).unwrap_or(&Cell::Empty);
        let key: Vec<String> = self.by.iter().map(|(at, _)| cell(*at).text()).collect();
        if !self.groups.contains_key(&key) {
            if self.groups.len() == MAX_GROUPS {
                return Err(too_large("there are more than 100000 groups"));
            }
            let cells = self.by.iter().map(|(at, _)| cell(*at).clone()).collect();
            let states = self.states();
            self.groups.insert(key.clone(), (cells, states));
        }
        let (_, states) = self.groups.get_mut(&key).expect("the group is there");
        for (wanted, state) in self.wanted.iter().zip(states) {
            let Some(at) = wanted.at else {
                state.count += 1;
                continue;
            };
            let cell = cell(at);
            if *cell == Cell::Empty {
                continue;
            }
            state.count += 1;
            match wanted.function {
                Function::Count => {}
                Function::Sum | Function::Avg => match cell.number(self.decimal) {
                    Some(number) => {
                        state.sum += number;
                        state.numbers += 1;
                    }
                    None => *self.not_numbers.entry(wanted.name.clone()).or_default() += 1,
                },
                Function::Min | Function::Max => {
                    let extreme = match cell.number(self.decimal) {
                        Some(_) => {
                            state.numbers += 1;
                            &mut state.extreme
                        }
                        None => {
                            state.texts += 1;
                            &mut state.extreme_text
                        }
                    };
                    let better = extreme.as_ref().is_none_or(|best| {
                        let order = compare(cell, best, self.decimal);
                        if wanted.function == Function::Min {
                            order.is_lt()
                        } else {
                            order.is_gt()
                        }
                    });
                    if better {
                        *extreme = Some(cell.clone());
                    }
                }
                Function::CountDistinct => {
                    let text = cell.text();
                    let size = text.len() + 48;
                    if state.distinct.insert(text) {
                        self.distinct += size;
                        if self.distinct > MAX_DISTINCT {
                            return Err(too_large("there are too many different values"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds which cells could not be calculated with.
    pub(super) fn tell(&self, result: &mut Value) {
        let mut not_numbers = self.not_numbers.clone();
        // Texts beside numbers; texts alone, as dates are, have a least and a most of their own.
        for (_, states) in self.groups.values() {
            for (wanted, state) in self.wanted.iter().zip(states) {
                if state.numbers > 0 && state.texts > 0 {
                    *not_numbers.entry(wanted.name.clone()).or_default() += state.texts;
                }
            }
        }
        if !not_numbers.is_empty() {
            result["not_numbers"] = not_numbers
                .into_iter()
                .map(|(name, count)| (name, Value::from(count)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
    }

    pub(super) fn rows(self) -> Vec<Vec<Cell>> {
        let wanted = self.wanted;
        let groups = self.groups.into_values();
        groups
            .map(|(mut cells, states)| {
                cells.extend(
                    wanted
                        .iter()
                        .zip(states)
                        .map(|(wanted, state)| value(wanted.function, state)),
                );
                cells
            })
            .collect()
    }
}

fn value(function: Function, state: State) -> Cell {
    let exactly = |value: RBig| Cell::Text(calculator::shown(value));
    match function {
        Function::Count => exactly(state.count.into()),
        Function::CountDistinct => exactly(state.distinct.len().into()),
        Function::Sum => exactly(state.sum),
        Function::Avg if state.numbers == 0 => Cell::Empty,
        Function::Avg => exactly(state.sum / RBig::from(state.numbers)),
        Function::Min | Function::Max => {
            let extreme = state.extreme.or(state.extreme_text);
            extreme.unwrap_or(Cell::Empty)
        }
    }
}
