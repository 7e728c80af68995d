//! What people are shown. Everything goes through [`clean()`]: a model, a page, or whoever named a task
//! must not steer the terminal, nor show an approver other arguments than those that will run. Only an
//! answer that goes to a file or a pipe is what it is.

mod clean;
mod table;

use std::{io::IsTerminal as _, time::Duration};

use serde_json::Value;

pub(crate) use self::{
    clean::{CleanLines, clean, clean_json, one_line},
    table::Table,
};

/// Prints a line of a result to standard output.
macro_rules! show {
    () => { $crate::output::print("") };
    ($($arg:tt)*) => { $crate::output::print(&format!($($arg)*)) };
}

/// Prints a line of progress, a note or an error to standard error.
macro_rules! status {
    ($($arg:tt)*) => { $crate::output::tell(&format!($($arg)*)) };
}

pub(crate) use {show, status};

/// A line on standard output.
#[expect(clippy::print_stdout, reason = "the one place that prints results")]
pub(crate) fn print(text: &str) {
    println!("{}", clean(text));
}

/// A line on standard error.
#[expect(clippy::print_stderr, reason = "the one place that prints the rest")]
pub(crate) fn tell(text: &str) {
    eprintln!("{}", clean(text));
}

/// An answer: as it is, unless a terminal shows it.
#[expect(clippy::print_stdout, reason = "a piped answer is what it is")]
pub(crate) fn answer(text: &str) {
    if std::io::stdout().is_terminal() {
        print(text);
    } else {
        println!("{text}");
    }
}

/// A script of the program's own, as it is.
#[expect(clippy::print_stdout, reason = "a script is what it is")]
pub(crate) fn raw(text: &str) {
    print!("{text}");
}

/// A document, indented.
#[expect(clippy::print_stdout, reason = "the document is clean")]
pub(crate) fn json(value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    println!("{}", clean_json(&text));
}

/// A document on one line.
#[expect(clippy::print_stdout, reason = "the document is clean")]
pub(crate) fn json_line(value: &Value) {
    println!("{}", clean_json(&value.to_string()));
}

/// Shows on a terminal that something goes on; nothing elsewhere.
pub(crate) fn spinner(what: impl Into<String>) -> Option<indicatif::ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let spinner = indicatif::ProgressBar::new_spinner();
        spinner.set_message(clean(&what.into()).into_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        spinner
    })
}

/// Prints the fields that a document has, a line each, behind their labels.
pub(crate) fn fields(document: &Value, labels: &[(&str, &str)]) {
    for (label, key) in labels {
        if !document[*key].is_null() && document[*key] != "" {
            show!("{label:<9} {}", field(document, key));
        }
    }
}

/// A field as people read it, on one line; nothing for null.
pub(crate) fn field(value: &Value, key: &str) -> String {
    one_line(&plain(&value[key]))
}

/// A value as people read it; nothing for null.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // With the escapes of JSON alone.
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            clean_json(&value.to_string()).into_owned()
        }
    }
}

/// The arguments of a call on one line of so many characters: first those that say where it acts, then
/// the short ones. A long text would push out what a person decides on.
pub(crate) fn arguments(value: &Value, limit: usize) -> String {
    let whole = one_line(&plain(value));
    let Value::Object(members) = value else {
        return cut(&whole, limit);
    };
    if whole.chars().count() <= limit {
        return whole;
    }
    let mut shown: Vec<_> = members
        .iter()
        .map(|(name, value)| {
            let text = one_line(&clean_json(&value.to_string()));
            let is_place = matches!(
                name.rsplit('_').next(),
                Some("path" | "url" | "method" | "host" | "to" | "name" | "id" | "command")
            );
            (!is_place, text.chars().count(), name, text)
        })
        .collect();
    shown.sort_by_key(|one| (one.0, one.1));
    let shown: Vec<String> = shown
        .into_iter()
        .map(|(_, _, name, text)| format!("{}:{}", json_text(name), cut(&text, limit / 2)))
        .collect();
    cut(&format!("{{{}}}", shown.join(",")), limit)
}

fn json_text(text: &str) -> String {
    clean_json(&Value::from(text).to_string()).into_owned()
}

/// A word as a shell takes it: in quotes where it has characters that mean something there.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The text on one line, cut to so many characters.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= limit {
        return line;
    }
    let mut cut: String = line.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_show_where_a_call_acts_before_long_texts() {
        let long = "x".repeat(500);
        for (value, shown) in [
            (
                json!({"content": "a", "path": "b"}),
                r#"{"content":"a","path":"b"}"#,
            ),
            (
                json!({"content": long, "mode": "w", "path": "secret/a.txt"}),
                r#"{"path":"secret/a.txt","mode":"w","content":"xxxxxxxxxxxxxx…"#,
            ),
            (
                json!({"body": long, "method": "DELETE", "url": "https://a.example/"}),
                r#"{"method":"DELETE","url":"https://a.example/","body":"xxxxx…"#,
            ),
            (json!(long), &format!("{}…", &long[..59])),
        ] {
            assert_eq!(arguments(&value, 60), shown);
        }
        let long_path = json!({"path": format!("a/{long}"), "content": "c"});
        let shown = arguments(&long_path, 60);
        assert!(shown.contains(r#""content":"c""#), "{shown}");
    }

    #[test]
    fn json_has_one_kind_of_escapes() {
        let value = json!({"a": "\u{1b}[2J\u{202e}"});
        assert_eq!(plain(&value), r#"{"a":"\u001b[2J\u202e"}"#);
    }
}
