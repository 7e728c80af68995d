//! The rows of a table, from CSV or from JSON objects on lines.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use agentkit::event::Failure;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;
use serde::Deserialize;
use serde_json::Value;

use super::too_large;
use crate::json::{self, Limits, Node};

/// The most columns of a table.
const MAX_COLUMNS: usize = 1000;
/// Exponents of numbers that are calculated with.
const MAX_EXPONENT: i64 = 400;
/// Digits of numbers that are calculated with.
const MAX_DIGITS: usize = 1000;
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const LINE: Limits = Limits {
    depth: 64,
    memory: 16 << 20,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Csv,
    Ndjson,
}

/// The mark before the decimals of a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Decimal {
    #[default]
    #[serde(rename = ".")]
    Point,
    #[serde(rename = ",")]
    Comma,
}

/// A cell of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// The cell is missing or empty.
    Empty,
    /// The text as it stands in the table.
    Text(String),
    /// A value of JSON that is no text.
    Json(Node),
}

impl Cell {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Json(Node::Number(number)) => number.to_string(),
            Self::Json(node) => node.to_value(&mut 0).to_string(),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Json(node) => node.to_value(&mut 0),
        }
    }

    /// The number that it is, if it is one.
    pub(super) fn number(&self, decimal: Decimal) -> Option<RBig> {
        match self {
            Self::Text(text) => number(text, decimal),
            Self::Json(Node::Number(written)) => number(&written.to_string(), Decimal::Point),
            Self::Empty | Self::Json(_) => None,
        }
    }

    /// How many bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Empty => 40,
            Self::Text(text) => 40 + text.len(),
            Self::Json(node) => 40 + node.to_value(&mut 0).to_string().len() * 2,
        }
    }
}

/// A number with a comma for decimals, with a point instead. A point may separate thousands, as in
/// `1.234.567,8`; anywhere else it could as well stand before decimals, so that is no number.
fn with_point(text: &str) -> Option<String> {
    let (whole, decimals) = match text.split_once(',') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (text, None),
    };
    if decimals.is_some_and(|decimals| decimals.contains(['.', ','])) {
        return None;
    }
    let groups: Vec<&str> = whole.split('.').collect();
    if let [first, others @ ..] = &groups[..]
        && !others.is_empty()
    {
        let first = first.trim_start_matches(['-', '+']);
        let is_grouped = matches!(first.len(), 1..=3)
            && !first.starts_with('0')
            && others.iter().all(|group| group.len() == 3);
        if !is_grouped {
            return None;
        }
    }
    let whole = groups.concat();
    Some(match decimals {
        Some(decimals) => format!("{whole}.{decimals}"),
        None => whole,
    })
}

/// Reads `-1234.50`, `1e3` or, with a comma for decimals, `1.234,50`.
pub(super) fn number(text: &str, decimal: Decimal) -> Option<RBig> {
    let text = text.trim();
    let text = match decimal {
        Decimal::Point => text.to_owned(),
        Decimal::Comma => with_point(text)?,
    };
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, &text[..]),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || digits.len() > MAX_DIGITS || exponent.abs() > MAX_EXPONENT {
        return None;
    }
    let digits: IBig = digits.parse().ok()?;
    let digits = if negative { -digits } else { digits };
    let exponent = exponent - i64::try_from(fraction.len()).ok()?;
    let power = UBig::from(10_u8).pow(usize::try_from(exponent.unsigned_abs()).ok()?);
    Some(if exponent < 0 {
        RBig::from_parts(digits, power)
    } else {
        RBig::from(digits * IBig::from(power))
    })
}

/// Numbers before texts, each in their order; empty cells come last.
pub(super) fn compare(left: &Cell, right: &Cell, decimal: Decimal) -> Ordering {
    match (left, right) {
        (Cell::Empty, Cell::Empty) => Ordering::Equal,
        (Cell::Empty, _) => Ordering::Greater,
        (_, Cell::Empty) => Ordering::Less,
        _ => match (left.number(decimal), right.number(decimal)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => left.text().cmp(&right.text()),
        },
    }
}

/// The sort key of a row in one column, in the order of [`compare`].
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Number(RBig),
    Text(String),
    Empty,
}

