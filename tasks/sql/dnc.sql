-- organization_named --
-- Names are compared as people write them; the oldest of a name is meant.
SELECT id FROM organizations WHERE lower(name) = lower($1) ORDER BY created_at, id LIMIT 1

-- make_list --
-- A list that is new; nothing when there is one with this name, or two loads begin at once.
INSERT INTO dnc_lists (organization_id, name, slug, type, compliance_level, source)
VALUES ($1, $2, $3, $4, 'required', 'file')
ON CONFLICT ON CONSTRAINT unique_dnc_list_slug DO NOTHING

-- lock_list --
-- Held until commit, so versions of one list rise one by one.
SELECT id, type, version FROM dnc_lists
WHERE organization_id IS NOT DISTINCT FROM $1 AND slug = $2
FOR UPDATE

-- upsert_entries --
-- $3 numbers and $4 reasons, no number twice. An entry that was removed or had expired is active again.
INSERT INTO dnc_entries (list_id, organization_id, phone_number, reason, source, version)
SELECT $1, $2, number, nullif(reason, ''), 'file', $5
FROM unnest($3::text[], $4::text[]) AS given (number, reason)
ON CONFLICT ON CONSTRAINT unique_phone_per_list DO UPDATE SET
    status = 'active',
    reason = coalesce(EXCLUDED.reason, dnc_entries.reason),
    expiry_date = CASE WHEN dnc_entries.expiry_date > now() THEN dnc_entries.expiry_date END,
    version = EXCLUDED.version

-- retire_others --
-- Under --replace: entries that this version's file does not name stop matching; followers see it by version.
-- Of the list's own entries: those that one tenant holds in a shared list are not the file's to name.
UPDATE dnc_entries SET status = 'removed', version = $2
WHERE list_id = $1 AND organization_id IS NOT DISTINCT FROM $3 AND version < $2 AND status = 'active'

-- finish_version --
-- Counted anew, because a stored count drifts (T-21).
UPDATE dnc_lists SET
    version = $2,
    last_updated = now(),
    updated_at = now(),
    contact_count = (
        SELECT count(*) FROM dnc_entries
        WHERE list_id = $1 AND status = 'active' AND (expiry_date IS NULL OR expiry_date > now()))
WHERE id = $1
RETURNING contact_count, last_updated

-- announce --
-- In the list's own transaction: no follower hears of a version that was rolled back.
INSERT INTO outbox (organization_id, topic, key, event) VALUES ($1, $2, $3, $4::text::jsonb)

-- consulted_lists --
-- The loaded lists that hold for an organization (null: the shared ones alone), and this number's entry in
-- each; a shared list may hold entries of one tenant alone (K-30). Expired and inactive entries do not match (S4-064).
SELECT DISTINCT ON (l.name, l.id) l.id, l.name, l.version, l.last_updated, e.reason, e.id IS NOT NULL AS listed
FROM dnc_lists l
LEFT JOIN dnc_entries e
    ON e.list_id = l.id AND e.phone_number = $2 AND e.status = 'active'
    AND (e.organization_id IS NULL OR e.organization_id = $1)
    AND (e.expiry_date IS NULL OR e.expiry_date > now())
WHERE (l.organization_id IS NULL OR l.organization_id = $1)
    AND l.status = 'active' AND l.last_updated IS NOT NULL
ORDER BY l.name, l.id, e.organization_id NULLS FIRST
