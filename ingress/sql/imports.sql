-- make_job --
-- The job, its one part, its list when it is named and new, and the caller's own row when the token's issuer
-- knows somebody whom we do not: all in one statement, so a job without its part is never seen.
-- The object is stored and checked before; a job that exists can be read.
WITH caller AS (
    INSERT INTO users (id) VALUES ($3) ON CONFLICT DO NOTHING
), list AS (
    INSERT INTO contact_lists (organization_id, name, created_by)
    SELECT $2, $13::varchar, $3 WHERE $13::varchar IS NOT NULL
    ON CONFLICT ON CONSTRAINT unique_list_name_per_org DO UPDATE SET updated_at = now()
    RETURNING id
), job AS (
    INSERT INTO import_jobs (
        id, organization_id, created_by, target_list_id, door, filename, file_size, file_sha256, options,
        created_at)
    VALUES (
        $1, $2, $3, coalesce((SELECT id FROM list), $12), $4, $5, $6, $7, $8::text::jsonb,
        $9)
    RETURNING *
), part AS (
    INSERT INTO import_parts (organization_id, job_id, part_no, object_key, etag, size_bytes, sha256, format)
    VALUES ($2, $1, 1, $10, $11, $6, $7, $14::text::jsonb)
)
SELECT * FROM job

-- own_list --
-- Row security hides the lists of others, so naming one of those finds nothing.
SELECT id FROM contact_lists WHERE id = $1

-- lock_imports --
-- Two uploads of one organization that end at once are counted one after the other. A statement of its own:
-- the count has to look after the lock was got.
SELECT pg_advisory_xact_lock(hashtextextended('imports of ' || $1::uuid::text, 0))

-- imports_since --
-- What a day's limit counts; a file that was only uploaded is no import before somebody asks for that.
SELECT count(*) AS made, min(created_at) AS oldest
FROM import_jobs
WHERE organization_id = $1 AND created_at > $2 AND (upload_key IS NULL OR run_requested_at IS NOT NULL)

-- one_job --
-- Row security hides the jobs of others.
SELECT * FROM import_jobs WHERE id = $1

-- jobs_before --
-- Newest first: ids begin with the time of their making.
SELECT * FROM import_jobs
WHERE organization_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3::text IS NULL OR state = $3)
ORDER BY id DESC LIMIT $4

-- cancel_job --
-- The reader sees it and ends the job with a last batch; asking twice is asking once. A paused job has no reader:
-- it goes on, so that one takes it and ends it. A file of which no row was sent yet ends at once.
UPDATE import_jobs AS job SET
    cancel_requested_at = CASE WHEN NOT unsent THEN coalesce(cancel_requested_at, $2) END,
    state = CASE WHEN unsent THEN 'cancelled' WHEN job.state = 'paused' THEN 'processing' ELSE job.state END,
    reason = CASE WHEN unsent THEN 'Cancelled on request.' ELSE reason END,
    completed_at = CASE WHEN unsent THEN $2 ELSE completed_at END,
    updated_at = now()
FROM (
    SELECT id, state IN ('uploading', 'analyzing', 'awaiting_mapping') AS unsent
    FROM import_jobs WHERE id = $1 FOR NO KEY UPDATE
) AS found
WHERE job.id = found.id AND job.state IN (
    'pending', 'authenticating', 'uploading', 'analyzing', 'awaiting_mapping', 'fetching', 'processing',
    'paused')
RETURNING job.*

-- pause_job --
-- Whoever reads the job leaves it, and nobody takes it; what is on its way is still applied. One that is about to
-- be cancelled goes on to its end.
UPDATE import_jobs SET state = 'paused', updated_at = now()
WHERE id = $1 AND state IN ('pending', 'processing') AND cancel_requested_at IS NULL
RETURNING *

-- resume_job --
-- Any reader takes it, behind the last applied batch.
UPDATE import_jobs SET state = 'processing', updated_at = now() WHERE id = $1 AND state = 'paused'
RETURNING *

-- undo_job --
-- Whoever runs the tasks role does it. An undo that was given up goes on, and says so no longer.
UPDATE import_jobs SET
    state = 'undoing', reason = CASE WHEN undo_asked_at IS NULL THEN reason END,
    undo_asked_at = coalesce(undo_asked_at, $2), updated_at = now()
WHERE id = $1 AND state IN ('completed', 'failed', 'cancelled')
RETURNING *

-- undo_nothing --
-- A job that wrote nothing (contacts that it made have ids from $2 to $3) is undone at once.
UPDATE import_jobs j SET state = 'undone', undo_total = 0
WHERE id = $1 AND state = 'undoing' AND undo_total IS NULL
    AND NOT EXISTS (SELECT FROM contacts WHERE organization_id = j.organization_id AND id BETWEEN $2 AND $3)
    AND NOT EXISTS (SELECT FROM contact_before_images WHERE job_id = j.id)
    AND NOT EXISTS (SELECT FROM contact_list_memberships WHERE job_id = j.id)
RETURNING *

-- kept_by_undo --
-- Contacts that an undo left as they are, with what they are called now, behind contact $2.
SELECT k.contact_id, k.reason, k.held_by, c.first_name, c.last_name, c.email, c.phone_formatted
FROM import_undo_kept k LEFT JOIN contacts c ON c.id = k.contact_id
WHERE k.job_id = $1 AND ($2::uuid IS NULL OR k.contact_id > $2)
ORDER BY k.contact_id LIMIT $3

-- history --
-- What happened to a job, behind event $2.
SELECT id, event, run, user_id, details, at FROM import_history
WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3

-- job_parts --
-- Where the values of rows are read back from.
SELECT part_no, object_key, etag, format FROM import_parts WHERE job_id = $1 AND part_no = ANY ($2)

-- part_formats --
-- How the files of a job are written: the first is the import's own, the others have healed it.
SELECT format FROM import_parts WHERE job_id = $1 ORDER BY part_no

-- batches_behind --
-- The batches with rows behind row $2 that have one of the outcomes $3 (letters; empty: any outcome).
-- A batch has at most 500 rows, so the index finds the first one. Healed rows have a query of their own; what a
-- further run has staged is no result yet, and a batch whose rows all have their results elsewhere has none.
SELECT batch_no, run, first_row_no, row_count, outcomes, contact_ids, faults, changes, staged,
       start_part, start_byte, start_line, end_byte
FROM import_batches
WHERE job_id = $1 AND first_row_no > $2 - 500 AND first_row_no + row_count - 1 > $2
    AND NOT heals AND NOT (staged AND run > 1)
    AND CASE WHEN $3::text = '' THEN staged OR translate(outcomes, '>', '') <> ''
        ELSE translate(outcomes, $3, '') <> outcomes END
ORDER BY first_row_no, batch_no
LIMIT $4

-- healed_behind --
-- The healed rows behind row $2 that have one of the outcomes $3 (letters; empty: any), each with its batch.
SELECT b.batch_no, b.run, b.first_row_no, b.first_row_no + i - 1 AS row_no, substr(b.outcomes, i, 1) AS letter,
       substr(b.contact_ids, 16 * i - 15, 16) AS contact_id, b.faults -> (i - 1)::text AS faults,
       b.start_part, b.start_byte, b.start_line, b.end_byte
FROM import_batches b, generate_series(1, b.row_count) AS i
WHERE b.job_id = $1 AND b.heals AND b.first_row_no > $2 - 500 AND b.first_row_no + i - 1 > $2
    AND substr(b.outcomes, i, 1) <> '>' AND ($3::text = '' OR strpos($3, substr(b.outcomes, i, 1)) > 0)
ORDER BY row_no
LIMIT $4
