//! docs/rest.md names every path, parameter and field that `/openapi.json` has.

use std::collections::BTreeSet;

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
