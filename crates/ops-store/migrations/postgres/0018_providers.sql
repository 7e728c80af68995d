-- How far the limits of a provider's key are used: the times that calls have moved on.
CREATE TABLE provider_rates (
  key BYTEA PRIMARY KEY,
  requests_at BIGINT NOT NULL,
  tokens_at BIGINT NOT NULL,
  line_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL
) WITH (fillfactor = 50);
