-- Tasks that are ready and were started before: version 1 calls them running. A new task is none of
-- them, so a submit does not write here, nor does its first claim.
CREATE INDEX tasks_restarted ON tasks (tenant_id, task_id)
  WHERE state = 'pending' AND started_at IS NOT NULL;
