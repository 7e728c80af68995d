-- The ready tasks of each tenant, in the order of claims: tenants take turns. The last column lets a listing of the backlog
-- stay in the index.
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready
  ON tasks (queue, (lease_losses >= 2), tenant_id, priority DESC, task_id, started_at)
  WHERE state = 'pending';
