-- relay_is_behind --
-- Whether so many records wait for the relay: an announcement behind them would come too late.
SELECT count(*) >= $1 FROM (SELECT FROM outbox LIMIT $1) AS waiting

-- lock_job --
-- The undo that waited longest, until commit. SKIP LOCKED: another process is at work on that one.
SELECT id, organization_id, undo_total, undo_below, undo_batch
FROM import_jobs WHERE state = 'undoing'
ORDER BY updated_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED

-- begin --
-- What there is to be done: contacts that the job made ($3 to $4), and those that it changed.
UPDATE import_jobs SET
    undo_total = (
        SELECT count(*) FROM contacts WHERE organization_id = $2 AND id BETWEEN $3 AND $4) + (
        SELECT count(*) FROM contact_before_images
        WHERE job_id = $1 AND organization_id = $2 AND contact_id NOT BETWEEN $3 AND $4),
    updated_at = clock_timestamp()
WHERE id = $1 AND organization_id = $2

-- advance --
-- Where the undo stands behind one transaction.
UPDATE import_jobs SET
    undo_reversed = undo_reversed + $3, undo_kept_edited = undo_kept_edited + $4,
    undo_kept_colliding = undo_kept_colliding + $5, undo_left_lists = undo_left_lists + $6,
    undo_below = coalesce($7, undo_below), undo_batch = coalesce($8, undo_batch), updated_at = clock_timestamp()
WHERE id = $1 AND organization_id = $2

-- finish --
-- The count from the beginning is outdated where contacts went meanwhile: at the end it is what was done.
UPDATE import_jobs SET
    state = 'undone', undo_total = undo_reversed + undo_kept_edited + undo_kept_colliding, updated_at = now()
WHERE id = $1 AND organization_id = $2

-- give_up --
-- The undo may be asked for again and goes on where it stopped.
UPDATE import_jobs SET state = 'failed', reason = $2, updated_at = now() WHERE id = $1 AND state = 'undoing'

-- next_created --
-- Contacts that the job made, the last ones first: a range of the primary key.
SELECT id FROM contacts
WHERE organization_id = $1 AND id BETWEEN $2 AND $3 AND ($4::uuid IS NULL OR id < $4)
ORDER BY id DESC LIMIT $5

-- next_changed --
-- Contacts that the job found and changed, those of the last batches first.
SELECT contact_id, batch_no FROM contact_before_images
WHERE job_id = $1 AND organization_id = $2 AND contact_id NOT BETWEEN $3 AND $4
    AND batch_no <= coalesce($5, 9223372036854775807)
ORDER BY batch_no DESC, contact_id DESC LIMIT $6

-- lock_contacts --
-- In order of id, as the sink locks them.
SELECT * FROM contacts WHERE organization_id = $1 AND id = ANY ($2::uuid[]) ORDER BY id FOR UPDATE

-- own_versions --
-- The versions at which the job left contacts of its own making; 1 for those that are not here.
SELECT contact_id, left_version, edited FROM contact_before_images
WHERE job_id = $1 AND organization_id = $2 AND contact_id = ANY ($3::uuid[])

-- images --
-- What contacts were before the job, as rows of their table.
SELECT i.*, b.left_version, b.edited, b.batch_no
FROM contact_before_images b CROSS JOIN LATERAL jsonb_populate_record(NULL::contacts, b.image) AS i
WHERE b.job_id = $1 AND b.organization_id = $2 AND b.contact_id = ANY ($3::uuid[])

-- restorations --
-- Versions that an undo gave to these contacts, with those that they stand for.
SELECT contact_id, version, stands_for FROM contact_restorations
WHERE organization_id = $1 AND contact_id = ANY ($2::uuid[])

-- holders --
-- Who holds these e-mails and numbers. The unique indexes have the last word.
SELECT id, email, phone_formatted FROM contacts WHERE organization_id = $1 AND email = ANY ($2::text[])
UNION
SELECT id, email, phone_formatted FROM contacts WHERE organization_id = $1 AND phone_formatted = ANY ($3::text[])

-- changed_too --
-- Which of these contacts the same undo still comes to.
SELECT contact_id FROM contact_before_images
WHERE job_id = $1 AND organization_id = $2 AND contact_id = ANY ($3::uuid[])
    AND contact_id NOT BETWEEN $4 AND $5

-- release_identities --
-- Unique indexes are checked row by row, so identities that change hands within one update are let go first.
-- Only this transaction ever sees the stand-in address; without it email_or_phone would refuse the row.
UPDATE contacts SET email = CASE WHEN email IS NULL THEN NULL ELSE id::text END, phone_formatted = NULL
WHERE organization_id = $1 AND id = ANY ($2::uuid[])

