-- The schema that SQLite has after its migration 12: PostgreSQL begins here. From 13 on a migration has one
-- number and one name in both folders.
--
-- Times are UTC microseconds, money is micro-USD, ids are the 16 bytes of a UUID, digests the 32 bytes of a
-- SHA-256. Text that a caller chose (names, queues, keys, notes) is the bytes of its UTF-8: it may hold a
-- U+0000, which no text of PostgreSQL can, and its order is that of the bytes wherever the server runs. What
-- is TEXT here is JSON or one of the program's own words.

CREATE TABLE tenants (
  tenant_id BIGINT PRIMARY KEY,
  name BYTEA NOT NULL UNIQUE
);
INSERT INTO tenants (tenant_id, name) VALUES (1, 'default');

-- Where each task stands. Each step updates one row: no column that a plain append changes is in an index, so
-- that the new version of a row goes to the same page without touching one (HOT), and the page has room.
CREATE TABLE tasks (
  task_row BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
  tenant_id BIGINT NOT NULL,
  task_id BYTEA NOT NULL,
  queue BYTEA NOT NULL,
  priority BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL,
  session_id BYTEA,
  due_at BIGINT,
  wait_on TEXT COLLATE "C",
  wait TEXT,
  dead_letter BIGINT NOT NULL DEFAULT 0,
  attempt BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  lease_losses BIGINT NOT NULL,
  run_started BOOLEAN NOT NULL,
  input_tokens BIGINT NOT NULL DEFAULT 0,
  output_tokens BIGINT NOT NULL DEFAULT 0,
  cost_micros BIGINT NOT NULL DEFAULT 0,
  retry_max_attempts BIGINT NOT NULL,
  retry_initial_micros BIGINT NOT NULL,
  retry_max_micros BIGINT NOT NULL,
  retry_max_lease_losses BIGINT NOT NULL,
  started_at BIGINT,
  updated_at BIGINT NOT NULL,
  completed_at BIGINT,
  -- 1 paused, 2 heard, 4 has a parent, 8 has children, 16 has asked for approvals, 32 has a key, 64 waits for
  -- another limit where one is used up.
  flags BIGINT NOT NULL,
  children_input_tokens BIGINT NOT NULL DEFAULT 0,
  children_output_tokens BIGINT NOT NULL DEFAULT 0,
  children_cost_micros BIGINT NOT NULL DEFAULT 0,
  timeout_micros BIGINT,
  start_by BIGINT,
  expires_at BIGINT,
  parent_id BYTEA,
  concurrency_key BYTEA,
  result TEXT,
  result_digest BYTEA,
  error TEXT,
  PRIMARY KEY (tenant_id, task_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- What a claim takes next; the suspects apart from the others.
CREATE INDEX tasks_ready ON tasks (queue, (lease_losses >= 2), priority DESC, task_id)
  WHERE state = 'pending';
-- Those that lost their worker again and again: few, if any.
CREATE INDEX tasks_suspect ON tasks (state) WHERE lease_losses >= 2;
CREATE INDEX tasks_due ON tasks (due_at, task_row) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_expiring ON tasks (expires_at, task_row) WHERE expires_at IS NOT NULL;
CREATE INDEX tasks_leased ON tasks (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX tasks_state ON tasks (tenant_id, state, task_id);
CREATE INDEX tasks_children ON tasks (tenant_id, parent_id, task_id) WHERE parent_id IS NOT NULL;
-- Who holds a key: a task that has started and has not ended.
CREATE INDEX tasks_keyed ON tasks (tenant_id, concurrency_key)
  WHERE concurrency_key IS NOT NULL AND completed_at IS NULL AND started_at IS NOT NULL;
-- Who waits for a key, in the order of its turn: the first of each queue has one.
CREATE INDEX tasks_turns ON tasks (tenant_id, concurrency_key, queue, priority DESC, task_id)
  WHERE wait_on = 'concurrency';
CREATE INDEX tasks_dead ON tasks (tenant_id, task_id) WHERE dead_letter = 1;
CREATE INDEX tasks_in_doubt ON tasks (tenant_id, task_id) WHERE wait_on = 'in_doubt';

-- What was asked. Only limits change.
CREATE TABLE task_requests (
  tenant_id BIGINT NOT NULL,
  task_id BYTEA NOT NULL,
  task_type BYTEA NOT NULL,
  name BYTEA,
  agent_id BYTEA,
  agent_digest BYTEA,
  input TEXT,
  input_digest BYTEA,
  labels TEXT,
  limits TEXT,
  in_force TEXT,
  retry_of BYTEA,
  created_at BIGINT NOT NULL,
  run_at BIGINT,
  parent_step BIGINT,
  depth_left BIGINT,
  PRIMARY KEY (tenant_id, task_id)
);

-- The logs of all tasks. A row is written once and deleted with its task.
CREATE TABLE events (
  tenant_id BIGINT NOT NULL,
  task_id BYTEA NOT NULL,
  seq BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT COLLATE "C" NOT NULL,
  step BIGINT,
  step_kind TEXT COLLATE "C",
  step_status TEXT COLLATE "C",
  effect TEXT COLLATE "C",
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  cost_micros BIGINT NOT NULL,
  blobs TEXT,
  body BYTEA,
  body_digest BYTEA,
  PRIMARY KEY (tenant_id, task_id, seq)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1);

-- Values by content, in chunks of 256 KiB. PostgreSQL compresses them.
CREATE TABLE blobs (
  tenant_id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  chunk BIGINT NOT NULL,
  bytes BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, digest, chunk)
);
-- Which task refers to which large value.
CREATE TABLE blob_refs (
  tenant_id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  task_id BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, digest, task_id)
);
CREATE INDEX blob_refs_task ON blob_refs (tenant_id, task_id);
-- Values that the last task to refer to them has left behind.
CREATE TABLE loose_blobs (
  tenant_id BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, digest)
);
-- Tasks that are gone, but whose logs are not yet.
CREATE TABLE tombstones (
  tenant_id BIGINT NOT NULL,
  task_id BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, task_id)
);

