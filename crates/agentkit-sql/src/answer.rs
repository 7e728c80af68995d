//! The rows of a result within their bounds, and how a model sees them.

use std::fmt::Write as _;

use agentkit::event::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The most columns of a result.
pub(crate) const MAX_COLUMNS: usize = 512;
/// The most bytes of one value; the rest of a longer text is cut off.
pub(crate) const MAX_CELL: usize = 64 << 10;
/// The most bytes of a column's name.
const MAX_NAME: usize = 256;
/// Bytes of a BLOB that are shown.
const BLOB_SHOWN: usize = 64;
/// Whole numbers beyond this lose digits in many readers of JSON, so that they are texts.
const MAX_EXACT: u64 = 1 << 53;

/// The form of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// A text with one line for each row.
    #[default]
    Table,
    /// Columns and rows as lists.
    Json,
}

/// Bounds of a result.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// The bound that ended a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cut {
    Rows,
    Bytes,
}

/// A result that grows row by row.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    bounds: Bounds,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    bytes: usize,
    cut: Option<Cut>,
}

impl Answer {
    /// A result without rows.
    ///
    /// # Errors
    /// `query_refused` for a statement that gives no columns, or too many.
    pub(crate) fn new(columns: Vec<String>, bounds: Bounds) -> Result<Self, Failure> {
        if columns.is_empty() {
            return Err(refused("the statement gives no rows; only queries are run"));
        }
        if columns.len() > MAX_COLUMNS {
            return Err(refused(&format!(
                "the result has {} columns; select {MAX_COLUMNS} at most",
                columns.len()
            )));
        }
        let columns: Vec<String> = columns
            .into_iter()
            .map(|name| cut(name, MAX_NAME))
            .collect();
        Ok(Self {
            bytes: columns.iter().map(String::len).sum(),
            bounds,
            columns,
            rows: Vec::new(),
            cut: None,
        })
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Adds a row; false once the result is full.
    ///
    /// # Errors
    /// `row_too_large` if not even the first row fits.
    pub(crate) fn push(&mut self, row: Vec<Value>) -> Result<bool, Failure> {
        if self.rows.len() == self.bounds.rows {
            self.cut = Some(Cut::Rows);
            return Ok(false);
        }
        let size: usize = row.iter().map(size).sum();
        if self.bytes + size > self.bounds.bytes {
            if self.rows.is_empty() {
                return Err(self.too_large());
            }
            self.cut = Some(Cut::Bytes);
            return Ok(false);
        }
        self.bytes += size;
        self.rows.push(row);
        Ok(true)
    }

    /// Ends a result whose next row is larger than the connection allows.
    ///
    /// # Errors
    /// `row_too_large` if there is no row before it.
    #[cfg(feature = "postgres")]
    pub(crate) fn break_off(&mut self) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Err(self.too_large());
        }
        self.cut = Some(Cut::Bytes);
        Ok(())
    }

    fn too_large(&self) -> Failure {
        Failure::last(
            "row_too_large",
            format!(
                "a row has more than {} bytes; select fewer columns, or parts of them with substr()",
                self.bounds.bytes
            ),
        )
    }

    /// The result as the model sees it.
    pub(crate) fn show(self, format: Format) -> Value {
        let note = self.cut.map(|cut| match cut {
            Cut::Rows => format!(
                "only the first {} rows are shown; narrow the query, or take the next ones with LIMIT and OFFSET",
                self.rows.len()
            ),
            Cut::Bytes => format!(
                "only the first {} rows fit into {} bytes; select fewer columns, or take the next rows with LIMIT \
                 and OFFSET",
                self.rows.len(),
                self.bounds.bytes
            ),
        });
        match format {
            Format::Table => Value::String(self.table(note)),
            Format::Json => {
                let mut shown = json!({
                    "columns": self.columns,
                    "rows": self.rows,
                    "row_count": self.rows.len(),
                    "truncated": note.is_some(),
                });
                if let Some(note) = note {
                    shown["note"] = Value::String(note);
                }
                shown
            }
        }
    }

    fn table(&self, note: Option<String>) -> String {
        let mut text = String::from("|");
        for name in &self.columns {
            let _ = write!(text, " {} |", plain(name));
        }
        text += "\n|";
        text += &" --- |".repeat(self.columns.len());
        for row in &self.rows {
            text += "\n|";
            for value in row {
                let _ = match value {
                    Value::Null => write!(text, " NULL |"),
                    Value::String(value) => write!(text, " {} |", plain(value)),
                    other => write!(text, " {} |", plain(&other.to_string())),
                };
            }
        }
        let _ = match self.rows.len() {
            1 => write!(text, "\n1 row"),
            count => write!(text, "\n{count} rows"),
        };
        if let Some(note) = note {
            let _ = write!(text, "; {note}");
        }
        text
    }
}

