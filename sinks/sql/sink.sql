-- The sink's statements. Whatever reads or writes a tenant's contacts, lists or job names the organization,
-- because the sink's role bypasses row security (D10).

-- raise_epochs --
-- Take partitions over: waits for a writer that still holds one FOR SHARE, and fences it from then on.
INSERT INTO sink_partitions (topic_partition, epoch, owner)
SELECT p, 1, $2 FROM unnest($1::integer[]) AS p ORDER BY p
ON CONFLICT (topic_partition) DO UPDATE
SET epoch = sink_partitions.epoch + 1, owner = EXCLUDED.owner, raised_at = now()
RETURNING topic_partition, epoch

-- end_writers --
-- End those who keep a session waiting: writers that stand still in the middle of a statement.
SELECT pg_terminate_backend(blocking) FROM unnest(pg_blocking_pids($1)) AS blocking

-- lock_partitions --
-- Held until commit, so that nobody takes a partition over while its rows are being written.
SELECT topic_partition, epoch FROM sink_partitions
WHERE topic_partition = ANY ($1::integer[]) ORDER BY topic_partition FOR SHARE

-- lock_jobs --
-- In order of id, so that two writers never wait for each other; children may still refer to the rows.
SELECT id, organization_id, created_by, target_list_id, options, state, reason,
       cancel_requested_at IS NOT NULL AS cancel_requested, run, lease_epoch, applied_batch,
       rows_read, rows_staged, created, updated, unchanged, merged, duplicate_in_file, duplicate_existing,
       excluded, no_identity, suppressed_dnc, invalid, conflict, failed, cancelled, created_at,
       run_kind, ended_as, ended_reason
FROM import_jobs WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE

-- part_hashes --
-- The lineage of events: which bytes a row was read from.
SELECT job_id, part_no, sha256 FROM import_parts WHERE job_id = ANY ($1::uuid[])

-- count_undecodable --
-- One more arrival of a batch that cannot be decoded, unless this very message was counted before.
INSERT INTO sink_undecodable AS held (job_id, batch_no, seen, topic_partition, topic_offset)
SELECT id, $3, 1, $4, $5 FROM import_jobs WHERE id = $1 AND organization_id = $2
ON CONFLICT (job_id, batch_no) DO UPDATE
SET seen = held.seen + (EXCLUDED.topic_offset > held.topic_offset)::integer,
    topic_partition = EXCLUDED.topic_partition,
    topic_offset = greatest(held.topic_offset, EXCLUDED.topic_offset)
RETURNING seen

-- holders --
-- Who holds these e-mails and numbers: locked, in order of id, so that what is decided stays true.
SELECT id, first_name, last_name, email, phone, phone_formatted, company, title, address, city, state, zip,
       country, tags, custom_fields, source, notes, last_contact_date, do_not_call, dnc_list_id, dnc_reason,
       version, modified_at
FROM contacts
WHERE organization_id = $1 AND id IN (
    SELECT id FROM contacts WHERE organization_id = $1 AND email = ANY ($2::text[])
    UNION
    SELECT id FROM contacts WHERE organization_id = $1 AND phone_formatted = ANY ($3::text[]))
ORDER BY id FOR UPDATE

-- holders_of_emails --
-- Who holds these e-mails, as far as hints are made of it: nothing is locked, what matters is confirmed. A contact
-- that another application stored may have no fingerprint: zeros are no row's.
SELECT uuid_send(id), coalesce(fingerprint, decode(repeat('00', 16), 'hex')), email, coalesce(phone_formatted, '')
FROM contacts WHERE organization_id = $1 AND email = ANY ($2::text[])

-- holders_of_phones --
-- Likewise by number.
SELECT uuid_send(id), coalesce(fingerprint, decode(repeat('00', 16), 'hex')), coalesce(email, ''), phone_formatted
FROM contacts WHERE organization_id = $1 AND phone_formatted = ANY ($2::text[])

-- confirm_content --
-- What the hints "same as X" rest on: the contents of these contacts, in order of id; the caller compares. One
-- walk along the index, where a join would go down it for every hint (1 µs of PostgreSQL a row instead of 3).
SELECT string_agg(fingerprint, '' ORDER BY id) FROM contacts
WHERE organization_id = $1 AND id = ANY ($2::uuid[])

-- confirm_holder --
-- How many of the hints "is X" hold: the contact is there and has the identities that the row is matched by.
SELECT count(*)
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS hint (id, email, phone)
JOIN contacts c ON c.id = hint.id
WHERE c.organization_id = $1
    AND (hint.email IS NULL OR c.email = hint.email)
    AND (hint.phone IS NULL OR c.phone_formatted = hint.phone)

-- hold_organization --
-- What the foreign key of contacts would do for each row of a COPY, once: the organization is there and stays
-- until commit. Then, and where the role may, the key's trigger rests; no row is answered where it may not.
WITH held AS MATERIALIZED (SELECT FROM organizations WHERE id = $1 FOR KEY SHARE)
SELECT set_config('session_replication_role', 'replica', true) FROM held
WHERE has_parameter_privilege('session_replication_role', 'SET')

