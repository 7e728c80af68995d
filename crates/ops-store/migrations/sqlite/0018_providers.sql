-- How far the limits of a provider's key are used: the times that calls have moved on.
CREATE TABLE provider_rates (
  key BLOB PRIMARY KEY,
  requests_at INTEGER NOT NULL,
  tokens_at INTEGER NOT NULL,
  line_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) WITHOUT ROWID;
