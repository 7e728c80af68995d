-- The model calls under budgets that are under way, each with the epoch of the lease that it was reserved under, and those
-- that wait until others settle, with the most of their window. A task has one for each budget.
CREATE TABLE budget_calls (
  tenant_id INTEGER NOT NULL,
  task_id BLOB NOT NULL,
  budget TEXT NOT NULL,
  since INTEGER NOT NULL,
  call_epoch INTEGER NOT NULL,
  waits INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  micros INTEGER NOT NULL,
  most_tokens INTEGER,
  most_micros INTEGER,
  sum INTEGER,
  PRIMARY KEY (tenant_id, task_id, budget)
) WITHOUT ROWID;
CREATE INDEX budget_calls_window ON budget_calls (tenant_id, budget, since, waits, task_id);