-- check_keys_again --
-- Behind the COPY of contacts: every other table's keys and triggers are checked as they always are.
SELECT set_config('session_replication_role', 'origin', true)

-- keep_before_images --
-- What a job found, once per contact; the version it leaves is kept up to date. Empty: the job made it itself.
-- Where the version is not the one that the job left last (1 when it made the contact), somebody edited it since.
INSERT INTO contact_before_images AS held
    (organization_id, job_id, contact_id, image, left_version, batch_no, edited)
SELECT $1, $2, c.id, CASE WHEN touched.own THEN '{}' ELSE to_jsonb(c) END, touched.version, touched.batch_no,
       touched.own AND c.version <> 1
FROM unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::boolean[]) AS touched (id, version, batch_no, own)
JOIN contacts c ON c.id = touched.id
WHERE c.organization_id = $1
ON CONFLICT (job_id, contact_id) DO UPDATE SET
    left_version = EXCLUDED.left_version,
    edited = held.edited OR held.left_version <> (
        SELECT c.version FROM contacts c WHERE c.id = EXCLUDED.contact_id AND c.organization_id = $1)

-- keep_own_versions --
-- Contacts that a job made and changed again before they were first stored: the version it leaves.
INSERT INTO contact_before_images (organization_id, job_id, contact_id, image, left_version, batch_no)
SELECT $1, $2, id, '{}', version, batch_no
FROM unnest($3::uuid[], $4::bigint[], $5::bigint[]) AS made (id, version, batch_no)
ON CONFLICT (job_id, contact_id) DO UPDATE SET left_version = EXCLUDED.left_version

-- release_identities --
-- Unique indexes are checked row by row, so identities that change hands within one update are let go first.
-- Only this transaction ever sees the stand-in address; without it email_or_phone would refuse the row.
UPDATE contacts SET email = CASE WHEN email IS NULL THEN NULL ELSE id::text END, phone_formatted = NULL
WHERE organization_id = $1 AND id = ANY ($2::uuid[])

-- update_contacts --
-- The whole new content of each contact, as the last row left it.
UPDATE contacts c SET
    first_name = n.first_name, last_name = n.last_name, email = n.email, phone = n.phone,
    phone_formatted = n.phone_formatted, company = n.company, title = n.title, address = n.address,
    city = n.city, state = n.state, zip = n.zip, country = n.country,
    tags = coalesce(string_to_array(n.tags, ';'), '{}'), custom_fields = n.custom_fields::jsonb,
    source = n.source, notes = n.notes, last_contact_date = n.last_contact_date,
    do_not_call = n.do_not_call, dnc_list_id = n.dnc_list_id, dnc_reason = n.dnc_reason,
    version = n.version, fingerprint = n.fingerprint, modified_at = n.modified_at, updated_at = now()
FROM unnest(
    $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
    $19::timestamptz[], $20::boolean[], $21::uuid[], $22::text[], $23::bigint[], $24::bytea[],
    $25::timestamptz[]
) AS n (id, first_name, last_name, email, phone, phone_formatted, company, title, address, city, state, zip,
        country, tags, custom_fields, source, notes, last_contact_date, do_not_call, dnc_list_id, dnc_reason,
        version, fingerprint, modified_at)
WHERE c.id = n.id AND c.organization_id = $1

-- join_list --
-- Contacts that rows ended at, on the list that the job names, if it is still there; who is on it stays. Whoever
-- is put there by one job alone can be taken off again by its undo: a second one makes it nobody's.
WITH joined AS (
    INSERT INTO contact_list_memberships AS held (organization_id, contact_id, list_id, added_by, job_id)
    SELECT $1, c, $3, $4, $5 FROM unnest($2::uuid[]) AS c
    WHERE EXISTS (SELECT FROM contact_lists WHERE organization_id = $1 AND id = $3 FOR NO KEY UPDATE)
    ON CONFLICT (contact_id, list_id) DO UPDATE SET job_id = NULL
        WHERE held.job_id <> EXCLUDED.job_id
    RETURNING held.job_id
)
UPDATE contact_lists SET
    contact_count = contact_count + (SELECT count(*) FROM joined WHERE job_id IS NOT NULL), updated_at = now()
WHERE organization_id = $1 AND id = $3 AND EXISTS (SELECT FROM joined WHERE job_id IS NOT NULL)

-- announce --
-- Records that the relay sends to Kafka: in this transaction or not at all.
INSERT INTO outbox (organization_id, topic, key, event)
SELECT $1, $2, key, event::jsonb FROM unnest($3::text[], $4::text[]) AS record (key, event)

-- advance_job --
-- The job behind its newest batch; the row is locked, so the figures are absolute.
UPDATE import_jobs SET
    state = $2, reason = $3, applied_batch = $4, position_part = $5, position_byte = $6, position_line = $7,
    position_row = $8, rows_read = $9, rows_staged = $10, created = $11, updated = $12, unchanged = $13,
    merged = $14, duplicate_in_file = $15, duplicate_existing = $16, excluded = $17, no_identity = $18,
    suppressed_dnc = $19, invalid = $20, conflict = $21, failed = $22, cancelled = $23,
    completed_at = coalesce($24, completed_at), updated_at = now()
