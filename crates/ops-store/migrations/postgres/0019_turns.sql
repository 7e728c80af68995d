-- The ready tasks of each tenant, in the order of claims: tenants take turns. The suspects are apart by a number: the planner
-- finds no index for a comparison of a condition with `false`.
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready
  ON tasks (queue, ((lease_losses >= 2)::int), tenant_id, priority DESC, task_id)
  WHERE state = 'pending';