-- The newest fold of each run.
CREATE TABLE snapshots (
  tenant_id BIGINT NOT NULL,
  task_id BYTEA NOT NULL,
  seq BIGINT NOT NULL,
  version BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, task_id)
);

CREATE TABLE idempotency (
  tenant_id BIGINT NOT NULL,
  key BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  task_id BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_task ON idempotency (tenant_id, task_id);

-- How many tasks are in each state: the sum of the rows. A transaction adds its differences as rows of its own,
-- so that no two wait for one another; now and then they are added up.
CREATE TABLE counters (
  tenant_id BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL,
  n BIGINT NOT NULL
);
CREATE INDEX counters_key ON counters (tenant_id, state);

-- What tasks are found by. kind: 0 a label, 1 the agent, 2 the name; only a label has a key.
CREATE TABLE task_terms (
  tenant_id BIGINT NOT NULL,
  kind BIGINT NOT NULL,
  key BYTEA NOT NULL,
  value BYTEA NOT NULL,
  -- The value in lower case, as far as it is ASCII: what a text is looked for in. Only a name has it.
  folded BYTEA,
  task_id BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, kind, key, value, task_id)
);
CREATE INDEX task_terms_task ON task_terms (tenant_id, task_id);

CREATE TABLE approvals (
  approval_row BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id BIGINT NOT NULL,
  task_id BYTEA NOT NULL,
  step BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  status TEXT COLLATE "C" NOT NULL,
  tool BYTEA NOT NULL,
  tool_digest BYTEA NOT NULL,
  agent_digest BYTEA NOT NULL,
  input TEXT NOT NULL,
  input_digest BYTEA NOT NULL,
  input_schema TEXT NOT NULL,
  reason BYTEA NOT NULL,
  asked_at BIGINT NOT NULL,
  expires_at BIGINT,
  decided_at BIGINT,
  decided_by BYTEA,
  note BYTEA
);
CREATE UNIQUE INDEX approvals_key ON approvals (tenant_id, task_id, step);
CREATE INDEX approvals_status ON approvals (tenant_id, status, approval_row);

CREATE TABLE agent_versions (
  version_row BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id BIGINT NOT NULL,
  name BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  definition TEXT NOT NULL,
  description BYTEA NOT NULL,
  -- The names of the agents that it may start, as a JSON array.
  agents TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX agent_versions_key ON agent_versions (tenant_id, digest);
CREATE INDEX agent_versions_name ON agent_versions (tenant_id, name, version_row);
CREATE TABLE agents (
  tenant_id BIGINT NOT NULL,
  name BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, name)
);

CREATE TABLE schedules (
  tenant_id BIGINT NOT NULL,
  name BYTEA NOT NULL,
  cron BYTEA NOT NULL,
  timezone BYTEA NOT NULL,
  overlap TEXT COLLATE "C" NOT NULL,
  catch_up TEXT COLLATE "C" NOT NULL,
  template TEXT NOT NULL,
  paused BOOLEAN NOT NULL,
  revision BIGINT NOT NULL,
  next_at BIGINT,
  waiting BIGINT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, name)
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_waiting ON schedules (waiting) WHERE waiting IS NOT NULL;
CREATE TABLE schedule_runs (
  run_row BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id BIGINT NOT NULL,
  schedule BYTEA NOT NULL,
  due BIGINT NOT NULL,
  at BIGINT NOT NULL,
  cause TEXT COLLATE "C" NOT NULL,
  outcome TEXT COLLATE "C" NOT NULL,
  task_id BYTEA,
  message BYTEA
);
CREATE INDEX schedule_runs_key ON schedule_runs (tenant_id, schedule, run_row);
-- A date is seen to once, whichever server sees to it and wherever its clock stands.
CREATE UNIQUE INDEX schedule_runs_once ON schedule_runs (tenant_id, schedule, due)
  WHERE cause = 'clock';

-- When the next task of a queue with a rate is expected. A queue holds tasks of every tenant.
CREATE TABLE queue_rates (
  queue BYTEA PRIMARY KEY,
  expected BIGINT NOT NULL
);

-- The sessions of workers. A lease of a session that is not here is nobody's.
CREATE TABLE sessions (
  session_id BYTEA PRIMARY KEY,
  last_heartbeat BIGINT NOT NULL,
  ttl_micros BIGINT NOT NULL,
  over BOOLEAN NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- The last transaction of each connection that writes, so that a commit whose answer was lost can be looked up.
CREATE TABLE commits (
  lane BYTEA PRIMARY KEY,
  number BIGINT NOT NULL,
  at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
