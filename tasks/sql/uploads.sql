-- registered_keys --
-- Which of these objects a job reads, was opened from, or waits for; the rest belong to nobody.
SELECT object_key FROM import_parts WHERE object_key = ANY ($1)
UNION ALL
SELECT source_key FROM import_parts WHERE source_key = ANY ($1)
UNION ALL
SELECT upload_key FROM import_jobs WHERE upload_key = ANY ($1) AND state NOT IN ('failed', 'cancelled')

-- abandon_uploads --
-- A file that nobody sent, or nobody went on with, long after the wizard forgot it: $1 when, $2 now, $3 why.
UPDATE import_jobs SET state = 'cancelled', reason = $3, completed_at = $2, updated_at = $2
WHERE state IN ('uploading', 'analyzing', 'awaiting_mapping') AND updated_at < $1

-- forget_sources --
-- No row of them was read, so nobody asks for one again: their objects belong to nobody from now on.
DELETE FROM import_parts AS part
USING import_jobs AS job
WHERE job.id = part.job_id AND job.organization_id = part.organization_id
  AND job.upload_key IS NOT NULL AND job.state IN ('failed', 'cancelled') AND job.rows_read = 0
  AND coalesce(job.completed_at, job.updated_at) < $1

-- delete_expired_state --
-- Nobody is answered with it any more.
DELETE FROM temporary_state WHERE expires_at < $1
