//! Every operation of `/openapi.json` over real HTTP: a good request, whose answer is held against
//! its schema, and a bad one. An operation without a case in `cases.rs` fails the test, and so does
//! a field or a parameter that the server knows and the document does not, or the reverse.

mod answers;
pub(crate) mod cases;
mod document;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::{
    cases::{Call, Case},
    document::{Document, Operation},
};
use crate::{
    client::{Reply, request},
    harness::App,
};

#[tokio::test]
async fn every_operation_answers_as_its_document_says() {
    let document = Document::read(&App::start().await).await;
    assert!(document.operations.len() >= 13, "the document is whole");
    let mut ids = BTreeSet::new();
    for operation in &document.operations {
        assert!(ids.insert(&operation.id), "{} is there twice", operation.id);
        for (key, whose) in [("summary", "summary"), ("tags", "tag")] {
            assert!(
                operation.spec.get(key).is_some(),
                "{} has no {whose}",
                operation.id
            );
        }
        let app = App::start().await;
        let Case { good, bad } = cases::of(&app, &operation.id).await;
        let reply = send(&app, operation, &good).await;
        document.check(operation, &reply);
        for (call, status, code) in bad {
            let reply = send(&app, operation, &call).await;
            reply.problem(status, code);
            document.check(operation, &reply);
        }
    }
}

