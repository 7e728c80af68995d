-- What the worker of a session runs tasks with, as JSON: a digest of each part of its configuration.
ALTER TABLE sessions ADD COLUMN configuration TEXT;
