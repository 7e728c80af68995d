-- When the next task of a queue with a rate is expected. A queue holds tasks of every tenant, and its
-- rate is one for all of them.
CREATE TABLE queue_rates (
  queue TEXT PRIMARY KEY,
  expected INTEGER NOT NULL
) WITHOUT ROWID;
