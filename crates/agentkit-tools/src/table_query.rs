//! `table_query`: filters, sorts, groups and adds up the rows of a table in CSV or NDJSON.
//!
//! Numbers are exact: compared by their value, and added as fractions. What is kept in memory, the
//! groups and the rows are each bounded.

mod condition;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod groups;
mod rows;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::{
    condition::Condition,
    groups::{Aggregate, Groups},
    rows::{Cell, Decimal, Format, Table},
};
use crate::{
    encoding,
    read_result::{self, off_thread},
    workspace::{blocking, file_path, read_whole, stopped},
};

/// The largest table, in bytes.
const MAX_BYTES: u64 = 64 << 20;
const DEFAULT_ROWS: usize = 100;
const MAX_ROWS: usize = 1000;
/// The most bytes of rows that are kept to be sorted, about.
const MAX_SORT_BYTES: usize = 64 << 20;
/// How many tables are in memory at once.
const AT_ONCE: usize = 2;
/// The most entries of a list among the arguments.
const MAX_LIST: usize = 64;

pub(crate) struct TableQuery {
    spec: ToolSpec,
    turn: Semaphore,
}

#[derive(Deserialize)]
struct Arguments {
    path: Option<String>,
    handle: Option<String>,
    inside: Option<String>,
    format: Option<Format>,
    delimiter: Option<String>,
    encoding: Option<String>,
    #[serde(default)]
    decimal: Decimal,
    #[serde(default, rename = "where")]
    conditions: Vec<condition::Given>,
    select: Option<Vec<String>>,
    #[serde(default)]
    group_by: Vec<String>,
    #[serde(default)]
    aggregate: Vec<Aggregate>,
    #[serde(default)]
    sort: Vec<Key>,
    limit: Option<usize>,
    #[serde(default)]
    after: usize,
}

#[derive(Deserialize)]
struct Key {
    column: String,
    #[serde(default)]
    descending: bool,
}

impl TableQuery {
    pub(crate) fn new() -> Self {
        let description = "Filters, sorts, groups and adds up the rows of a table, exactly. The \
            table is a CSV file with a header line, or a file with one JSON object on each line, of \
            the workspace or in a large result of an earlier call.";
        let names = |description: &str| {
            json!({
                "type": "array", "items": {"type": "string"}, "maxItems": MAX_LIST,
                "description": description,
            })
        };
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "A file, relative to the workspace"},
                "handle": {"type": "string", "description": "A large result, for instance call_7"},
                "inside": {
                    "type": "string",
                    "description": "JSON Pointer to the text of the result that is the table: /text",
                },
                "format": {"enum": ["csv", "ndjson"], "description": "Found out"},
                "delimiter": {
                    "type": "string", "minLength": 1, "maxLength": 1,
                    "description": "Between the cells of CSV; found out among , ; | and tab",
                },
                "encoding": {"type": "string", "description": "For instance windows-1251; found out"},
                "decimal": {
                    "enum": [".", ","],
                    "description": "Before decimals; with , a . separates thousands; .",
                },
                "where": {
                    "type": "array", "maxItems": MAX_LIST,
                    "description": "What holds of each row that counts, all together",
                    "items": {
                        "type": "object",
                        "properties": {
                            "column": {"type": "string"},
                            "op": {"enum": [
                                "=", "!=", "<", "<=", ">", ">=", "in", "contains", "matches", "empty",
                                "not_empty",
                            ]},
                            "value": {
                                "type": ["string", "number", "boolean", "array"],
                                "description": "A list for `in`, a regular expression for `matches`",
                            },
                        },
                        "required": ["column", "op"],
                        "additionalProperties": false,
                    },
                },
                "select": names("The columns to show; all"),
                "group_by": names("One row for each combination of these columns"),
                "aggregate": {
                    "type": "array", "maxItems": MAX_LIST,
                    "description": "What is calculated for each group, or for all rows",
                    "items": {
                        "type": "object",
                        "properties": {
                            "fn": {"enum": ["count", "sum", "avg", "min", "max", "count_distinct"]},
                            "column": {"type": "string", "description": "Not needed for count"},
                            "as": {"type": "string", "description": "Its name; sum_price for instance"},
                        },
                        "required": ["fn"],
                        "additionalProperties": false,
                    },
                },
                "sort": {
                    "type": "array", "maxItems": MAX_LIST,
                    "items": {
                        "type": "object",
                        "properties": {
                            "column": {"type": "string"},
                            "descending": {"type": "boolean", "description": "false"},
                        },
                        "required": ["column"],
                        "additionalProperties": false,
                    },
                    "description": "Columns of the table, or of the result where rows are grouped",
                },
                "limit": {
                    "type": "integer", "minimum": 1, "maximum": MAX_ROWS,
                    "description": format!("The most rows to show; {DEFAULT_ROWS}"),
                },
                "after": {"type": "integer", "minimum": 0, "description": "Rows to leave out first; 0"},
            },
            "additionalProperties": false,
        });
        Self {
            // It only reads.
            spec: ToolSpec::new("table_query", description, schema).effect(Effect::Pure),
            turn: Semaphore::new(AT_ONCE),
        }
    }
}

