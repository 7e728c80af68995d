-- How much of each window of a budget is used, with the worst cases of calls under way.
CREATE TABLE budget_ledgers (
  tenant_id INTEGER NOT NULL,
  budget TEXT NOT NULL,
  since INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  cost_micros INTEGER NOT NULL,
  sum INTEGER,
  PRIMARY KEY (tenant_id, budget, since)
) WITHOUT ROWID;
