//! Approvals: steps that wait for a decision, and the decision.

use bounded::schema::Schema;
use ops_core::{
    Approval, Caller, TaskId, TenantId,
    ports::{ApprovalAction, ApprovalDecision, ApprovalFilter},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{Engine, Error, FieldError};

/// The longest name of a person who decides, in bytes.
const MAX_BY: usize = 128;
/// The longest reason, in bytes.
const MAX_REASON: usize = 4_096;

/// A page of approvals.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalPage {
    /// The approvals, newest first.
    pub approvals: Vec<Approval>,
    /// The number to go on before, if there are more.
    pub next: Option<u64>,
    /// Unreadable approvals: a task and a step each.
    pub damaged: Vec<String>,
}

/// A decision about a step that requested approval.
#[derive(Debug, Clone, PartialEq)]
pub enum StepDecision {
    /// The step may run.
    Approve,
    /// The step never runs.
    Deny {
        /// Why; the model is told.
        reason: String,
    },
    /// The step should run with other arguments, which need approval as well.
    Edit {
        /// The arguments.
        input: Value,
    },
}

/// Checks the length of a deciding person's name.
pub(crate) fn check_name(by: Option<&str>) -> Result<(), Error> {
    if by.is_none_or(|by| !by.is_empty() && by.len() <= MAX_BY) {
        return Ok(());
    }
    let message = "must have 1 to 128 bytes";
    Err(Error::invalid(vec![FieldError::new(
        &["by"],
        "value_error",
        message,
    )]))
}

impl Engine {
    /// Approvals, newest first.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn approvals(
        &self,
        tenant: TenantId,
        filter: ApprovalFilter,
    ) -> Result<ApprovalPage, Error> {
        let limit = filter.limit.clamp(1, 999);
        let filter = ApprovalFilter {
            limit: limit + 1,
            ..filter
        };
        let mut found = self.store.approvals(tenant, filter.clone()).await?;
        let mut more = found.len() > limit as usize;
        found.found.truncate(limit as usize);
        let last = found.last().map(|(row, _)| *row);
        if !more && last.is_some() {
            // It may have ended early because it is large.
            let rest = ApprovalFilter {
                before: last,
                limit: 1,
                ..filter
            };
            more = !self.store.approvals(tenant, rest).await?.is_empty();
        }
        let next = last.filter(|_| more);
        let damaged = std::mem::take(&mut found.damaged);
        let approvals = found.into_iter().map(|(_, approval)| approval).collect();
        Ok(ApprovalPage {
            approvals,
            next,
            damaged,
        })
    }

    /// The approval that a step asked for.
    ///
    /// # Errors
    /// `approval_not_found`, or a code of the storage.
    pub async fn approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        step: u32,
    ) -> Result<Approval, Error> {
        Ok(self.store.approval(tenant, task, step).await?)
    }

    /// Decides about a step that requested approval. `revision` is the revision that the person looked at.
    ///
    /// # Errors
    /// `approval_not_found`, `approval_decided`, `approval_changed`, `invalid_body` if edited arguments do
    /// not fit the tool's schema, `task_not_found`, `task_final`, or a code of the storage.
    pub async fn decide_approval(
        &self,
        caller: &Caller,
        task: TaskId,
        step: u32,
        decision: StepDecision,
        revision: Option<u32>,
        by: Option<String>,
    ) -> Result<Approval, Error> {
        let mut fields = Vec::new();
        if let Err(wrong) = check_name(by.as_deref()) {
            fields.extend(wrong.fields);
        }
        let action = match decision {
            StepDecision::Approve => ApprovalAction::Approve,
            StepDecision::Deny { reason } => {
                if reason.len() > MAX_REASON {
                    let message = "must have 4096 bytes at most";
                    fields.push(FieldError::new(&["reason"], "value_error", message));
                }
                ApprovalAction::Deny { reason }
            }
            StepDecision::Edit { input } => {
                let open = self.store.approval(caller.tenant, task, step).await?;
                fields.append(&mut violations(&open.request.input_schema, &input).await);
                let digest = digest(&input)?;
                ApprovalAction::Edit { input, digest }
            }
        };
        if !fields.is_empty() {
            return Err(Error::invalid(fields));
        }
        let decision = ApprovalDecision {
            actor: caller.actor.clone(),
            step,
            action,
            revision,
            by,
        };
        Ok(self
            .store
            .decide_approval(caller.tenant, task, decision)
            .await?)
    }
}

/// Why arguments do not fit a tool's schema. A schema that does not compile fits no arguments: arguments
/// that a correct schema forbids must not slip through.
async fn violations(schema: &Value, input: &Value) -> Vec<FieldError> {
    let field = |path: &str, message: String, kind| FieldError {
        path: std::iter::once("arguments")
            .chain(path.split('/').filter(|part| !part.is_empty()))
            .map(str::to_owned)
            .collect(),
        message,
        kind,
    };
    let checked = match Schema::prepare(schema).await {
        Ok(schema) => schema.check(input).await,
        Err(error) => {
            let message = format!("the tool's schema cannot be used: {error}");
            return vec![field("", message, error.code())];
        }
    };
    let Err(error) = checked else {
        return Vec::new();
    };
    let kind = error.code();
    let violations = error.violations().into_iter();
    violations
        .map(|violation| field(&violation.at, violation.message, kind))
        .collect()
}

/// SHA-256 of a value as RFC 8785 JSON, in hex.
fn digest(value: &Value) -> Result<String, Error> {
    let bytes = serde_json_canonicalizer::to_vec(value).map_err(|error| {
        Error::invalid(vec![FieldError::new(
            &["arguments"],
            "value_error",
            format!("cannot be written as RFC 8785 JSON: {error}"),
        )])
    })?;
    Ok(units::hex::encode(Sha256::digest(bytes)))
}
