-- What is known of the definitions of MCP servers: which were approved, and what is listed now, as JSON.
CREATE TABLE mcp_servers (
  tenant_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  pins TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  sum INTEGER,
  PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;
