-- Agents, and every version that one of them ever had: a task is pinned to one.
CREATE TABLE agent_versions (
  version_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  digest BLOB NOT NULL,
  definition TEXT NOT NULL,
  description TEXT NOT NULL,
  -- The names of the agents that it may start, as a JSON array.
  agents TEXT NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX agent_versions_key ON agent_versions (tenant_id, digest);
CREATE INDEX agent_versions_name ON agent_versions (tenant_id, name, version_row);

CREATE TABLE agents (
  tenant_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  version_row INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;

ALTER TABLE task_requests ADD COLUMN agent_digest BLOB;