pub(crate) fn refused(why: &str) -> Failure {
    Failure::last("query_refused", why)
}

/// A text value; a long one loses its end and says so.
pub(crate) fn text(text: String) -> Value {
    Value::String(cut(text, MAX_CELL))
}

/// A whole number, exactly.
pub(crate) fn whole(number: i64) -> Value {
    match number.unsigned_abs() <= MAX_EXACT {
        true => number.into(),
        false => number.to_string().into(),
    }
}

/// A number with fraction; the values that JSON lacks are texts.
pub(crate) fn real(number: f64) -> Value {
    serde_json::Number::from_f64(number)
        .map_or_else(|| Value::String(number.to_string()), Value::Number)
}

/// Bytes as SQL writes them.
pub(crate) fn blob(bytes: &[u8]) -> Value {
    let shown = units::hex::encode(&bytes[..bytes.len().min(BLOB_SHOWN)]);
    Value::String(match bytes.len() > BLOB_SHOWN {
        true => format!("x'{shown}...' ({} bytes)", bytes.len()),
        false => format!("x'{shown}'"),
    })
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = text.floor_char_boundary(most);
        text.truncate(end);
        let _ = write!(text, "... [cut after {end} bytes]");
    }
    text
}

/// A cell of a table: on one line, without the sign between cells.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' => plain += "\\|",
            '\n' => plain += "\\n",
            '\r' => plain += "\\r",
            '\t' => plain.push(' '),
            '\\' => plain += "\\\\",
            c if c.is_control() => {
                let _ = write!(plain, "{}", c.escape_unicode());
            }
            c => plain.push(c),
        }
    }
    plain
}

/// About the bytes of a value in a result.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 3,
        Value::Null | Value::Bool(_) => 5,
        other => other.to_string().len() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: usize, bytes: usize) -> Answer {
        let columns = vec!["id".to_owned(), "a|b".to_owned()];
        Answer::new(columns, Bounds { rows, bytes }).unwrap()
    }

    #[test]
    fn a_table_has_one_line_for_each_row() {
        let mut answer = answer(2, 1_000);
        assert!(
            answer
                .push(vec![whole(1), text("x|y\nz\\\u{7}".to_owned())])
                .unwrap()
        );
        assert!(answer.push(vec![whole(i64::MAX), Value::Null]).unwrap());
        assert!(!answer.push(vec![whole(3), Value::Null]).unwrap());
        let expected = "| id | a\\|b |\n| --- | --- |\n| 1 | x\\|y\\nz\\\\\\u{7} |\n| 9223372036854775807 | NULL |\n\
                        2 rows; only the first 2 rows are shown; narrow the query, or take the next ones with LIMIT and OFFSET";
        assert_eq!(answer.show(Format::Table), expected);
    }

    #[test]
    fn json_keeps_columns_and_values() {
        let mut answer = answer(9, 1_000);
        answer.push(vec![real(0.5), blob(&[0, 255])]).unwrap();
        answer
            .push(vec![real(f64::INFINITY), whole(i64::MIN)])
            .unwrap();
        let expected = json!({
            "columns": ["id", "a|b"],
            "rows": [[0.5, "x'00ff'"], ["inf", "-9223372036854775808"]],
            "row_count": 2,
            "truncated": false,
        });
        assert_eq!(answer.show(Format::Json), expected);
    }

    #[test]
    fn bytes_are_bounded_and_long_values_are_cut() {
        let mut full = answer(9, 1_024);
        let row = || vec![whole(1), text("y".repeat(600))];
        assert!(full.push(row()).unwrap());
        assert!(!full.push(row()).unwrap());
        let shown = full.show(Format::Json);
        assert_eq!(shown["row_count"], 1);
        assert_eq!(shown["truncated"], true);
        assert!(shown["note"].as_str().unwrap().contains("1024 bytes"));
        let first = vec![whole(1), text("y".repeat(2_000))];
        let error = answer(9, 1_024).push(first).unwrap_err();
        assert_eq!(error.code, "row_too_large");
        let Value::String(long) = text("\u{e4}".repeat(MAX_CELL)) else {
            panic!("a text stays a text")
        };
        assert!(long.ends_with("[cut after 65536 bytes]"), "{}", long.len());
        assert!(long.len() < MAX_CELL + 40);
        assert_eq!(blob(&[7; 65]).as_str().unwrap().len(), 2 + 128 + 4 + 11);
    }
}
