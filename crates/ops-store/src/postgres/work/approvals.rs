//! Approvals of a transaction.

use ops_core::{Approval, ApprovalDetails, TenantId, ports::StoreError, verbs::Key};
use tokio_postgres::types::Type;

use super::Work;
use crate::postgres::{
    connection::Param,
    schema::rows::{self, APPROVAL},
};

type Result<T> = std::result::Result<T, StoreError>;

impl Work<'_> {
    pub(super) fn approval_row(&mut self, key: Key, step: u32) -> Result<Option<(i64, Approval)>> {
        let sql = format!(
            "SELECT {APPROVAL} FROM approvals WHERE tenant_id = $1 AND task_id = $2 AND step = $3"
        );
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let step = i64::from(step);
        let params: [Param<'_>; 3] = [
            (&tenant, Type::INT8),
            (&task, Type::BYTEA),
            (&step, Type::INT8),
        ];
        let found = self.ask(&sql, &params)?;
        found.first().map(rows::approval).transpose()
    }

    pub(super) fn pending_approvals(&mut self, key: Key) -> Result<Vec<(i64, Approval)>> {
        let sql = format!(
            "SELECT {APPROVAL} FROM approvals WHERE tenant_id = $1 AND task_id = $2 \
             AND status = 'pending' ORDER BY approval_row"
        );
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
        let mut open = Vec::new();
        for row in &self.ask(&sql, &params)? {
            match rows::approval(row) {
                Ok(approval) => open.push(approval),
                Err(error) => {
                    tracing::error!(%error, "an approval cannot be read and stays open");
                }
            }
        }
        Ok(open)
    }

    pub(super) fn add_approval(&mut self, tenant: TenantId, approval: Approval) -> Result<()> {
        let sql = "INSERT INTO approvals (tenant_id, task_id, step, revision, status, tool, \
            tool_digest, agent_digest, input, input_digest, input_schema, reason, asked_at, \
            expires_at, details) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        let asked = &approval.request;
        let (number, task) = (i64::from(tenant.0), &approval.task.as_bytes()[..]);
        let (step, revision) = (i64::from(asked.step), i64::from(approval.revision));
        let (input, schema) = (asked.input.to_string(), asked.input_schema.to_string());
        let expires_at = asked.expires_at.map(|at| at.0);
        let details = details(&asked.details);
        let params: [Param<'_>; 15] = [
            (&number, Type::INT8),
            (&task, Type::BYTEA),
            (&step, Type::INT8),
            (&revision, Type::INT8),
            (&approval.status.as_str(), Type::TEXT),
            (&asked.tool.as_bytes(), Type::BYTEA),
            (&asked.tool_digest.as_bytes(), Type::BYTEA),
            (&asked.agent_digest.as_bytes(), Type::BYTEA),
            (&input, Type::TEXT),
            (&asked.input_digest.as_bytes(), Type::BYTEA),
            (&schema, Type::TEXT),
            (&asked.reason.as_bytes(), Type::BYTEA),
            (&approval.asked_at.0, Type::INT8),
            (&expires_at, Type::INT8),
            (&details, Type::TEXT),
        ];
        self.execute(sql, &params)?;
        Ok(())
    }

    pub(super) fn store_approval(
        &mut self,
        number: i64,
        _: TenantId,
        approval: Approval,
    ) -> Result<()> {
        let sql = "UPDATE approvals SET revision = $2, status = $3, input = $4, \
            input_digest = $5, decided_at = $6, decided_by = $7, note = $8, expires_at = $9, details = $10 \
            WHERE approval_row = $1";
        let asked = &approval.request;
        let revision = i64::from(approval.revision);
        let input = asked.input.to_string();
        let decided_at = approval.decided_at.map(|at| at.0);
        let decided_by = approval.decided_by.as_ref().map(|by| by.as_bytes());
        let note = approval.note.as_ref().map(|note| note.as_bytes());
        let expires_at = asked.expires_at.map(|at| at.0);
        let details = details(&asked.details);
        let params: [Param<'_>; 10] = [
            (&number, Type::INT8),
            (&revision, Type::INT8),
            (&approval.status.as_str(), Type::TEXT),
            (&input, Type::TEXT),
            (&asked.input_digest.as_bytes(), Type::BYTEA),
            (&decided_at, Type::INT8),
            (&decided_by, Type::BYTEA),
            (&note, Type::BYTEA),
            (&expires_at, Type::INT8),
            (&details, Type::TEXT),
        ];
        self.execute(sql, &params)?;
        Ok(())
    }
}

/// Details as they are stored: nothing where there are none.
fn details(details: &ApprovalDetails) -> Option<String> {
    let json = || serde_json::to_string(details).expect("details have string keys only");
    (!details.is_empty()).then(json)
}
