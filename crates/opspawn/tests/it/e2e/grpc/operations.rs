//! The messages held against REST: every operation is a method, every parameter and member a field.

use std::collections::{BTreeMap, BTreeSet};

use ops_grpc::{rest_name, snake, word};
use ops_proto::DESCRIPTORS;
use prost_reflect::{DescriptorPool, EnumDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use super::super::test_dir::TestDir;

/// Operations that are no methods: gRPC has health and reflection of its own, and metrics are read over HTTP.
const NO_METHODS: [&str; 7] = [
    "health",
    "health_v1",
    "ready",
    "metrics",
    "openapi",
    "docs",
    "docs_style",
];
/// Parameters that are no fields: submits have `request_id`, a stream is another method, and nothing is cached.
const NO_FIELDS: [(&str, &str); 5] = [
    ("submit_task", "idempotency_key"),
    ("get_task", "if_none_match"),
    ("get_agent", "if_none_match"),
    ("list_events", "last_event_id"),
    ("approve_mcp_definition", "name"),
];
/// Fields that are no parameters: the name of the server is the parameter `name` of its path.
const OTHER_FIELDS: [(&str, &str); 1] = [("approve_mcp_definition", "server")];
/// Members that are no fields: one is `result` again, the other is always null.
const NO_MEMBERS: [(&str, &str); 2] = [("Task", "output_data"), ("Task", "workflow_id")];

struct Document {
    document: Value,
    /// Messages that were compared.
    seen: BTreeSet<String>,
    wrong: Vec<String>,
}

#[tokio::test]
async fn every_operation_is_a_method_with_the_same_fields() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let document = server.http().get("/openapi.json").await.unwrap();
    let mut held = Document {
        document: document.json().unwrap(),
        seen: BTreeSet::new(),
        wrong: Vec::new(),
    };
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let mut methods = BTreeMap::new();
    for service in pool
        .services()
        .filter(|service| service.package_name() == "opspawn.v1")
    {
        for method in service.methods() {
            methods.insert(snake(method.name()), method);
        }
    }
    assert!(methods.remove("follow_task").is_some());
    let paths = held.document["paths"].clone();
    let operations = paths.as_object().unwrap().values();
    let operations = operations.flat_map(|item| item.as_object().unwrap().values());
    for operation in operations {
        let Some(id) = operation["operationId"].as_str() else {
            continue;
        };
        match methods.remove(id) {
            None if NO_METHODS.contains(&id) => {}
            None => held.wrong.push(format!("{id}: no method")),
            Some(method) => {
                held.request(id, operation, &method.input());
                if !method.is_server_streaming() {
                    held.answer(id, operation, &method.output());
                }
            }
        }
    }
    let left: Vec<_> = methods.keys().collect();
    assert!(left.is_empty(), "methods without an operation: {left:?}");
    assert!(held.wrong.is_empty(), "{:#?}", held.wrong);
    assert!(held.seen.len() > 40, "{:?}", held.seen);
}