-- restore --
-- Everything that a job writes is as it was; the version rises.
UPDATE contacts c SET
    first_name = i.first_name, last_name = i.last_name, email = i.email, phone = i.phone,
    phone_formatted = i.phone_formatted, company = i.company, title = i.title, address = i.address,
    city = i.city, state = i.state, zip = i.zip, country = i.country, tags = i.tags,
    custom_fields = i.custom_fields, status = i.status, source = i.source, notes = i.notes,
    last_contact_date = i.last_contact_date, do_not_call = i.do_not_call, dnc_list_id = i.dnc_list_id,
    dnc_reason = i.dnc_reason, fingerprint = i.fingerprint, modified_at = i.modified_at,
    version = c.version + 1, updated_at = now()
FROM contact_before_images b CROSS JOIN LATERAL jsonb_populate_record(NULL::contacts, b.image) AS i
WHERE b.job_id = $1 AND b.organization_id = $2 AND b.contact_id = ANY ($3::uuid[])
    AND c.id = b.contact_id AND c.organization_id = $2

-- keep_restorations --
-- So that an earlier import finds the contact at the version that it left.
INSERT INTO contact_restorations (organization_id, contact_id, version, stands_for)
SELECT $1, * FROM unnest($2::uuid[], $3::bigint[], $4::bigint[])

-- forget_images --
-- A before-image that was used, or will not be, is nobody's business any more.
DELETE FROM contact_before_images WHERE job_id = $1 AND organization_id = $2 AND contact_id = ANY ($3::uuid[])

-- forget_all_images --
-- Those of contacts of the job's own making that somebody deleted since.
DELETE FROM contact_before_images WHERE job_id = $1 AND organization_id = $2

-- lists_of_contacts --
-- The lists that these contacts are on, locked in order before their memberships go, as the sink locks them.
SELECT id FROM contact_lists
WHERE organization_id = $1 AND id IN (
    SELECT list_id FROM contact_list_memberships WHERE organization_id = $1 AND contact_id = ANY ($2::uuid[]))
ORDER BY id FOR NO KEY UPDATE

-- leave_lists_of_contacts --
-- Memberships would go with their contacts, but uncounted.
WITH left_lists AS (
    DELETE FROM contact_list_memberships WHERE organization_id = $1 AND contact_id = ANY ($2::uuid[])
    RETURNING list_id
), counted AS (
    UPDATE contact_lists l SET contact_count = contact_count - gone.count, updated_at = now()
    FROM (SELECT list_id, count(*) FROM left_lists GROUP BY list_id) AS gone
    WHERE l.id = gone.list_id AND l.organization_id = $1
)
SELECT count(*) FROM left_lists

-- delete_contacts --
-- Nothing else refers to them: a job that changed one since would have raised its version.
DELETE FROM contacts WHERE organization_id = $1 AND id = ANY ($2::uuid[])

-- next_memberships --
-- Contacts that the job alone put on a list.
SELECT id, list_id FROM contact_list_memberships WHERE job_id = $1 AND organization_id = $2 LIMIT $3

-- lock_lists --
-- Before their memberships go, as the sink locks them.
SELECT id FROM contact_lists WHERE organization_id = $1 AND id = ANY ($2::uuid[]) ORDER BY id FOR NO KEY UPDATE

-- leave_lists --
-- Unless somebody else put the contact there since.
WITH left_lists AS (
    DELETE FROM contact_list_memberships WHERE organization_id = $2 AND id = ANY ($3::uuid[]) AND job_id = $1
    RETURNING list_id
), counted AS (
    UPDATE contact_lists l SET contact_count = contact_count - gone.count, updated_at = now()
    FROM (SELECT list_id, count(*) FROM left_lists GROUP BY list_id) AS gone
    WHERE l.id = gone.list_id AND l.organization_id = $2
)
SELECT count(*) FROM left_lists

-- keep --
-- Contacts that stay as they are, by name.
INSERT INTO import_undo_kept (organization_id, job_id, contact_id, reason, held_by)
SELECT $1, $2, * FROM unnest($3::uuid[], $4::text[], $5::uuid[])

-- announce --
-- Records that the relay sends to Kafka: in this transaction or not at all.
INSERT INTO outbox (organization_id, topic, key, event)
SELECT $1, $2, key, event::jsonb FROM unnest($3::text[], $4::text[]) AS record (key, event)
