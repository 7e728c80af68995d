-- Tasks that are tied to others: children, concurrency keys, approvals; and tasks that stand still.
-- flags: 1 paused, 2 heard, 4 has a parent, 8 has children, 16 has asked for approvals, 32 has a key.
ALTER TABLE tasks ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN children_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN children_output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN children_cost_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN parent_row INTEGER;
ALTER TABLE tasks ADD COLUMN concurrency_key TEXT;
ALTER TABLE task_requests ADD COLUMN parent_id BLOB;
ALTER TABLE task_requests ADD COLUMN parent_step INTEGER;
ALTER TABLE task_requests ADD COLUMN depth_left INTEGER;

CREATE INDEX tasks_children ON tasks (parent_row, task_id) WHERE parent_row IS NOT NULL;
-- Who holds a key: a task that has started and has not ended.
CREATE INDEX tasks_keyed ON tasks (tenant_id, concurrency_key, started_at)
  WHERE concurrency_key IS NOT NULL AND completed_at IS NULL;
-- Who waits for a key, in the order of its turn.
CREATE INDEX tasks_blocked ON tasks (tenant_id, concurrency_key, priority DESC, task_id)
  WHERE wait_on = 'concurrency';

-- Tasks that were given up; 2 once another task has taken one over.
CREATE INDEX tasks_dead ON tasks (tenant_id, task_id) WHERE dead_letter = 1;

-- Leave that steps ask for. One row for each step that asks; an edit makes a new revision of it.
CREATE TABLE approvals (
  approval_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  task_row INTEGER NOT NULL,
  task_id BLOB NOT NULL,
  step INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  status TEXT NOT NULL,
  tool TEXT NOT NULL,
  tool_digest TEXT NOT NULL,
  agent_digest TEXT NOT NULL,
  input TEXT NOT NULL,
  input_digest TEXT NOT NULL,
  input_schema TEXT NOT NULL,
  reason TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  expires_at INTEGER,
  decided_at INTEGER,
  decided_by TEXT,
  note TEXT
);
CREATE UNIQUE INDEX approvals_key ON approvals (tenant_id, task_row, step);
CREATE INDEX approvals_status ON approvals (tenant_id, status, approval_row);
