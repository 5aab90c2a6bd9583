-- What the reader asks of PostgreSQL: its leases on jobs and how far the sink is. Times are the database's.

-- lease_next --
-- One statement, so one transaction: whoever takes the row raises the epoch and sees the last applied batch.
-- SKIP LOCKED: two readers never wait for each other. NO KEY: inserts that refer to the job go on meanwhile.
-- A lease that holds for longer than any is given for is from before the clock went back: it is over, too.
-- $1 owner, $2 seconds, $3 organizations that have enough jobs here already, $4 jobs not to take.
WITH candidate AS MATERIALIZED (
    SELECT id, organization_id
    FROM import_jobs
    WHERE state IN ('pending', 'processing', 'analyzing')
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
    state = CASE j.state WHEN 'analyzing' THEN j.state ELSE 'processing' END,
    started_at = coalesce(j.started_at, now()),
    updated_at = now()
FROM candidate AS c
WHERE j.id = c.id AND j.organization_id = c.organization_id
RETURNING
    j.id, j.organization_id, j.run, j.lease_epoch, j.state, j.filename, j.created_at, j.options,
    j.cancel_requested_at,
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
      AND state IN ('pending', 'processing', 'analyzing')
      AND (lease_until IS NULL OR lease_until NOT BETWEEN now() AND now() + make_interval(secs => 2 * $2))
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE import_jobs AS j
SET lease_owner = $1,
    lease_epoch = j.lease_epoch + 1,
    lease_until = clock_timestamp() + make_interval(secs => $2),
    state = CASE j.state WHEN 'analyzing' THEN j.state ELSE 'processing' END,
    started_at = coalesce(j.started_at, now()),
    updated_at = now()
FROM candidate AS c
WHERE j.id = c.id AND j.organization_id = c.organization_id
RETURNING
    j.id, j.organization_id, j.run, j.lease_epoch, j.state, j.filename, j.created_at, j.options,
    j.cancel_requested_at,
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
WHERE lease_owner = $1 AND lease_until > now() AND state IN ('pending', 'processing', 'paused', 'analyzing');

-- open_part --
-- What a reader found when it looked at a new part; nothing where another reader has the job by now, or has looked.
-- $1 organization, $2 job, $3 its lease epoch, $4 part, $5 object, $6 its tag, $7 its bytes, $8 sha256 of the file,
-- $9 format, $10 bytes of the file itself, $11 what the job's source is.
WITH held AS (
    UPDATE import_jobs
    SET file_size = $10, file_sha256 = $8, read_bytes = $7, source = $11, updated_at = now()
    WHERE id = $2 AND organization_id = $1 AND lease_epoch = $3
    RETURNING id
)
UPDATE import_parts AS p
SET source_key = CASE WHEN p.object_key <> $5 THEN p.object_key END,
    source_etag = CASE WHEN p.object_key <> $5 THEN p.etag END,
    source_bytes = CASE WHEN p.object_key <> $5 THEN p.size_bytes END,
    object_key = $5, etag = $6, size_bytes = $7, sha256 = $8, format = $9
FROM held
WHERE p.job_id = held.id AND p.organization_id = $1 AND p.part_no = $4 AND p.format ->> 'kind' = 'new'
RETURNING p.part_no;

-- remembered_mapping --
-- What the organization chose last for a header set.
-- $1 organization, $2 key of the header set.
SELECT mapping FROM remembered_mappings WHERE organization_id = $1 AND header_set = $2;

-- analyzed --
-- The file waits for a mapping now, and for nobody's lease.
-- $1 organization, $2 job, $3 its lease epoch.
UPDATE import_jobs SET state = 'awaiting_mapping', lease_until = now(), updated_at = now()
WHERE id = $2 AND organization_id = $1 AND lease_epoch = $3 AND state = 'analyzing'
RETURNING id;

-- analysis_ended --
-- Refused or cancelled before any row was sent: the reader ends such a job itself, nothing of it is on its way.
-- $1 organization, $2 job, $3 its lease epoch, $4 state, $5 why.
UPDATE import_jobs
SET state = $4, reason = $5, completed_at = now(), lease_until = now(), updated_at = now()
WHERE id = $2 AND organization_id = $1 AND lease_epoch = $3 AND state = 'analyzing';
