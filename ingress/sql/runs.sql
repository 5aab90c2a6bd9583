-- Further runs of a job: healing, and committing a dry run. The state decides whether there may be one, and the
-- job's row is locked meanwhile: of two that ask at once one finds the job processing.

-- one_job --
-- Row security hides the jobs of others. Without the lock, which the sink holds while it judges: for minutes,
-- where a dry run is large.
SELECT * FROM import_jobs WHERE id = $1

-- lock_job --
-- Only of a job that has ended: nobody holds that one for long.
SELECT * FROM import_jobs WHERE id = $1 FOR NO KEY UPDATE

-- file_form --
-- How the job's own file is written.
SELECT format FROM import_parts WHERE job_id = $1 ORDER BY part_no LIMIT 1

-- results_of --
-- What the job's rows are by now: one letter each, so the whole of the largest job is a megabyte.
SELECT first_row_no, outcomes FROM import_batches WHERE job_id = $1 AND NOT staged

-- begin_healing --
-- The corrected file as the job's next part, and the job on its way again, at that part's first row.
WITH part AS (
    INSERT INTO import_parts (organization_id, job_id, part_no, object_key, etag, size_bytes, sha256, format)
    SELECT j.organization_id, j.id, (SELECT max(part_no) + 1 FROM import_parts WHERE job_id = j.id),
           $2, $3, $4, $5, $6::text::jsonb
    FROM import_jobs j WHERE j.id = $1
    RETURNING part_no
)
UPDATE import_jobs SET
    state = 'processing', reason = NULL, run = run + 1, run_kind = 'heal', run_requested_at = $7, run_bytes = $4,
    ended_as = coalesce(ended_as, state), ended_reason = CASE WHEN ended_as IS NULL THEN reason ELSE ended_reason END,
    cancel_requested_at = NULL, started_at = NULL, completed_at = NULL, lease_until = NULL,
    position_part = part.part_no, position_byte = 0, position_line = 0, position_row = 1, updated_at = now()
FROM part
WHERE id = $1
RETURNING import_jobs.*

-- begin_commit --
-- The file once more from its beginning.
UPDATE import_jobs SET
    state = 'processing', reason = NULL, run = run + 1, run_kind = 'commit', run_requested_at = $2,
    run_bytes = file_size,
    ended_as = coalesce(ended_as, state), ended_reason = CASE WHEN ended_as IS NULL THEN reason ELSE ended_reason END,
    cancel_requested_at = NULL, started_at = NULL, completed_at = NULL, lease_until = NULL,
    position_part = 1, position_byte = 0, position_line = 0, position_row = 1, updated_at = now()
WHERE id = $1
RETURNING *
