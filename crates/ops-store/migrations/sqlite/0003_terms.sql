-- What tasks are found by. kind: 0 a label, 1 the agent, 2 the name; only a label has a key. Tasks
-- without any of them have no row here. The order lets a list be read newest first from one place.
CREATE TABLE task_terms (
  tenant_id INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  task_id BLOB NOT NULL,
  PRIMARY KEY (tenant_id, kind, key, value, task_id)
) WITHOUT ROWID;

INSERT INTO task_terms (tenant_id, kind, key, value, task_id)
  SELECT tasks.tenant_id, 0, label.key, label.value, task_id
    FROM tasks JOIN task_requests USING (task_row), json_each(labels) AS label
  UNION ALL
  SELECT tasks.tenant_id, 1, '', agent_id, task_id
    FROM tasks JOIN task_requests USING (task_row) WHERE agent_id IS NOT NULL
  UNION ALL
  SELECT tasks.tenant_id, 2, '', name, task_id
    FROM tasks JOIN task_requests USING (task_row) WHERE name IS NOT NULL;
