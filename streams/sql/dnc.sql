-- lists --
-- Every list with its version; a list that was never loaded has no last_updated and is not consulted.
SELECT id, organization_id, version, last_updated, status = 'active' AS active
FROM dnc_lists;

-- entries_since --
-- What changed in a list after a version; from version -1 it is the whole list.
SELECT phone_number, organization_id, reason, date_added, expiry_date, status = 'active' AS active
FROM dnc_entries
WHERE list_id = $1 AND version > $2;

-- count_entries --
-- How many entries a list has: another number than is known here means that some went without a trace.
SELECT count(*) FROM dnc_entries WHERE list_id = $1 AND status = 'active';
