-- How much of each window of a budget is used, with the worst cases of calls under way.
CREATE TABLE budget_ledgers (
  tenant_id BIGINT NOT NULL,
  budget BYTEA NOT NULL,
  since BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  cost_micros BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, budget, since)
) WITH (fillfactor = 50);
