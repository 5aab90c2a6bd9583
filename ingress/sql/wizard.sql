-- announce_upload --
-- A job from its first minute, without a part: where the file is to go and what was said of it. The caller's own
-- row too, when the token's issuer knows somebody whom we do not.
WITH caller AS (
    INSERT INTO users (id) VALUES ($3) ON CONFLICT DO NOTHING
)
INSERT INTO import_jobs (
    id, organization_id, created_by, door, filename, file_size, state, upload_key, upload_bytes, upload_type,
    created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 'uploading', $7, $6, $8, $9, $9)

-- own_upload --
-- The wizard shows nobody's files but one's own; row security hides other organizations'.
SELECT * FROM import_jobs WHERE id = $1 AND created_by = $2 AND upload_key IS NOT NULL

-- organizations_upload --
-- The canonical door shows the organization's.
SELECT * FROM import_jobs WHERE id = $1 AND upload_key IS NOT NULL

-- begin_analysis --
-- The stored object becomes the job's one part, pinned by its entity tag, in the statement that shows it to the
-- readers, who judge its rows by the options of the door. Analyzing again begins with the file as it came, whatever
-- was opened from it before: left_behind names the object that nobody reads any more. The options keep what was
-- asked, since a part that is opened has it no more.
WITH opened AS (
    SELECT object_key FROM import_parts WHERE job_id = $1 AND part_no = 1 AND source_key IS NOT NULL
), job AS (
    UPDATE import_jobs SET
        state = 'analyzing', file_size = $4, options = $7::text::jsonb || jsonb_build_object('asked', $8::text::jsonb),
        reason = NULL, lease_until = NULL,
        updated_at = $6
    WHERE id = $1 AND state IN ('uploading', 'awaiting_mapping')
    RETURNING *
), part AS (
    INSERT INTO import_parts (organization_id, job_id, part_no, object_key, etag, size_bytes, sha256, format)
    SELECT organization_id, id, 1, $2, $3, $4, '', $5::text::jsonb FROM job
    ON CONFLICT (job_id, part_no) DO UPDATE SET
        object_key = EXCLUDED.object_key, etag = EXCLUDED.etag, size_bytes = EXCLUDED.size_bytes,
        sha256 = '', format = EXCLUDED.format, source_key = NULL, source_etag = NULL, source_bytes = NULL
)
SELECT job.*, (SELECT object_key FROM opened) AS left_behind FROM job

-- part_form --
-- What the analysis found the file to be; of one that nobody has opened yet it has no columns.
SELECT format FROM import_parts WHERE job_id = $1 AND part_no = 1 AND format ? 'columns'

-- fail_upload --
-- What was announced cannot be had. A job that went on meanwhile stays as it is.
UPDATE import_jobs SET state = 'failed', reason = $2, completed_at = $3, updated_at = $3
WHERE id = $1 AND state IN ('uploading', 'awaiting_mapping')

-- begin_import --
-- The job gets its options and waits for a reader. With $6 the object is made its part anew, to be opened as
-- asked; without, the part stays that the analysis has opened. Asking twice at once starts it once. Its times begin
-- now: what a person took to map it is no time of the import. left_behind names the rows that nobody reads any more.
WITH opened AS (
    SELECT object_key FROM import_parts
    WHERE job_id = $1 AND part_no = 1 AND source_key IS NOT NULL AND $6::text IS NOT NULL
), list AS (
    INSERT INTO contact_lists (organization_id, name, created_by)
    SELECT organization_id, $5::varchar, created_by FROM import_jobs
    WHERE id = $1 AND state IN ('uploading', 'awaiting_mapping') AND $5::varchar IS NOT NULL
    ON CONFLICT ON CONSTRAINT unique_list_name_per_org DO UPDATE SET updated_at = now()
    RETURNING id
), job AS (
    UPDATE import_jobs SET
        state = 'pending', door = $2, options = $3::text::jsonb,
        target_list_id = coalesce((SELECT id FROM list), $4), file_size = coalesce($8, file_size),
        lease_until = NULL, run_requested_at = $10, started_at = NULL, updated_at = $10
    WHERE id = $1 AND (state = 'awaiting_mapping' OR state = 'uploading' AND $6::text IS NOT NULL)
    RETURNING *
), part AS (
    INSERT INTO import_parts (organization_id, job_id, part_no, object_key, etag, size_bytes, sha256, format)
    SELECT organization_id, id, 1, $6, $7, $8, '', $9::text::jsonb FROM job WHERE $6::text IS NOT NULL
    ON CONFLICT (job_id, part_no) DO UPDATE SET
        object_key = EXCLUDED.object_key, etag = EXCLUDED.etag, size_bytes = EXCLUDED.size_bytes,
        sha256 = '', format = EXCLUDED.format, source_key = NULL, source_etag = NULL, source_bytes = NULL
)
SELECT job.*, (SELECT object_key FROM opened) AS left_behind FROM job