impl Tool for TableQuery {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        let path = arguments.get("path").and_then(Value::as_str);
        Resources::reads(path.map(Resource::file))
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let arguments: Arguments = crate::arguments(arguments)?;
            let asked = arguments.encoding.as_deref();
            let asked = asked.map(encoding::named).transpose()?;
            let _turn = self.turn.acquire().await.map_err(|_| stopped())?;
            let whole = load(&arguments, context).await?;
            let abandoned = context.cancel.child_token();
            let _guard = abandoned.clone().drop_guard();
            let answer = off_thread(move || {
                let (text, told) = match &arguments.handle {
                    Some(_) => {
                        let inside = arguments.inside.as_deref().unwrap_or("");
                        (read_result::text_of(whole, Some(inside))?, None)
                    }
                    None => {
                        let text = encoding::decode(whole, asked)
                            .ok_or_else(|| Failure::last("not_text", "the table is not text"))?;
                        (text.content, text.how.told())
                    }
                };
                let mut result = answer(&text, &arguments, &abandoned)?;
                if let Some(told) = told {
                    result["encoding"] = told.into();
                }
                Ok(result)
            });
            answer.await.map(ToolOutput::from)
        })
    }
}

async fn load(arguments: &Arguments, context: &ToolContext) -> Result<Vec<u8>, Failure> {
    match (&arguments.path, &arguments.handle) {
        (Some(path), None) => {
            let path = file_path(path)?;
            blocking(context, move |root, _| read_whole(root, &path, MAX_BYTES)).await
        }
        (None, Some(handle)) => read_result::whole(handle, context, MAX_BYTES).await,
        _ => Err(Failure::last(
            "invalid_arguments",
            "give one of `path` and `handle`",
        )),
    }
}

/// A column of the table by its name.
fn column(columns: &[String], name: &str) -> Result<usize, Failure> {
    columns
        .iter()
        .position(|column| column == name)
        .ok_or_else(|| {
            let shown: Vec<_> = columns.iter().take(MAX_LIST).map(String::as_str).collect();
            let message = format!(
                "there is no column {name:?}; there are {}",
                shown.join(", ")
            );
            Failure::last("unknown_column", message)
        })
}

fn answer(
    text: &str,
    arguments: &Arguments,
    abandoned: &CancellationToken,
) -> Result<Value, Failure> {
    let mut table = Table::open(text, arguments.format, arguments.delimiter.as_deref())?;
    let columns = table.columns().to_vec();
    let conditions = arguments
        .conditions
        .iter()
        .map(|given| Condition::new(given, &columns, arguments.decimal))
        .collect::<Result<Vec<_>, _>>()?;
    let grouped = !arguments.group_by.is_empty() || !arguments.aggregate.is_empty();
    if grouped && arguments.select.is_some() {
        let message = "`select` does not go with groups: they show `group_by` and `aggregate`";
        return Err(Failure::last("invalid_arguments", message));
    }
    let mut groups = grouped
        .then(|| {
            Groups::new(
                &arguments.group_by,
                &arguments.aggregate,
                &columns,
                arguments.decimal,
            )
        })
        .transpose()?;
    let shown: Vec<usize> = match &arguments.select {
        Some(names) => names
            .iter()
            .map(|name| column(&columns, name))
            .collect::<Result<_, _>>()?,
        None => (0..columns.len()).collect(),
    };
    let names: Vec<String> = match &groups {
        Some(groups) => groups.names(),
        None => shown.iter().map(|at| columns[*at].clone()).collect(),
    };
    // Rows are sorted by columns of the table, groups by those of the result.
    let sortable = if grouped { &names } else { &columns };
    let keys: Vec<(usize, bool)> = arguments
        .sort
        .iter()
        .map(|key| Ok((column(sortable, &key.column)?, key.descending)))
        .collect::<Result<_, Failure>>()?;

    let limit = arguments.limit.unwrap_or(DEFAULT_ROWS);
    let wanted = arguments.after.saturating_add(limit);
    let (mut read, mut count, mut kept_bytes) = (0_usize, 0_usize, 0_usize);
    let mut kept: Vec<Vec<Cell>> = Vec::new();
    while let Some(row) = table.next()? {
        read += 1;
        if read.is_multiple_of(1024) && abandoned.is_cancelled() {
            return Err(stopped());
        }
        if !conditions.iter().all(|condition| condition.holds(&row)) {
            continue;
        }
        count += 1;
        match &mut groups {
            Some(groups) => groups.add(&row)?,
            None if keys.is_empty() && kept.len() >= wanted => {}
            None => {
                kept_bytes += row.iter().map(Cell::size).sum::<usize>();
                if kept_bytes > MAX_SORT_BYTES {
                    return Err(too_large("the rows to show or sort take too much memory"));
                }
                kept.push(row);
            }
        }
    }
    let mut result = json!({"rows_read": read, "rows_matched": count});
    if let Some(groups) = groups {
        groups.tell(&mut result);
        kept = groups.rows();
        count = kept.len();
    }
    rows::sort(&mut kept, &keys, arguments.decimal);
    let cells = |row: &Vec<Cell>| -> Value {
        if grouped {
            row.iter().map(Cell::to_value).collect()
        } else {
            shown
                .iter()
                .map(|at| row.get(*at).map_or(Value::Null, Cell::to_value))
                .collect()
        }
    };
    let rows: Vec<Value> = kept
        .iter()
        .skip(arguments.after)
        .take(limit)
        .map(cells)
        .collect();
    let next = arguments.after.saturating_add(rows.len());
    if next < count {
        result["cut"] = format!("there are {count} rows").into();
        result["next"] = next.into();
    }
    table.tell(&mut result);
    result["count"] = count.into();
    result["columns"] = names.into();
    result["rows"] = rows.into();
    Ok(result)
}

fn too_large(what: &str) -> Failure {
    Failure::last(
        "table_too_large",
        format!("{what}: filter, group or select less"),
    )
}

#[cfg(test)]
mod tests;
