-- The first schema. Times are UTC microseconds, money is micro-USD, ids are the 16 bytes of a UUID,
-- digests the 32 bytes of a SHA-256. Tenant 1 costs no byte in a row or a key.
PRAGMA application_id = 0x4f505357; -- 'OPSW'

CREATE TABLE tenants (
  tenant_id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);
INSERT INTO tenants (tenant_id, name) VALUES (1, 'default');

-- Where each task stands: what a decision, a claim or a filter needs. The rows are small, because
-- each step rewrites one; what was asked lives in task_requests under the same task_row.
CREATE TABLE tasks (
  task_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  task_id BLOB NOT NULL,
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  state TEXT NOT NULL,
  session_id BLOB,
  due_at INTEGER,
  wait_on TEXT,
  wait TEXT,
  dead_letter INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  lease_losses INTEGER NOT NULL,
  run_started INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cost_micros INTEGER NOT NULL,
  retry_max_attempts INTEGER NOT NULL,
  retry_initial_micros INTEGER NOT NULL,
  retry_max_micros INTEGER NOT NULL,
  retry_max_lease_losses INTEGER NOT NULL,
  started_at INTEGER,
  updated_at INTEGER NOT NULL,
  completed_at INTEGER,
  result TEXT,
  result_digest BLOB,
  error TEXT
);
CREATE UNIQUE INDEX tasks_key ON tasks (tenant_id, task_id);
-- What a claim takes next; the suspects (lease_losses >= 2) apart from the others, so that a claim of
-- either skips none of the other. The last two columns let a listing of the backlog stay in the index.
CREATE INDEX tasks_ready
  ON tasks (queue, (lease_losses >= 2), priority DESC, task_id, tenant_id, started_at)
  WHERE state = 'pending';
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_leased ON tasks (session_id) WHERE session_id IS NOT NULL;
-- The leased suspects: one at the most, usually none.
CREATE INDEX tasks_suspect ON tasks (session_id)
  WHERE session_id IS NOT NULL AND lease_losses >= 2;
-- For listings by state; pending and running are in the two indexes above.
CREATE INDEX tasks_settled ON tasks (tenant_id, state, task_id)
  WHERE state NOT IN ('pending', 'running');
CREATE INDEX tasks_in_doubt ON tasks (tenant_id, task_id) WHERE wait_on = 'in_doubt';

-- What was asked. Never changes.
CREATE TABLE task_requests (
  task_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  task_type TEXT NOT NULL,
  name TEXT,
  agent_id TEXT,
  input TEXT,
  input_digest BLOB,
  labels TEXT,
  limits TEXT,
  retry_of BLOB,
  created_at INTEGER NOT NULL,
  run_at INTEGER
);

-- The logs of all tasks in the order of their commits: appending to the end of a table is cheaper
-- than inserting into the middle of one that is clustered by task. The key has task_row instead of
-- the 16 bytes of the id, so that a leaf holds three times as many entries and more running tasks
-- share one: what a group commit writes is mostly these leaves.
CREATE TABLE events (
  event_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  task_row INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  step INTEGER,
  step_kind TEXT,
  step_status TEXT,
  effect TEXT,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cost_micros INTEGER NOT NULL,
  blobs TEXT,
  body BLOB,
  body_digest BLOB
);
CREATE UNIQUE INDEX events_key ON events (tenant_id, task_row, seq);

-- Values by content, in chunks of 256 KiB before compression. codec: 0 as it is, 1 zstd.
CREATE TABLE blobs (
  blob_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  digest BLOB NOT NULL,
  chunk INTEGER NOT NULL,
  size INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  bytes BLOB NOT NULL
);
CREATE UNIQUE INDEX blobs_key ON blobs (tenant_id, digest, chunk);

-- The newest fold of each run. codec and size as in blobs.
CREATE TABLE snapshots (
  snapshot_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  task_id BLOB NOT NULL,
  seq INTEGER NOT NULL,
  version INTEGER NOT NULL,
  size INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE UNIQUE INDEX snapshots_key ON snapshots (tenant_id, task_id);

CREATE TABLE idempotency (
  tenant_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  digest BLOB NOT NULL,
  task_id BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, key)
) WITHOUT ROWID;

-- How many tasks are in each state; each group of commits adds its differences once.
CREATE TABLE counters (
  tenant_id INTEGER NOT NULL,
  state TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, state)
) WITHOUT ROWID;
