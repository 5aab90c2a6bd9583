-- What the reader asks of PostgreSQL: its leases on jobs and how far the sink is. Times are the database's.

-- lease_next --
-- One statement, so one transaction: whoever takes the row raises the epoch and sees the last applied batch.
-- SKIP LOCKED: two readers never wait for each other. NO KEY: inserts that refer to the job go on meanwhile.
-- A lease that holds for longer than any is given for is from before the clock went back: it is over, too.
-- $1 owner, $2 seconds, $3 organizations that have enough jobs here already, $4 jobs not to take.
WITH candidate AS MATERIALIZED (
    SELECT id, organization_id
    FROM import_jobs
    WHERE state IN ('pending', 'processing')
      AND (lease_until IS NULL OR lease_until NOT BETWEEN now() AND now() + make_interval(secs => 2 * $2))
      AND organization_id <> ALL ($3::uuid[])
      AND id <> ALL ($4::uuid[])
    ORDER BY lease_until NULLS FIRST, id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE import_jobs AS j
SET lease_owner = $1,
    lease_epoch = j.lease_epoch + 1,
    lease_until = clock_timestamp() + make_interval(secs => $2),
    state = 'processing',
    started_at = coalesce(j.started_at, now()),
    updated_at = now()
FROM candidate AS c
WHERE j.id = c.id AND j.organization_id = c.organization_id
RETURNING
    j.id, j.organization_id, j.run, j.lease_epoch, j.created_at, j.options, j.cancel_requested_at,
    j.applied_batch, j.position_part, j.position_byte, j.position_line, j.position_row,
    (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.part_no), '[]')
     FROM import_parts AS p
     WHERE p.job_id = j.id AND p.organization_id = j.organization_id) AS parts;

-- lease_named --
-- As lease_next for the one job that the bell rang for, so that a small import need not wait for a poll.
-- $1 owner, $2 seconds, $3 organization, $4 job.
WITH candidate AS MATERIALIZED (
    SELECT id, organization_id
    FROM import_jobs
    WHERE organization_id = $3 AND id = $4
      AND state IN ('pending', 'processing')
      AND (lease_until IS NULL OR lease_until NOT BETWEEN now() AND now() + make_interval(secs => 2 * $2))
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE import_jobs AS j
SET lease_owner = $1,
    lease_epoch = j.lease_epoch + 1,
    lease_until = clock_timestamp() + make_interval(secs => $2),
    state = 'processing',
    started_at = coalesce(j.started_at, now()),
    updated_at = now()
FROM candidate AS c
WHERE j.id = c.id AND j.organization_id = c.organization_id
RETURNING
    j.id, j.organization_id, j.run, j.lease_epoch, j.created_at, j.options, j.cancel_requested_at,
    j.applied_batch, j.position_part, j.position_byte, j.position_line, j.position_row,
    (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.part_no), '[]')
     FROM import_parts AS p
     WHERE p.job_id = j.id AND p.organization_id = j.organization_id) AS parts;

-- look --
-- How far the sink is with these jobs, without any lock: asked every second and before anything is sent again.
-- $1 organizations, $2 jobs, pairwise.
SELECT j.id, j.run, j.lease_epoch, j.applied_batch, j.state, j.cancel_requested_at IS NOT NULL AS cancelled
FROM import_jobs AS j
JOIN unnest($1::uuid[], $2::uuid[]) AS mine (organization_id, id)
  ON j.organization_id = mine.organization_id AND j.id = mine.id;

-- renew --
-- SKIP LOCKED: the sink holds a job's row while it writes; a renewal that waited could come too late for others.
-- $1 organizations, $2 jobs, $3 their lease epochs, pairwise, $4 seconds.
WITH mine AS MATERIALIZED (
    SELECT j.organization_id, j.id
    FROM import_jobs AS j
    JOIN unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS held (organization_id, id, lease_epoch)
      ON j.organization_id = held.organization_id AND j.id = held.id AND j.lease_epoch = held.lease_epoch
    FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE import_jobs AS j
SET lease_until = clock_timestamp() + make_interval(secs => $4)
FROM mine
WHERE j.organization_id = mine.organization_id AND j.id = mine.id
RETURNING j.id;

-- release --
-- The next reader need not wait for the lease to run out. Nothing happens where another one has it by now.
-- $1 organizations, $2 jobs, $3 their lease epochs, pairwise.
UPDATE import_jobs AS j
SET lease_until = now()
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS held (organization_id, id, lease_epoch)
WHERE j.organization_id = held.organization_id AND j.id = held.id AND j.lease_epoch = held.lease_epoch;

-- release_left_behind --
-- A reader that was killed and is started again under its name takes its jobs up at once.
-- $1 owner.
UPDATE import_jobs
SET lease_until = now()
WHERE lease_owner = $1 AND lease_until > now() AND state IN ('pending', 'processing', 'paused');