/// Sorts by these columns; rows that are equal stay in their order.
pub(super) fn sort(rows: &mut Vec<Vec<Cell>>, keys: &[(usize, bool)], decimal: Decimal) {
    if keys.is_empty() {
        return;
    }
    let key = |cell: Option<&Cell>| match cell {
        None | Some(Cell::Empty) => SortKey::Empty,
        Some(cell) => cell
            .number(decimal)
            .map_or_else(|| SortKey::Text(cell.text()), SortKey::Number),
    };
    // Each cell is read once, and not with each comparison.
    let mut keyed: Vec<(Vec<SortKey>, Vec<Cell>)> = std::mem::take(rows)
        .into_iter()
        .map(|row| (keys.iter().map(|(at, _)| key(row.get(*at))).collect(), row))
        .collect();
    keyed.sort_by(|(left, _), (right, _)| {
        let orders = left
            .iter()
            .zip(right)
            .zip(keys)
            .map(|((left, right), (_, descending))| {
                let order = left.cmp(right);
                if *descending { order.reverse() } else { order }
            });
        orders
            .into_iter()
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    rows.extend(keyed.into_iter().map(|(_, row)| row));
}

/// A table that is read row by row.
pub(super) struct Table<'a> {
    columns: Vec<String>,
    source: Source<'a>,
    /// Rows with more or fewer cells than the header.
    uneven: usize,
    /// Columns that got a name of their own, because another column has the one in the header.
    renamed: Vec<String>,
}

enum Source<'a> {
    Csv {
        reader: Box<csv::Reader<&'a [u8]>>,
        delimiter: u8,
    },
    Ndjson {
        lines: std::iter::Enumerate<std::str::Lines<'a>>,
        places: BTreeMap<String, usize>,
    },
}

impl<'a> Table<'a> {
    pub(super) fn open(
        text: &'a str,
        format: Option<Format>,
        delimiter: Option<&str>,
    ) -> Result<Self, Failure> {
        let start = text.trim_start();
        if format.is_none() && is_list(start) {
            let problem = "it is one JSON array and no table: query it with `json_query`, or write one \
                           object on each line";
            return Err(invalid(problem));
        }
        let format = format.unwrap_or(if start.starts_with('{') {
            Format::Ndjson
        } else {
            Format::Csv
        });
        match format {
            Format::Csv => Self::csv(text, delimiter),
            Format::Ndjson => Self::ndjson(text),
        }
    }

    fn csv(text: &'a str, delimiter: Option<&str>) -> Result<Self, Failure> {
        let (told, text, lines_before) = match separator_line(text) {
            Some((delimiter, rest)) => (Some(delimiter), rest, 1),
            None => (None, text, 0),
        };
        let delimiter = match delimiter.map(str::as_bytes) {
            Some([one]) => *one,
            Some(_) => {
                let message = "`delimiter` is one character of ASCII";
                return Err(Failure::last("invalid_arguments", message));
            }
            None => told.unwrap_or_else(|| found_delimiter(text)),
        };
        if let Some(line) = stray_quote(text, delimiter) {
            return Err(invalid(&format!(
                "line {}: a cell begins with a quote that does not end before a delimiter; where the quote \
                 belongs to the text, the cell is quoted and the quote doubled",
                line + lines_before
            )));
        }
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_reader(text.as_bytes());
        let header = reader
            .headers()
            .map_err(|error| invalid(&error.to_string()))?;
        let mut columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        if columns.len() > MAX_COLUMNS {
            return Err(too_large("the table has more than 1000 columns"));
        }
        let reader = Box::new(reader);
        Ok(Self {
            renamed: rename_repeated(&mut columns),
            columns,
            source: Source::Csv { reader, delimiter },
            uneven: 0,
        })
    }

    /// The columns are the names of all objects, in the order of their names.
    fn ndjson(text: &'a str) -> Result<Self, Failure> {
        let mut places = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            for (name, _) in object(number, line)?.into_iter().flatten() {
                places.entry(name.into_string()).or_insert(0);
            }
            if places.len() > MAX_COLUMNS {
                return Err(too_large("the objects have more than 1000 names"));
            }
        }
        for (at, place) in places.values_mut().enumerate() {
            *place = at;
        }
        Ok(Self {
            columns: places.keys().cloned().collect(),
            source: Source::Ndjson {
                lines: text.lines().enumerate(),
                places,
            },
            uneven: 0,
            renamed: Vec::new(),
        })
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn next(&mut self) -> Result<Option<Vec<Cell>>, Failure> {
        match &mut self.source {
            Source::Csv { reader, .. } => {
                let mut record = csv::StringRecord::new();
                let more = reader.read_record(&mut record);
                if !more.map_err(|error| invalid(&error.to_string()))? {
                    return Ok(None);
                }
                self.uneven += usize::from(record.len() != self.columns.len());
                let cell = |text: &str| match text {
                    "" => Cell::Empty,
                    text => Cell::Text(text.to_owned()),
                };
                let mut row: Vec<Cell> = record.iter().take(self.columns.len()).map(cell).collect();
                row.resize(self.columns.len(), Cell::Empty);
                Ok(Some(row))
            }
            Source::Ndjson { lines, places } => {
                for (number, line) in lines {
                    let Some(members) = object(number, line)? else {
                        continue;
                    };
                    let mut row = vec![Cell::Empty; places.len()];
                    for (name, node) in members {
                        row[places[&*name]] = match node {
                            Node::Null => Cell::Empty,
                            Node::String(text) => Cell::Text(text.into_string()),
                            other => Cell::Json(other),
                        };
                    }
                    return Ok(Some(row));
                }
                Ok(None)
            }
        }
    }

