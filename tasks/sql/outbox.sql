-- take_over --
-- Asks for the relay's lock without waiting: a statement that waits would hold back vacuum all the while.
SELECT pg_try_advisory_lock($1)

-- next_records --
-- The oldest records, whatever their ids: ids are given before commit, so a smaller one may appear later.
-- Nothing is skipped by position, because what was sent is deleted.
SELECT id, organization_id, topic, key, event, created_at FROM outbox ORDER BY id LIMIT $1

-- delete_sent --
-- In one statement, after every record was acknowledged; a crash before it sends them again.
DELETE FROM outbox WHERE id = ANY ($1)