impl Document {
    /// A schema without references and without its null.
    fn resolved<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        loop {
            if let Some(reference) = schema["$ref"].as_str() {
                schema = self.document.pointer(&reference[1..]).unwrap();
                continue;
            }
            let either = schema["oneOf"]
                .as_array()
                .or_else(|| schema["anyOf"].as_array());
            let either = either.filter(|_| schema.get("properties").is_none());
            match either.and_then(|either| either.iter().find(|one| one["type"] != "null")) {
                Some(one) if either.is_some_and(|either| either.len() == 2) => schema = one,
                _ => return schema,
            }
        }
    }

    fn request(&mut self, id: &str, operation: &Value, message: &MessageDescriptor) {
        let mut names = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            let name = match parameter["in"] == "header" {
                true => name.to_lowercase().replace('-', "_"),
                false => name.to_owned(),
            };
            if !NO_FIELDS.contains(&(id, name.as_str())) {
                names.insert(name);
            }
        }
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        if !body.is_null() {
            let body = self.resolved(body).clone();
            names.extend(body["properties"].as_object().unwrap().keys().cloned());
            for field in message.fields() {
                let schema = &body["properties"][rest_name(&field)];
                if !schema.is_null() {
                    self.value(
                        &format!("{id} {}", field.name()),
                        schema,
                        &field.kind(),
                        field.is_list(),
                    );
                }
            }
        }
        let fields: BTreeSet<String> = message
            .fields()
            .map(|field| rest_name(&field).to_owned())
            .filter(|name| !OTHER_FIELDS.contains(&(id, name.as_str())))
            .collect();
        if fields != names {
            let lacks: Vec<_> = names.difference(&fields).collect();
            let more: Vec<_> = fields.difference(&names).collect();
            self.wrong.push(format!(
                "{id}: {} lacks {lacks:?}, has {more:?}",
                message.name()
            ));
        }
    }

    fn answer(&mut self, id: &str, operation: &Value, message: &MessageDescriptor) {
        let answers = &operation["responses"];
        let answer = ["200", "201", "204"].iter().map(|status| &answers[*status]);
        let answer = answer.into_iter().find(|answer| !answer.is_null());
        let Some(answer) = answer else {
            self.wrong.push(format!("{id}: no success"));
            return;
        };
        let schema = &answer["content"]["application/json"]["schema"];
        if schema.is_null() {
            if message.fields().len() > 0 {
                self.wrong
                    .push(format!("{id}: the operation answers nothing"));
            }
            return;
        }
        let schema = schema.clone();
        self.value(id, &schema, &Kind::Message(message.clone()), false);
    }

    fn value(&mut self, at: &str, schema: &Value, kind: &Kind, list: bool) {
        let schema = self.resolved(schema).clone();
        if list {
            if schema["type"]
                .as_array()
                .map_or(schema["type"] != "array", |types| {
                    !types.contains(&"array".into())
                })
            {
                self.wrong.push(format!("{at}: no list in REST: {schema}"));
                return;
            }
            let items = self.resolved(&schema["items"]).clone();
            self.value(at, &items, kind, false);
            return;
        }
        let is = |wanted: &str| match &schema["type"] {
            Value::Array(types) => types.contains(&wanted.into()),
            kind => kind == wanted,
        };
        let fits = match kind {
            Kind::Message(message) if message.full_name() == "opspawn.v1.Json" => true,
            Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
                is("string")
            }
            Kind::Message(message) if message.is_map_entry() => {
                !schema["additionalProperties"].is_null()
            }
            Kind::Message(message) => return self.object(at, &schema, message),
            Kind::Enum(kind) => return self.words(at, &schema, kind),
            Kind::String => is("string"),
            Kind::Bool => is("boolean"),
            Kind::Uint32 | Kind::Uint64 => is("integer"),
            Kind::Double => is("number"),
            _ => false,
        };
        if !fits {
            self.wrong
                .push(format!("{at}: {kind:?} is no {}", schema["type"]));
        }
    }

    fn object(&mut self, at: &str, schema: &Value, message: &MessageDescriptor) {
        if !self.seen.insert(message.full_name().to_owned()) {
            return;
        }
        let Some(members) = schema["properties"].as_object() else {
            self.wrong
                .push(format!("{at}: no members in REST: {schema}"));
            return;
        };
        let name = message.name();
        for member in members.keys() {
            let there = message.fields().any(|field| rest_name(&field) == member);
            if !there && !NO_MEMBERS.contains(&(name, member.as_str())) {
                self.wrong.push(format!("{name} lacks `{member}` ({at})"));
            }
        }
        for field in message.fields() {
            match members.get(rest_name(&field)) {
                Some(schema) => {
                    let at = format!("{name}.{}", field.name());
                    self.value(&at, schema, &field.kind(), field.is_list());
                }
                None => self.wrong.push(format!(
                    "{name} has `{}`, which REST has not ({at})",
                    field.name()
                )),
            }
        }
    }

    fn words(&mut self, at: &str, schema: &Value, kind: &EnumDescriptor) {
        let words: BTreeSet<String> = schema["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        let values = kind.values().filter(|value| value.number() != 0);
        let values: BTreeSet<String> = values.map(|value| word(&value)).collect();
        if words != values {
            self.wrong.push(format!(
                "{at}: {} has {values:?}, REST {words:?}",
                kind.name()
            ));
        }
    }
}
