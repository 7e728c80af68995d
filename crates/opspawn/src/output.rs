//! What goes to stdout.

use std::{io::IsTerminal as _, time::Duration};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// A document, indented.
pub(crate) fn json(value: &Value) {
    println!(
        "{}",
        serde_json::to_string_pretty(value).unwrap_or_default()
    );
}

/// A document on one line.
pub(crate) fn json_line(value: &Value) {
    println!("{value}");
}

/// A table with these columns.
pub(crate) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.to_vec());
    table
}

/// Prints a table without the blanks around it.
pub(crate) fn print_table(table: &Table) {
    for line in table.lines() {
        println!("{}", line.trim());
    }
}

/// Shows on a terminal that something goes on; nothing elsewhere.
pub(crate) fn spinner(what: impl Into<String>) -> Option<indicatif::ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let spinner = indicatif::ProgressBar::new_spinner();
        spinner.set_message(what.into());
        spinner.enable_steady_tick(Duration::from_millis(120));
        spinner
    })
}

/// A field as people read it; nothing for null.
pub(crate) fn field(value: &Value, key: &str) -> String {
    plain(&value[key])
}

/// A value as people read it; nothing for null.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The text on one line, cut to so many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let line = text.replace(['\n', '\r'], " ");
    if line.chars().count() <= most {
        return line;
    }
    let mut cut: String = line.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
