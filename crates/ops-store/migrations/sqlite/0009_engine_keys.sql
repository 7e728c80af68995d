-- Keys of the engine's own leave the clients' name space: they begin with a control character, which no
-- key of a client has. The engine's are those with a digest of zeros, which no request has.
UPDATE idempotency SET key = char(1) || substr(key, 9)
WHERE key >= 'opspawn:redrive:' AND key < 'opspawn:redrive;' AND digest = zeroblob(32);
