//! The bytes of every answer are pinned: `answers.txt` has the answers of every case of `cases.rs`, with
//! ids, times and cursors replaced. `OPSPAWN_BLESS=1` writes it anew.

use std::{collections::HashMap, fmt::Write as _};

use super::{
    cases::{self, Case},
    document::Document,
    send,
};
use crate::harness::App;

const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/operations/answers.txt"
);

/// Answers that are not JSON, or have a test of their own.
const LEFT_OUT: [&str; 4] = ["docs", "docs_style", "metrics", "openapi"];

#[tokio::test]
async fn every_answer_has_the_bytes_of_the_golden_file() {
    let document = Document::read(&App::start().await).await;
    let mut answers = String::new();
    for operation in &document.operations {
        if LEFT_OUT.contains(&operation.id.as_str()) {
            continue;
        }
        let app = App::start().await;
        let Case { good, bad } = cases::of(&app, &operation.id).await;
        let calls = std::iter::once(good).chain(bad.into_iter().map(|(call, ..)| call));
        for mut call in calls {
            call.headers.push(("x-request-id", "r".into()));
            let reply = send(&app, operation, &call).await;
            let text = settled(&reply.text());
            let line = format!("{} {} {text}", operation.id, reply.status);
            writeln!(answers, "{}", line.trim_end()).unwrap();
        }
    }
    if std::env::var_os("OPSPAWN_BLESS").is_some() {
        std::fs::write(PATH, &answers).unwrap();
    }
    let pinned = std::fs::read_to_string(PATH).unwrap();
    for (pinned, answer) in pinned.lines().zip(answers.lines()) {
        assert_eq!(pinned, answer);
    }
    assert_eq!(pinned.lines().count(), answers.lines().count());
}

/// The length of what stands at the start of a text and fits a form, where `0` stands for a digit, `x`
/// for a digit of a number to base 16, and any other character for itself.
fn fits(text: &str, form: &str) -> bool {
    let (text, form) = (text.as_bytes(), form.as_bytes());
    text.len() >= form.len()
        && form.iter().zip(text).all(|(form, byte)| match form {
            b'0' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            form => form == byte,
        })
}

/// A text without the parts that the clock and the order of looks at it decide.
fn settled(text: &str) -> String {
    const TIME: &str = "0000-00-00T00:00:00.000Z";
    const ID: &str = "task_xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    // Of 2025, as the clock of the tests; microseconds.
    const MICROS: &str = "17444xxxxxxxxxxx";
    const CURSOR: &str = "\"next_cursor\":\"";
    let mut ids = HashMap::new();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if fits(rest, TIME) {
            out.push_str("TIME");
            TIME.len()
        } else if fits(rest, ID) {
            let next = ids.len() + 1;
            let number = ids.entry(&rest[..ID.len()]).or_insert(next);
            write!(out, "task_{number}").unwrap();
            ID.len()
        } else if fits(rest, MICROS) {
            out.push_str("MICROS");
            MICROS.len()
        } else if let Some(after) = rest.strip_prefix(CURSOR) {
            out.push_str(CURSOR);
            out.push_str("CURSOR");
            CURSOR.len() + after.find('"').unwrap()
        } else {
            out.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    out
}