#[tokio::test]
async fn every_parameter_and_field_that_is_known_is_documented() {
    let document = Document::read(&App::start().await).await;
    let mut checked = 0;
    for operation in &document.operations {
        let app = App::start().await;
        let Case { good, .. } = cases::of(&app, &operation.id).await;
        let documented = operation.query_parameters();
        if !documented.is_empty() {
            let path = good.path.split('?').next().unwrap();
            let call = Call {
                path: format!("{path}?zzzzzzzzzzzzzzz=1"),
                ..good.clone()
            };
            let known = known(&send(&app, operation, &call).await);
            assert_eq!(known, documented, "query parameters of {}", operation.id);
            checked += 1;
        }
        if let Some(documented) = document.body_fields(operation) {
            let mut body: Value = serde_json::from_slice(&good.body).unwrap();
            body["zzzzzzzzzzzzzzz"] = 1.into();
            let call = Call {
                body: body.to_string().into_bytes(),
                ..good
            };
            let known = known(&send(&app, operation, &call).await);
            assert_eq!(known, documented, "fields of {}", operation.id);
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}

/// Kinds of mistakes that a schema can name.
const SHAPE: [&str; 9] = [
    "missing",
    "unknown_field",
    "string_type",
    "bool_type",
    "int_type",
    "float_type",
    "dict_type",
    "list_type",
    "enum",
];

/// Bodies like a good one: with another value in each place, with each field left out, with a field
/// more, and no object at all.
fn variations(good: &Value, places: &[String]) -> Vec<Value> {
    let values = json!([
        null, true, 0, 7, -1, 1.5, 300, 4_294_967_296_u64, "", "x", "x".repeat(5_000),
        "2025-04-12T10:00:00Z", "30s", [], [1], {}, {"a": 1}, {"a": "b"}, {"a=b": "c"}, {"": "x"},
    ]);
    let mut all = vec![
        json!({}),
        json!([]),
        json!(7),
        json!("x"),
        Value::Null,
        good.clone(),
    ];
    let mut with = |place: &str, value: Option<&Value>| {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut body = good.clone();
        // An object that the good body does not have.
        if let Some((parent, name)) = parent.rsplit_once('/')
            && body.pointer(&format!("{parent}/{name}")).is_none()
        {
            body.pointer_mut(parent).unwrap()[name] = json!({});
        }
        let fields = body
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .unwrap();
        match value {
            Some(value) => drop(fields.insert(name.to_owned(), value.clone())),
            None => drop(fields.remove(name)),
        }
        all.push(body);
    };
    for place in places {
        with(place, None);
        for value in values.as_array().unwrap() {
            with(place, Some(value));
        }
        let (parent, _) = place.rsplit_once('/').unwrap();
        with(&format!("{parent}/zzzzzzzzzzzzzzz"), Some(&values[1]));
    }
    let fields = good.as_object().unwrap().keys();
    all.push(fields.map(|name| (name.clone(), Value::Null)).collect());
    all
}

/// security.md, "Missing": what the document says of bodies is what the server takes.
#[tokio::test]
async fn a_body_that_is_taken_fits_its_schema_and_one_that_does_not_fit_is_refused() {
    let document = Document::read(&App::start().await).await;
    let (mut operations, mut taken, mut refused) = (0, 0, 0);
    for operation in &document.operations {
        let Some(schema) = document.bodies(operation) else {
            continue;
        };
        operations += 1;
        let places = document.places(operation);
        let mut app = App::start().await;
        let mut case = cases::of(&app, &operation.id).await.good;
        let good: Value = serde_json::from_slice(&case.body).unwrap();
        for (number, mut body) in variations(&good, &places).into_iter().enumerate() {
            // A key stands for one body.
            if body["request_id"] == "k" {
                body["request_id"] = format!("k{number}").into();
            }
            let fits = schema.is_valid(&body);
            let call = Call {
                body: body.to_string().into_bytes(),
                ..case.clone()
            };
            let reply = send(&app, operation, &call).await;
            let all_taken =
                reply.status < 300 && reply.json()["refused"].as_u64().unwrap_or(0) == 0;
            let id = &operation.id;
            assert!(fits || !all_taken, "{id} takes {body}");
            assert!(reply.status < 500, "{id}: {body}: {}", reply.text());
            if !fits && reply.status >= 300 {
                assert_eq!(reply.status, 422, "{id}: {body}: {}", reply.text());
                refused += 1;
            }
            if reply.status == 422 {
                let errors = reply.json()["errors"].clone();
                let mut kinds = errors.as_array().into_iter().flatten();
                let is_shape = kinds.any(|error| SHAPE.contains(&error["type"].as_str().unwrap()));
                assert!(
                    !(fits && is_shape),
                    "{id}: the schema takes {body}: {errors}"
                );
            }
            if all_taken {
                taken += 1;
                // What was decided once is not decided again.
                if matches!(
                    id.as_str(),
                    "approve_step" | "deny_step" | "edit_step" | "resolve_step"
                ) {
                    app = App::start().await;
                    case = cases::of(&app, id).await.good;
                }
            }
        }
    }
    assert!(operations >= 13, "{operations}");
    assert!(
        taken >= 100 && refused >= 500,
        "{taken} taken, {refused} refused"
    );
}

#[tokio::test]
async fn a_path_takes_a_slash_at_its_end_and_nothing_beside_its_methods() {
    let document = Document::read(&App::start().await).await;
    for operation in &document.operations {
        let app = App::start().await;
        let Case { good, .. } = cases::of(&app, &operation.id).await;
        let (path, query) = good.path.split_once('?').unwrap_or((&good.path, ""));
        let slash = Call {
            path: format!("{path}/?{query}"),
            ..good.clone()
        };
        let reply = send(&app, operation, &slash).await;
        document.check(operation, &reply);
        let reply = request(app.addr, "TRACE", path, &[], b"").await;
        reply.problem(405, "method_not_allowed");
        let mut allowed: BTreeSet<_> = reply.header("allow").unwrap().split(',').collect();
        allowed.remove("HEAD");
        assert_eq!(allowed, document.methods(&operation.path), "{path}");
    }
}

async fn send(app: &App, operation: &Operation, call: &Call) -> Reply {
    let path = call.path.split('?').next().unwrap();
    assert!(
        operation.is_at(path),
        "{path} is not a path of {}",
        operation.id
    );
    let headers: Vec<_> = call
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    request(
        app.addr,
        &operation.method,
        &call.path,
        &headers,
        &call.body,
    )
    .await
}

/// The names in "unknown field `x`; known are `a`, `b`".
fn known(reply: &Reply) -> BTreeSet<String> {
    assert_eq!(reply.status, 422, "{}", reply.text());
    let errors = reply.json()["errors"].clone();
    let messages = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["msg"].as_str().unwrap());
    let (_, names) = messages
        .filter_map(|message| message.split_once("; known are "))
        .next()
        .unwrap_or_else(|| panic!("{errors} names nothing"));
    names
        .split(", ")
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}
