-- What is known of the definitions of MCP servers: which were approved, and what is listed now, as JSON.
CREATE TABLE mcp_servers (
  tenant_id BIGINT NOT NULL,
  name BYTEA NOT NULL,
  pins TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, name)
);
