//! Fuzz targets: one text as the body of every request, and a query string as that of lists.

use ops_core::TenantId;

use super::{
    agents, approvals, control, create, dead_letters, reconciliations, retention, schedules,
    shape::Body, tasks,
};
use crate::json;

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
    read::<agents::ApplyAgent>(text);
    read::<approvals::Approve>(text);
    read::<approvals::Deny>(text);
    read::<approvals::Edit>(text);
    read::<control::Rerun>(text);
    read::<control::Signal>(text);
    read::<create::LimitTask>(text);
    read::<create::SubmitLimits>(text);
    read::<create::SubmitRetry>(text);
    read::<create::SubmitTask>(text);
    read::<create::SubmitTasks>(text);
    read::<dead_letters::Redrive>(text);
    read::<reconciliations::Resolve>(text);
    read::<retention::RunRetention>(text);
    read::<schedules::ApplySchedule>(text);
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
