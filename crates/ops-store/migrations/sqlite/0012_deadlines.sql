-- How long a task may take, when it must have started, and when the engine ends it while no worker
-- holds it. Flags: 64 waits for another limit where one is used up. A task of an older release has its time
-- from its next append on, which says what holds for its run.
ALTER TABLE tasks ADD COLUMN timeout_micros INTEGER;
ALTER TABLE tasks ADD COLUMN start_by INTEGER;
ALTER TABLE tasks ADD COLUMN expires_at INTEGER;
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE expires_at IS NOT NULL;
-- The limits that hold for the run, as JSON.
ALTER TABLE task_requests ADD COLUMN in_force TEXT;

-- Who waits for a key, in the order of its turn: the first of each queue has one.
DROP INDEX tasks_blocked;
CREATE INDEX tasks_turns ON tasks (tenant_id, concurrency_key, queue, priority DESC, task_id)
  WHERE wait_on = 'concurrency';
