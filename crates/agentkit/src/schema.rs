//! JSON Schemas of Rust types.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::Value;

/// The schema of a tool's arguments.
pub(crate) fn of_arguments<T: JsonSchema>() -> Value {
    plain::<T>().into()
}

/// The schema of an answer: objects take no other members than theirs, since a provider can hold a
/// model only to such a schema.
pub(crate) fn of_answer<T: JsonSchema>() -> Value {
    let mut schema = plain::<T>();
    close(&mut schema);
    schema.into()
}

/// Types stand where they are used as far as that can be: not every provider follows a `$ref`.
fn plain<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The name of a type in somebody's program tells a model nothing.
    schema.remove("title");
    without_widths(&mut schema);
    schema
}

/// Formats such as `uint32` are of no standard, and refused by some providers.
fn without_widths(schema: &mut Schema) {
    let format = schema.get("format").and_then(Value::as_str);
    let widths = ["int", "uint", "float", "double"];
    if format.is_some_and(|format| widths.iter().any(|width| format.starts_with(width))) {
        schema.remove("format");
    }
    transform_subschemas(&mut without_widths, schema);
}

fn close(schema: &mut Schema) {
    const OPEN: [&str; 6] = [
        "additionalProperties",
        "unevaluatedProperties",
        "patternProperties",
        "allOf",
        "anyOf",
        "oneOf",
    ];
    if schema.get("properties").is_some() && !OPEN.iter().any(|key| schema.get(*key).is_some()) {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    transform_subschemas(&mut close, schema);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Order {
        /// What is ordered.
        item: Item,
        count: u8,
        share: Option<f64>,
        notes: std::collections::BTreeMap<String, String>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Item {
        name: String,
    }

    #[test]
    fn types_stand_where_they_are_used_and_answers_are_closed() {
        let arguments = of_arguments::<Order>();
        assert_eq!(arguments["type"], "object");
        assert_eq!(arguments["required"], json!(["item", "count", "notes"]));
        let item = &arguments["properties"]["item"];
        assert_eq!(item["description"], "What is ordered.");
        assert_eq!(item["properties"]["name"], json!({"type": "string"}));
        // No provider knows the widths of numbers.
        let count = &arguments["properties"]["count"];
        assert_eq!(
            *count,
            json!({"type": "integer", "minimum": 0, "maximum": 255})
        );
        let share = &arguments["properties"]["share"];
        assert_eq!(*share, json!({"type": ["number", "null"]}));
        for key in ["$schema", "title", "$defs", "additionalProperties"] {
            assert_eq!(arguments.get(key), None, "{key}");
        }
        let answer = of_answer::<Order>();
        assert_eq!(answer["additionalProperties"], false);
        assert_eq!(answer["properties"]["item"]["additionalProperties"], false);
        let notes = &answer["properties"]["notes"]["additionalProperties"];
        assert_eq!(*notes, json!({"type": "string"}));
    }
}
