-- Schedules, and what became of their last runs. A task is submitted, its run noted and the schedule
-- moved on in one transaction.
CREATE TABLE schedules (
  schedule_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  cron TEXT NOT NULL,
  timezone TEXT NOT NULL,
  overlap TEXT NOT NULL,
  catch_up TEXT NOT NULL,
  template TEXT NOT NULL,
  paused INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  next_at INTEGER,
  waiting INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX schedules_key ON schedules (tenant_id, name);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_waiting ON schedules (waiting) WHERE waiting IS NOT NULL;

CREATE TABLE schedule_runs (
  run_row INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  schedule_row INTEGER NOT NULL,
  due INTEGER NOT NULL,
  at INTEGER NOT NULL,
  cause TEXT NOT NULL,
  outcome TEXT NOT NULL,
  task_id BLOB,
  message TEXT
);
CREATE INDEX schedule_runs_key ON schedule_runs (tenant_id, schedule_row, run_row);
-- A date is seen to once, even if the clock is set back.
CREATE UNIQUE INDEX schedule_runs_once ON schedule_runs (tenant_id, schedule_row, due)
  WHERE cause = 'clock';
