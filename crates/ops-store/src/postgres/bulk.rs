//! Rows that one statement writes: a column is one parameter, an array.

use tokio_postgres::types::{ToSql, Type};

use crate::postgres::connection::Param;

/// A value of a row.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Bool(bool),
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Cell {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Cell {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Vec<u8>> for Cell {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Cell {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

#[derive(Debug)]
enum Column {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Bool(Vec<bool>),
}

impl Column {
    fn param(&self) -> Param<'_> {
        match self {
            Self::Int(values) => (values as &(dyn ToSql + Sync), Type::INT8_ARRAY),
            Self::Text(values) => (values, Type::TEXT_ARRAY),
            Self::Bytes(values) => (values, Type::BYTEA_ARRAY),
            Self::Bool(values) => (values, Type::BOOL_ARRAY),
        }
    }

    fn push(&mut self, cell: Cell) {
        match (self, cell) {
            (Self::Int(values), Cell::Int(value)) => values.push(value),
            (Self::Text(values), Cell::Text(value)) => values.push(value),
            (Self::Bytes(values), Cell::Bytes(value)) => values.push(value),
            (Self::Bool(values), Cell::Bool(value)) => values.push(value),
            // The statement fails for arrays of two lengths: no wrong row is written.
            (_, cell) => tracing::error!(?cell, "a value of another type than its column"),
        }
    }
}

/// Rows for one statement, which takes its columns in this order.
#[derive(Debug, Default)]
pub(crate) struct Bulk {
    columns: Vec<Column>,
    rows: u64,
}

impl Bulk {
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let first = self.rows == 0;
        for (index, cell) in row.into_iter().enumerate() {
            if first {
                self.columns.push(match &cell {
                    Cell::Int(_) => Column::Int(Vec::new()),
                    Cell::Text(_) => Column::Text(Vec::new()),
                    Cell::Bytes(_) => Column::Bytes(Vec::new()),
                    Cell::Bool(_) => Column::Bool(Vec::new()),
                });
            }
            self.columns[index].push(cell);
        }
        self.rows += 1;
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn params(&self) -> Vec<Param<'_>> {
        self.columns.iter().map(Column::param).collect()
    }

    /// `unnest($1, $2, ..)`, as many as there are columns.
    fn unnest(&self) -> String {
        let numbers: Vec<String> = (1..=self.columns.len()).map(|n| format!("${n}")).collect();
        format!("unnest({})", numbers.join(", "))
    }

    /// Inserts the rows into a table.
    pub(crate) fn insert(&self, table: &str, columns: &str, conflict: &str) -> String {
        format!(
            "INSERT INTO {table} ({columns}) SELECT * FROM {} {conflict}",
            self.unnest()
        )
    }

    /// A statement about `given`, the rows under these names.
    pub(crate) fn with(&self, columns: &str, statement: &str) -> String {
        let given = format!("{} AS given ({columns})", self.unnest());
        statement.replace("{given}", &given)
    }
}
