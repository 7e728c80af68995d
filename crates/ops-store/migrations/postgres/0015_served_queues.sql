-- The queues that the worker of a session serves.
ALTER TABLE sessions ADD COLUMN queues BYTEA[] NOT NULL DEFAULT '{}';