WHERE id = $1 AND organization_id = $25

-- resume_job --
-- A paused job whose last batch was on its way ends from processing: the table of transitions has no other way.
UPDATE import_jobs SET state = 'processing' WHERE id = $1 AND organization_id = $2 AND state = 'paused'

-- staged_batches --
-- What waits for the last batch of an atomic job or a dry run, in order.
SELECT batch_no, topic_partition, topic_offset FROM import_batches
WHERE job_id = $1 AND organization_id = $2 AND run = $3 AND staged ORDER BY batch_no

-- stored_message --
-- One staged batch at a time: a whole file would not fit into memory.
SELECT message FROM import_batches WHERE job_id = $1 AND organization_id = $2 AND batch_no = $3

-- settle_staged --
-- The judgement of a staged batch. With a position its events are published with the batch at that position;
-- without one there is nothing to publish, and what it was answered with stays true.
UPDATE import_batches SET
    staged = false, outcomes = $4, contact_ids = $5, faults = $6::jsonb, images = $7,
    topic_partition = coalesce($8, topic_partition), topic_offset = coalesce($9, topic_offset),
    applied_at = $10, published = $8 IS NULL, changes = $11::jsonb,
    message = CASE WHEN $8::integer IS NULL THEN '' ELSE message END
WHERE job_id = $1 AND organization_id = $2 AND batch_no = $3

-- cancel_staged --
-- The rows of a staged run that ended before they were judged, all under one letter.
UPDATE import_batches SET
    staged = false, outcomes = repeat($4, row_count), contact_ids = decode(repeat('00', 16 * row_count), 'hex'),
    message = ''
WHERE job_id = $1 AND organization_id = $2 AND run = $3 AND staged

-- earlier_results --
-- What rows are before a further run, by the ranges of rows that its batches hold. A batch has at most 500 rows,
-- so the index finds those that reach into a range.
SELECT b.batch_no, b.first_row_no, b.outcomes, b.contact_ids, b.changes
FROM unnest($4::bigint[], $5::bigint[]) AS asked (first, behind)
JOIN import_batches b ON b.job_id = $1 AND b.first_row_no > asked.first - 500
    AND b.first_row_no < asked.behind AND b.first_row_no + b.row_count > asked.first
WHERE b.organization_id = $2 AND b.run < $3 AND NOT b.staged

-- supersede_rows --
-- These rows have their results in other batches from now on.
UPDATE import_batches b SET
    outcomes = n.outcomes, faults = b.faults - string_to_array(n.indexes, ',')
FROM unnest($3::bigint[], $4::text[], $5::text[]) AS n (batch_no, outcomes, indexes)
WHERE b.job_id = $1 AND b.organization_id = $2 AND b.batch_no = n.batch_no

-- supersede_runs --
-- So have all rows of the runs before this one.
UPDATE import_batches SET outcomes = repeat($4, row_count), faults = '{}', changes = '{}'
WHERE job_id = $1 AND organization_id = $2 AND run < $3 AND NOT staged

-- commit_dry_run --
-- What was a dry run has been written: it is an import like any other now.
UPDATE import_jobs SET options = options || '{"dry_run": false}' WHERE id = $1 AND organization_id = $2

-- mark_published --
-- Batches whose Kafka transaction is committed. A stored message has then done its service, unless the batch
-- still waits for judgement. Judged anew since: another position, not marked.
UPDATE import_batches b SET published = true, message = CASE WHEN b.staged THEN b.message ELSE '' END
FROM unnest($1::integer[], $2::bigint[]) AS p (topic_partition, topic_offset)
WHERE NOT b.published AND b.topic_partition = p.topic_partition AND b.topic_offset = p.topic_offset

-- job_options --
-- What a batch that nobody can decode would have said.
SELECT options, created_at FROM import_jobs WHERE id = $1 AND organization_id = $2

-- stored_result --
-- The result and the message of one judged batch, for its events.
SELECT b.organization_id, b.job_id, b.run, b.outcomes, b.contact_ids, b.images, b.message, b.applied_at,
       b.topic_partition, b.topic_offset, p.sha256
FROM import_batches b
LEFT JOIN import_parts p ON p.job_id = b.job_id AND p.part_no = b.start_part
WHERE b.job_id = $1 AND b.batch_no = $2

-- in_doubt --
-- Batches that are in the database and perhaps not in Kafka, in order of their messages. Messages themselves
-- are read one by one: a whole atomic job may be in doubt.
SELECT b.organization_id, b.job_id, b.batch_no, b.run, b.lease_epoch, b.first_row_no, b.row_count, b.outcomes,
       b.staged, b.is_last, b.counts, b.state, b.reason, b.end_part, b.end_byte, b.end_line, b.end_row,
       b.topic_partition, b.topic_offset, b.applied_at,
       coalesce((j.options ->> 'dry_run')::boolean, false) AS dry_run
FROM import_batches b JOIN import_jobs j ON j.id = b.job_id
WHERE NOT b.published AND b.topic_partition = ANY ($1::integer[])
ORDER BY b.topic_partition, b.topic_offset, b.batch_no
