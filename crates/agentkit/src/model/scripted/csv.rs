//! CSV (RFC 4180), as far as templates need it: the first row is the header.

use minijinja::{Error, ErrorKind, Value};

use crate::template;

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

/// The filter `rows`. `pay` is asked before anything is built: a row has as many fields as the header,
/// however short it is.
pub(super) fn rows(
    text: &str,
    mut pay: impl FnMut(u64) -> Result<(), Error>,
) -> Result<Value, Error> {
    pay(reading(text))?;
    let (header, rows) = header_and_rows(text)?;
    let header: Vec<Value> = header.into_iter().map(Value::from).collect();
    let rows = rows.map(|row| {
        pay(2 * header.len() as u64)?;
        let fields = row.into_iter().chain(std::iter::repeat_with(String::new));
        let fields = fields.map(Value::from);
        Ok(template::map(header.iter().cloned().zip(fields).collect()))
    });
    Ok(template::list(rows.collect::<Result<_, Error>>()?))
}

/// The filter `column`.
pub(super) fn column(
    text: &str,
    which: &Value,
    mut pay: impl FnMut(u64) -> Result<(), Error>,
) -> Result<Value, Error> {
    pay(2 * reading(text))?;
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
    let fields = rows.map(|row| Value::from(row.into_iter().nth(column).unwrap_or_default()));
    Ok(template::list(fields.collect()))
}

/// What reading a text takes, in fuel.
pub(super) fn reading(text: &str) -> u64 {
    1 + text.len() as u64 / 16
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn free(_: u64) -> Result<(), Error> {
        Ok(())
    }

    /// security/S3: each row has as many fields as the header.
    #[test]
    fn a_wide_header_over_many_short_rows_is_paid_for_before_it_is_built() {
        let text = format!("{}\n{}", ",".repeat(100_000), "x\n".repeat(100_000));
        let mut left = 1_000_000_u64;
        let pay = |fuel| {
            left = left.checked_sub(fuel).ok_or_else(|| invalid("too much"))?;
            Ok(())
        };
        assert!(rows(&text, pay).is_err());
    }

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
        assert!(rows("\n\n", free).is_err());
    }

    #[test]
    fn picks_columns_by_name_and_number() {
        let text = "region,amount\nnorth,1\nsouth\n";
        assert_eq!(
            column(text, &"amount".into(), free).unwrap().to_string(),
            "['1', '']"
        );
        assert_eq!(
            column(text, &1.into(), free).unwrap().to_string(),
            "['north', 'south']"
        );
        for wrong in [
            Value::from("total"),
            Value::from(0),
            Value::from(3),
            Value::from(-1),
        ] {
            let error = column(text, &wrong, free).unwrap_err().to_string();
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
