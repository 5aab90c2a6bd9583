-- registered_keys --
-- Which of these objects a job reads, was opened from, or waits for; the rest belong to nobody.
SELECT object_key FROM import_parts WHERE object_key = ANY ($1)
UNION ALL
SELECT source_key FROM import_parts WHERE source_key = ANY ($1)
UNION ALL
SELECT upload_key FROM import_jobs WHERE upload_key = ANY ($1)
