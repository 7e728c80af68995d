//! The document as a page: operations by tag, then the shapes of bodies, each with a place to link
//! to. The template's knowledge of JSON Schema is here.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::Bytes;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    version: &'a str,
    text: String,
    tags: BTreeMap<&'a str, Vec<Operation<'a>>>,
    shapes: Vec<Shape<'a>>,
}

#[derive(Serialize)]
struct Operation<'a> {
    id: &'a str,
    method: String,
    path: &'a str,
    summary: &'a str,
    text: String,
    parameters: Vec<Row<'a>>,
    /// The shape of the body.
    body: Option<String>,
    answers: Vec<Answer<'a>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    status: &'a str,
    text: String,
    headers: Vec<&'a str>,
    /// Media types with their shapes.
    content: Vec<(&'a str, String)>,
}

/// A parameter, or a field of a shape.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    place: &'a str,
    required: bool,
    shape: String,
    text: String,
}

#[derive(Serialize)]
struct Shape<'a> {
    name: &'a str,
    text: String,
    fields: Vec<Row<'a>>,
    /// The type, if the shape is no object.
    shape: String,
}

/// Renders the page.
pub(super) fn render(document: &[u8]) -> Bytes {
    let document: Value = serde_json::from_slice(document).expect("the document is JSON");
    let mut tags: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, methods) in object(&document["paths"]) {
        for (method, spec) in object(methods) {
            let tag = spec["tags"][0].as_str().unwrap_or_default();
            let operation = operation(method, path, spec);
            tags.entry(tag).or_default().push(operation);
        }
    }
    let shapes: Vec<_> = object(&document["components"]["schemas"])
        .map(|(name, schema)| shape(name, schema))
        .collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let template = include_str!("docs.html");
    let info = &document["info"];
    let page = environment.render_str(
        template,
        minijinja::value::Serde(Page {
            title: string(&info["title"]),
            version: string(&info["version"]),
            text: text(string(&info["description"])),
            tags,
            shapes,
        }),
    );
    page.expect("the template fits its context").into()
}

fn operation<'a>(method: &str, path: &'a str, spec: &'a Value) -> Operation<'a> {
    let parameters = array(&spec["parameters"]).map(|parameter| Row {
        name: string(&parameter["name"]),
        place: string(&parameter["in"]),
        required: parameter["required"] == true,
        shape: type_of(&parameter["schema"]),
        text: text(string(&parameter["description"])),
    });
    let answers = object(&spec["responses"]).map(|(status, answer)| Answer {
        status,
        text: text(string(&answer["description"])),
        headers: object(&answer["headers"]).map(|(name, _)| name).collect(),
        content: content(answer).collect(),
    });
    Operation {
        id: string(&spec["operationId"]),
        method: method.to_uppercase(),
        path,
        summary: string(&spec["summary"]),
        text: text(string(&spec["description"])),
        parameters: parameters.collect(),
        body: content(&spec["requestBody"]).next().map(|(_, shape)| shape),
        answers: answers.collect(),
    }
}

fn content(of: &Value) -> impl Iterator<Item = (&str, String)> {
    object(&of["content"]).map(|(kind, media)| (kind, type_of(&media["schema"])))
}

fn shape<'a>(name: &'a str, schema: &'a Value) -> Shape<'a> {
    let required: Vec<_> = array(&schema["required"]).map(string).collect();
    let fields = object(&schema["properties"]).map(|(name, field)| Row {
        name,
        place: "",
        required: required.contains(&name),
        shape: type_of(field),
        text: text(string(&field["description"])),
    });
    let fields: Vec<_> = fields.collect();
    Shape {
        name,
        text: text(string(&schema["description"])),
        shape: if fields.is_empty() {
            type_of(schema)
        } else {
            String::new()
        },
        fields,
    }
}

/// The values of a schema, as HTML with links to shapes.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = escape(name.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#shape-{name}\">{name}</a>");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if schema[key].is_array() {
            let all: Vec<_> = array(&schema[key]).map(type_of).collect();
            return all.join(" or ");
        }
    }
    if schema["enum"].is_array() {
        let all =
            array(&schema["enum"]).map(|word| format!("<code>{}</code>", escape(&plain(word))));
        return all.collect::<Vec<_>>().join(", ");
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(string).collect(),
        Value::String(kind) => vec![kind.as_str()],
        _ => vec!["any JSON"],
    };
    let kinds = kinds.into_iter().map(|kind| match kind {
        "array" => format!("array of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", type_of(&schema["additionalProperties"]))
        }
        kind => escape(kind),
    });
    let mut shown = kinds.collect::<Vec<_>>().join(" or ");
    for (key, says) in [
        ("format", ""),
        ("minimum", "from "),
        ("maximum", "to "),
        ("minLength", "length from "),
        ("maxLength", "length to "),
        ("minItems", "items from "),
        ("maxItems", "items to "),
        ("default", "default "),
    ] {
        if let Some(value) = schema.get(key) {
            let value = escape(&plain(value));
            write!(shown, ", {says}{value}").expect("writing to memory does not fail");
        }
    }
    shown
}

/// A description: paragraphs, and code between backticks.
fn text(markdown: &str) -> String {
    let mut out = String::with_capacity(markdown.len() + 16);
    for paragraph in markdown.split("\n\n").filter(|text| !text.is_empty()) {
        out.push_str("<p>");
        for (index, piece) in paragraph.split('`').enumerate() {
            let piece = escape(piece);
            match index % 2 {
                0 => out.push_str(&piece),
                _ => out.extend(["<code>", &piece, "</code>"]),
            }
        }
        out.push_str("</p>");
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let pairs = value.as_object().into_iter().flat_map(Map::iter);
    pairs.map(|(key, value)| (key.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_read_well_and_are_escaped() {
        for (schema, shown) in [
            (
                json!({"type": "string", "format": "date-time"}),
                "string, date-time",
            ),
            (
                json!({"type": ["integer", "null"], "minimum": 1, "maximum": 9}),
                "integer or null, from 1, to 9",
            ),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Task"}}),
                "array of <a href=\"#shape-Task\">Task</a>",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                "object of string",
            ),
            (
                json!({"enum": ["a", "<b>"]}),
                "<code>a</code>, <code>&lt;b&gt;</code>",
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/x/Y"}]}),
                "null or <a href=\"#shape-Y\">Y</a>",
            ),
            (json!({}), "any JSON"),
        ] {
            assert_eq!(type_of(&schema), shown);
        }
        assert_eq!(
            text("a `<b>` & c\n\nd"),
            "<p>a <code>&lt;b&gt;</code> &amp; c</p><p>d</p>"
        );
    }
}
