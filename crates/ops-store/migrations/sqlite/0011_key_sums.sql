-- A checksum in each idempotency key: a damaged one would have a request that was repeated make a second
-- task. Keys that are there stay without one; they are given up with their tasks.
ALTER TABLE idempotency ADD COLUMN sum INTEGER;
INSERT INTO unsummed (name, until) VALUES ('idempotency', 0);
