-- Which task refers to which large value: whoever writes a row that refers to one, or copies such a row,
-- notes it here in the same transaction. (Triggers would do that by themselves, but cost each event a
-- third of its insert.)
CREATE TABLE blob_refs (
  tenant_id INTEGER NOT NULL,
  digest BLOB NOT NULL,
  task_row INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, digest, task_row)
) WITHOUT ROWID;
CREATE INDEX blob_refs_task ON blob_refs (tenant_id, task_row);

INSERT OR IGNORE INTO blob_refs
  SELECT tenant_id, input_digest, task_row FROM task_requests WHERE input_digest IS NOT NULL;
INSERT OR IGNORE INTO blob_refs
  SELECT tenant_id, result_digest, task_row FROM tasks WHERE result_digest IS NOT NULL;
INSERT OR IGNORE INTO blob_refs
  SELECT tenant_id, body_digest, task_row FROM events WHERE body_digest IS NOT NULL;
INSERT OR IGNORE INTO blob_refs
  SELECT tenant_id, unhex(value), task_row
  FROM events, json_each('["' || replace(blobs, ',', '","') || '"]') WHERE blobs IS NOT NULL;

-- Tasks that are gone, but whose logs are not yet.
CREATE TABLE doomed (
  task_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  task_id BLOB NOT NULL
);
CREATE UNIQUE INDEX doomed_key ON doomed (tenant_id, task_id);

-- Values that the last task to refer to them has left behind, to be looked at and deleted.
CREATE TABLE loose_blobs (
  tenant_id INTEGER NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (tenant_id, digest)
) WITHOUT ROWID;

CREATE INDEX idempotency_task ON idempotency (tenant_id, task_id);
