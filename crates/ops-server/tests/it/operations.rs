//! Every operation of `/openapi.json` over real HTTP: a good request, whose answer is held against
//! its schema, and a bad one. An operation without a case in `cases.rs` fails the test, and so does
//! a field or a parameter that the server knows and the document does not, or the reverse.

pub(crate) mod cases;
mod document;

use std::collections::BTreeSet;

use serde_json::Value;

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
