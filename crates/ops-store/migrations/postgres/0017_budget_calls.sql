-- The model calls under budgets that are under way, each with the epoch of the lease that it was reserved under, and those
-- that wait until others settle, with the most of their window. A task has one for each budget.
CREATE TABLE budget_calls (
  tenant_id BIGINT NOT NULL,
  task_id BYTEA NOT NULL,
  budget BYTEA NOT NULL,
  since BIGINT NOT NULL,
  call_epoch BIGINT NOT NULL,
  waits BOOLEAN NOT NULL,
  tokens BIGINT NOT NULL,
  micros BIGINT NOT NULL,
  most_tokens BIGINT,
  most_micros BIGINT,
  PRIMARY KEY (tenant_id, task_id, budget)
);
CREATE INDEX budget_calls_window ON budget_calls (tenant_id, budget, since, waits, task_id);