    /// Adds how the table was read.
    pub(super) fn tell(&self, result: &mut Value) {
        if let Source::Csv { delimiter, .. } = &self.source {
            result["delimiter"] = char::from(*delimiter).to_string().into();
        }
        if self.uneven > 0 {
            result["uneven_rows"] = self.uneven.into();
        }
        if !self.renamed.is_empty() {
            result["renamed_columns"] = self.renamed.clone().into();
        }
    }
}

/// Whether a text is a JSON array of objects, or an empty array. A header of CSV may begin with `[` too.
fn is_list(text: &str) -> bool {
    let inner = text.strip_prefix('[').map(str::trim_start);
    inner.is_some_and(|inner| inner.starts_with(['{', '[']) || inner.trim_end() == "]")
}

/// The delimiter in a first line such as `sep=;`, by which spreadsheets tell it, and the rest.
fn separator_line(text: &str) -> Option<(u8, &str)> {
    let (line, rest) = text.split_once('\n')?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let (name, value) = line.trim_matches('"').split_once('=')?;
    match value.as_bytes() {
        [delimiter] if name.eq_ignore_ascii_case("sep") => Some((*delimiter, rest)),
        _ => None,
    }
}

/// The line, from 1, of the first quote at the beginning of a cell that does not end like one: it has
/// no end, or it ends lines later in the middle of a cell. Read on, it would swallow the rows between.
fn stray_quote(text: &str, delimiter: u8) -> Option<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum In {
        Start,
        Plain,
        Quoted,
        /// After a quote within a quoted cell: its end, or the first of two.
        Quote,
    }
    let (mut state, mut line, mut opened) = (In::Start, 1, 1);
    for byte in text.bytes() {
        let ends = byte == delimiter || byte == b'\n' || byte == b'\r';
        state = match (state, byte) {
            (In::Start, b'"') => {
                opened = line;
                In::Quoted
            }
            (In::Quoted, b'"') => In::Quote,
            (In::Quoted, _) | (In::Quote, b'"') => In::Quoted,
            (In::Start | In::Plain | In::Quote, _) if ends => In::Start,
            (In::Quote, _) if opened < line => return Some(opened),
            (In::Start | In::Plain | In::Quote, _) => In::Plain,
        };
        line += usize::from(byte == b'\n');
    }
    (state == In::Quoted).then_some(opened)
}

/// Gives columns whose name another one has already a name of their own, and tells which they are:
/// the second `price` becomes `price_2`. Columns without a name stay so.
fn rename_repeated(columns: &mut [String]) -> Vec<String> {
    let mut taken: BTreeSet<String> = columns.iter().cloned().collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut renamed = Vec::new();
    for column in columns.iter_mut().filter(|column| !column.is_empty()) {
        let count = seen.entry(column.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            continue;
        }
        let mut name = format!("{column}_{count}");
        while !taken.insert(name.clone()) {
            *count += 1;
            name = format!("{column}_{count}");
        }
        renamed.push(name.clone());
        *column = name;
    }
    renamed
}

/// The members of an object.
type Members = Vec<(Box<str>, Node)>;

/// The object on a line; none if it is blank.
fn object(number: usize, line: &str) -> Result<Option<Members>, Failure> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let wrong = |problem: &str| invalid(&format!("line {}: {problem}", number + 1));
    match json::read(line, LINE)
        .map_err(|problem| wrong(&problem.to_string()))?
        .node
    {
        Node::Object(members) => Ok(Some(members.into_vec())),
        _ => Err(wrong("is not a JSON object")),
    }
}

/// The delimiter that stands in the header most often, outside of quotes.
fn found_delimiter(text: &str) -> u8 {
    let line = text.lines().next().unwrap_or_default();
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in line.bytes() {
        quoted ^= byte == b'"';
        if let Some(at) = DELIMITERS.iter().position(|known| *known == byte)
            && !quoted
        {
            counts[at] += 1;
        }
    }
    let best = counts
        .iter()
        .enumerate()
        .rev()
        .max_by_key(|(_, count)| **count);
    best.map_or(b',', |(at, _)| DELIMITERS[at])
}

fn invalid(problem: &str) -> Failure {
    let message = format!("the table cannot be read: {problem}");
    Failure::last("invalid_table", message)
}
