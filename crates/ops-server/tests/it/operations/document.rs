//! The document as the server gives it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{client::Reply, harness::App};

/// `/openapi.json`.
pub(super) struct Document {
    pub(super) operations: Vec<Operation>,
    /// As the tests hold answers against them.
    components: Value,
    /// As the server gives them.
    given: Value,
}

/// One of its operations.
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) spec: Value,
}

impl Document {
    pub(super) async fn read(app: &App) -> Self {
        let whole = app.get("/openapi.json").await.json();
        assert_eq!(whole["openapi"], "3.1.0");
        let mut operations = Vec::new();
        for (path, item) in whole["paths"].as_object().unwrap() {
            for (method, spec) in item.as_object().unwrap() {
                operations.push(Operation {
                    id: spec["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    spec: spec.clone(),
                });
            }
        }
        let mut components = whole["components"].clone();
        strict(&mut components);
        Self {
            operations,
            components,
            given: whole["components"].clone(),
        }
    }

    /// What judges the bodies of an operation, if it takes one.
    pub(super) fn bodies(&self, operation: &Operation) -> Option<jsonschema::Validator> {
        let schema = operation
            .spec
            .pointer("/requestBody/content/application~1json/schema")?;
        let schema = json!({"allOf": [schema], "components": self.given});
        Some(jsonschema::draft202012::new(&schema).unwrap())
    }

    /// Where the fields of an operation's body are, those of objects within it as well.
    pub(super) fn places(&self, operation: &Operation) -> Vec<String> {
        let schema = &operation.spec["requestBody"]["content"]["application/json"]["schema"];
        let mut places = Vec::new();
        self.collect(schema, "", &mut places);
        places
    }

    fn collect(&self, schema: &Value, at: &str, places: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.collect(&self.given["schemas"][name], at, places);
        }
        for schema in schema["oneOf"].as_array().into_iter().flatten() {
            self.collect(schema, at, places);
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{at}/{name}");
            self.collect(schema, &place, places);
            places.push(place);
        }
    }

    /// The methods of a path.
    pub(super) fn methods(&self, path: &str) -> BTreeSet<&str> {
        let here = self
            .operations
            .iter()
            .filter(|operation| operation.path == path);
        here.map(|operation| operation.method.as_str()).collect()
    }

    /// The fields of an operation's body, if it takes one.
    pub(super) fn body_fields(&self, operation: &Operation) -> Option<BTreeSet<String>> {
        let schema = operation
            .spec
            .pointer("/requestBody/content/application~1json/schema")?;
        let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let fields = self.components["schemas"][name]["properties"]
            .as_object()
            .unwrap();
        Some(fields.keys().cloned().collect())
    }

    /// Holds an answer against what the operation says of its status.
    #[track_caller]
    pub(super) fn check(&self, operation: &Operation, reply: &Reply) {
        let responses = &operation.spec["responses"];
        let status = reply.status.to_string();
        let response = match responses.get(&status) {
            Some(response) => response,
            None if reply.status >= 400 => &responses["default"],
            None => panic!("{} does not know {status}: {}", operation.id, reply.text()),
        };
        let Some(content) = response["content"].as_object() else {
            assert_eq!(reply.body, b"", "{} {status} has no body", operation.id);
            return;
        };
        let given = reply.header("content-type").unwrap();
        let kind = given.split(';').next().unwrap();
        let of_kind = content.get(kind);
        let of_kind = of_kind.unwrap_or_else(|| panic!("{} {status} is {kind}", operation.id));
        if !kind.ends_with("json") {
            return;
        }
        let mut schema = of_kind["schema"].clone();
        strict(&mut schema);
        let schema = json!({"allOf": [schema], "components": self.components});
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let answer = reply.json();
        let errors: Vec<_> = validator
            .iter_errors(&answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(
            errors.is_empty(),
            "{} {status}: {errors:#?} in {answer}",
            operation.id
        );
    }
}

impl Operation {
    /// Whether a path is one of its template.
    pub(super) fn is_at(&self, path: &str) -> bool {
        let path = path
            .strip_suffix('/')
            .filter(|path| !path.is_empty())
            .unwrap_or(path);
        let (template, path): (Vec<_>, Vec<_>) =
            (self.path.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template
                .iter()
                .zip(path)
                .all(|(part, given)| part.starts_with('{') || *part == given)
    }

    /// The names of its query parameters.
    pub(super) fn query_parameters(&self) -> BTreeSet<String> {
        let all = self.spec["parameters"].as_array().into_iter().flatten();
        all.filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Clients must put up with new fields; the test must not: what is answered is documented.
fn strict(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) {
                close(map);
            }
            map.values_mut().for_each(strict);
        }
        Value::Array(items) => items.iter_mut().for_each(strict),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn close(map: &mut Map<String, Value>) {
    map.entry("additionalProperties")
        .or_insert_with(|| false.into());
}
