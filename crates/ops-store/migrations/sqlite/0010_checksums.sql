-- A checksum in each row that an answer is made of: what is read is what was written. `row_sum` is a
-- function of this program (schema/sums.rs). Tables that may be long keep the rows that they have
-- without one: up to which row that is allowed stands in `unsummed`, because a damaged row may look as if
-- it had none.
CREATE TABLE unsummed (
  name TEXT PRIMARY KEY,
  until INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO unsummed
  SELECT 'tasks', coalesce(max(task_row), 0) FROM tasks
  UNION ALL SELECT 'task_requests', coalesce(max(task_row), 0) FROM task_requests
  UNION ALL SELECT 'events', coalesce(max(event_row), 0) FROM events
  UNION ALL SELECT 'blobs', coalesce(max(blob_row), 0) FROM blobs
  UNION ALL SELECT 'snapshots', coalesce(max(snapshot_row), 0) FROM snapshots;

ALTER TABLE tasks ADD COLUMN sum INTEGER;
ALTER TABLE task_requests ADD COLUMN sum INTEGER;
ALTER TABLE events ADD COLUMN sum INTEGER;
ALTER TABLE snapshots ADD COLUMN sum INTEGER;
ALTER TABLE blobs ADD COLUMN sum INTEGER;
-- How many bytes the whole value has, so that a missing end is seen.
ALTER TABLE blobs ADD COLUMN whole INTEGER;

ALTER TABLE approvals ADD COLUMN sum INTEGER;
UPDATE approvals SET sum = row_sum(tenant_id, task_row, task_id, step, revision, status, tool,
  tool_digest, agent_digest, input, input_digest, input_schema, reason, asked_at, expires_at,
  decided_at, decided_by, note);
ALTER TABLE schedules ADD COLUMN sum INTEGER;
UPDATE schedules SET sum = row_sum(tenant_id, name, cron, timezone, overlap, catch_up, template,
  paused, revision, next_at, waiting, created_at, updated_at);
ALTER TABLE schedule_runs ADD COLUMN sum INTEGER;
UPDATE schedule_runs SET sum = row_sum(tenant_id, schedule_row, due, at, cause, outcome, task_id,
  message);
ALTER TABLE agents ADD COLUMN sum INTEGER;
UPDATE agents SET sum = row_sum(tenant_id, name, version_row, revision, created_at, updated_at);
ALTER TABLE agent_versions ADD COLUMN sum INTEGER;
UPDATE agent_versions SET sum = row_sum(tenant_id, name, digest, definition, description, agents,
  created_at);
ALTER TABLE counters ADD COLUMN sum INTEGER;
UPDATE counters SET sum = row_sum(tenant_id, state, n);
