//! CSV (RFC 4180), as far as templates need it: the first row is the header.

use std::sync::Arc;

use minijinja::{Error, ErrorKind, Value};

/// The rows of a CSV text, the header among them; rows without any text are left out.
fn parse(text: &str) -> Result<Vec<Vec<String>>, Error> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut chars = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .chars()
        .peekable();
    let mut quoted = false;
    let mut end_row = |row: &mut Vec<String>, field: &mut String| {
        row.push(std::mem::take(field));
        let row = std::mem::take(row);
        if row != [""] {
            rows.push(row);
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            c if quoted => field.push(c),
            '"' if field.is_empty() => quoted = true,
            ',' => row.push(std::mem::take(&mut field)),
            '\n' => end_row(&mut row, &mut field),
            '\r' if chars.peek() == Some(&'\n') => {}
            c => field.push(c),
        }
    }
    if quoted {
        return Err(invalid("the CSV text ends inside a quoted field"));
    }
    end_row(&mut row, &mut field);
    Ok(rows)
}

fn header_and_rows(text: &str) -> Result<(Vec<String>, std::vec::IntoIter<Vec<String>>), Error> {
    let mut rows = parse(text)?.into_iter();
    let header = rows
        .next()
        .ok_or_else(|| invalid("the CSV text is empty"))?;
    Ok((header, rows))
}

/// The filter `rows`.
pub(super) fn rows(text: &str) -> Result<Value, Error> {
    let (header, rows) = header_and_rows(text)?;
    let header: Vec<Arc<str>> = header.into_iter().map(Arc::from).collect();
    Ok(rows
        .map(|row| {
            let fields = row.into_iter().chain(std::iter::repeat_with(String::new));
            Value::from_pairs(header.iter().cloned().zip(fields))
        })
        .collect())
}

/// The filter `column`.
pub(super) fn column(text: &str, which: &Value) -> Result<Value, Error> {
    let (header, rows) = header_and_rows(text)?;
    let column = match which.as_str() {
        Some(name) => header.iter().position(|field| field == name),
        None => which
            .as_usize()
            .and_then(|n| n.checked_sub(1))
            .filter(|n| *n < header.len()),
    };
    let column = column.ok_or_else(|| {
        invalid(format!(
            "no column {which}; the header has {}, counted from 1",
            header.len()
        ))
    })?;
    Ok(rows
        .map(|row| Value::from(row.into_iter().nth(column).unwrap_or_default()))
        .collect())
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_quotes_line_ends_and_blank_lines() {
        let text = "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n,\n2";
        let expected = [
            vec!["a", "b"],
            vec!["1", "x, \"y\"\nz"],
            vec!["", ""],
            vec!["2"],
        ];
        assert_eq!(parse(text).unwrap(), expected);
        assert!(parse("a\n\"b").is_err());
        assert!(rows("\n\n").is_err());
    }

    #[test]
    fn picks_columns_by_name_and_number() {
        let text = "region,amount\nnorth,1\nsouth\n";
        assert_eq!(
            column(text, &"amount".into()).unwrap().to_string(),
            "['1', '']"
        );
        assert_eq!(
            column(text, &1.into()).unwrap().to_string(),
            "['north', 'south']"
        );
        for wrong in [
            Value::from("total"),
            Value::from(0),
            Value::from(3),
            Value::from(-1),
        ] {
            let error = column(text, &wrong).unwrap_err().to_string();
            assert!(error.contains("the header has 2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_was_quoted(
            table in prop::collection::vec(prop::collection::vec(any::<String>(), 2..5), 1..5)
        ) {
            let text: String = table
                .iter()
                .map(|row| {
                    let row = row.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\"")));
                    row.collect::<Vec<_>>().join(",") + "\r\n"
                })
                .collect();
            prop_assert_eq!(parse(&text).unwrap(), table);
        }
    }
}
