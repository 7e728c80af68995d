//! docs/rest.md names every path, parameter and field that `/openapi.json` has.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::App;

/// The words of the page that stand in code: between backticks, or as keys of an example.
fn words_in_code(page: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = BTreeSet::new();
    for code in page.split('`').skip(1).step_by(2) {
        words.extend(code.split(|c| !is_word(c)));
    }
    for line in page.lines().filter(|line| line.starts_with('{')) {
        words.extend(line.split('"'));
    }
    words
}

fn properties<'a>(schema: &'a Value, found: &mut BTreeSet<&'a str>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().map(String::as_str));
            }
            map.values().for_each(|inner| properties(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| properties(inner, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_page_on_rest_names_every_field_and_parameter() {
    let app = App::start().await;
    let document = app.get("/openapi.json").await.json();
    // Blocks between fences begin and end with three of these.
    let page = include_str!("../../../../docs/rest.md").replace("```", "");
    let words = words_in_code(&page);
    let mut fields = BTreeSet::new();
    properties(&document["components"]["schemas"], &mut fields);
    assert!(fields.len() > 100, "{}", fields.len());
    let mut parameters = BTreeSet::new();
    for (_, methods) in document["paths"].as_object().unwrap() {
        for (_, operation) in methods.as_object().unwrap() {
            let of = operation["parameters"].as_array().into_iter().flatten();
            let query = of.filter(|parameter| parameter["in"] == "query");
            parameters.extend(query.filter_map(|parameter| parameter["name"].as_str()));
        }
    }
    assert!(parameters.len() > 10, "{}", parameters.len());
    let missing: Vec<&&str> = fields
        .union(&parameters)
        .filter(|name| !words.contains(**name))
        .collect();
    assert!(missing.is_empty(), "docs/rest.md lacks {missing:?}");
}

/// Keys that the command line reads elsewhere: of events, of results, and of files of its own.
const ELSEWHERE: [&str; 15] = [
    "after",
    "answer",
    "before",
    "blobs",
    "doc",
    "files",
    "names",
    "options",
    "path",
    "question",
    "run",
    "sha256",
    "value",
    "variables",
    "wait",
];

/// The keys by which code reads JSON: `["key"]`, `get("key")` and `field(value, "key")`.
fn keys_read(code: &str) -> BTreeSet<String> {
    let is_key = |key: &&str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        !key.is_empty() && key.chars().all(is_part)
    };
    let mut keys = BTreeSet::new();
    for (begin, end) in [("[\"", "\"]"), ("get(\"", "\")")] {
        let pieces = code.split(begin).skip(1);
        let found = pieces.filter_map(|piece| piece.split_once(end));
        keys.extend(found.map(|(key, _)| key).filter(is_key).map(str::to_owned));
    }
    for call in code.split("field(").skip(1) {
        let arguments = call.split_once(')').map_or("", |(arguments, _)| arguments);
        let key = arguments.rsplit('"').nth(1).unwrap_or_default();
        keys.extend(Some(key).filter(is_key).map(str::to_owned));
    }
    keys
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

/// The command line takes answers as JSON, so that it shows fields of newer servers as well.
#[tokio::test]
async fn the_command_line_reads_only_fields_that_answers_have() {
    let app = App::start().await;
    let document = app.get("/openapi.json").await.json();
    let mut fields = BTreeSet::new();
    properties(&document["components"]["schemas"], &mut fields);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../opspawn/src");
    let mut files = Vec::new();
    for part in ["client", "commands"] {
        sources(&folder.join(part), &mut files);
    }
    let mut read = BTreeSet::new();
    for file in files {
        let code = std::fs::read_to_string(&file).unwrap();
        let code = code.split("#[cfg(test)]").next().unwrap();
        read.extend(keys_read(code));
    }
    let unused: Vec<_> = ELSEWHERE
        .iter()
        .filter(|key| !read.contains(**key))
        .collect();
    assert!(unused.is_empty(), "nothing reads {unused:?}");
    let known = |key: &&String| fields.contains(key.as_str()) || ELSEWHERE.contains(&key.as_str());
    let wrong: Vec<_> = read.iter().filter(|key| !known(key)).collect();
    assert!(wrong.is_empty(), "no answer has {wrong:?}");
    assert!(read.len() > 80, "{}", read.len());
}
