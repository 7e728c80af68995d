//! Fuzz targets: one text as the body of every request, and a query string as that of lists.

use ops_core::TenantId;

use super::{
    agents, approvals, control, create, dead_letters, mcp, reconciliations, retention, schedules,
    shape::Body, tasks,
};
use crate::json;

/// The readers of bodies, and of the objects within them.
const READERS: &[Reader] = &[
    reader::<agents::request::ApplyAgent>(),
    reader::<approvals::Approve>(),
    reader::<approvals::Deny>(),
    reader::<approvals::Edit>(),
    reader::<control::Rerun>(),
    reader::<control::Signal>(),
    reader::<create::request::LimitTask>(),
    reader::<create::request::SubmitLimits>(),
    reader::<create::request::SubmitRetry>(),
    reader::<create::request::SubmitTask>(),
    reader::<create::batch::SubmitTasks>(),
    reader::<dead_letters::Redrive>(),
    reader::<mcp::ApproveDefinition>(),
    reader::<reconciliations::Resolve>(),
    reader::<retention::RunRetention>(),
    reader::<schedules::request::ApplySchedule>(),
];

/// The name of a body, and what reads it.
type Reader = (&'static str, fn(&str));

const fn reader<B: Body>() -> Reader {
    (B::NAME, read::<B>)
}

/// A body that was checked to be JSON is read by every reader: a refusal names what is wrong, and nothing panics.
pub(crate) fn body(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if json::check(text).is_err() {
        return;
    }
    assert!(is_json, "the check takes what is no JSON");
    create::fuzzing::submit(text);
    for (_, read) in READERS {
        read(text);
    }
}

fn read<B: Body>(text: &str) {
    if let Err(problem) = B::read(text, |_, _| ()) {
        let body = problem.body(None);
        let told: serde_json::Value = serde_json::from_slice(&body).expect("a problem is JSON");
        assert!(
            told["errors"]
                .as_array()
                .is_some_and(|errors| !errors.is_empty())
        );
    }
}

/// A query string of commands for many tasks, and of dead letters.
pub(crate) fn query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for read in [
        tasks::ListRequest::many(TenantId::DEFAULT, Some(&text)).map(drop),
        tasks::ListRequest::dead_letters(TenantId::DEFAULT, Some(&text)).map(drop),
    ] {
        if let Err(problem) = read {
            assert!(serde_json::from_slice::<serde_json::Value>(&problem.body(None)).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The reader of MCP approvals was missing.
    #[test]
    fn every_body_of_the_document_has_its_reader_here() {
        let (_, document) = crate::rest::routes("0").finish();
        let mut document = serde_json::to_value(document).unwrap();
        json::settle(&mut document);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let bodies = schemas
            .iter()
            .filter(|(_, schema)| schema["additionalProperties"] == false);
        let bodies: BTreeSet<_> = bodies.map(|(name, _)| name.as_str()).collect();
        let readers: BTreeSet<_> = READERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(readers, bodies);
    }
}
