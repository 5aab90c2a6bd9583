-- registered_keys --
-- Which of these objects a job reads; the rest belong to nobody.
SELECT object_key FROM import_parts WHERE object_key = ANY ($1)
