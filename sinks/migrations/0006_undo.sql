-- Undo of an ended import (D14), and the history of a job.

-- What an undo has done so far. `undo_total` is counted when it begins; the rest only rises. `undo_below` and
-- `undo_batch` are where it stands: created contacts from there on, and changes of later batches, are done.
ALTER TABLE import_jobs
    ADD COLUMN undo_asked_at timestamptz,
    ADD COLUMN undo_total bigint,
    ADD COLUMN undo_reversed bigint NOT NULL DEFAULT 0,
    ADD COLUMN undo_kept_edited bigint NOT NULL DEFAULT 0,
    ADD COLUMN undo_kept_colliding bigint NOT NULL DEFAULT 0,
    ADD COLUMN undo_left_lists bigint NOT NULL DEFAULT 0,
    ADD COLUMN undo_below uuid,
    ADD COLUMN undo_batch bigint,
    -- A job that is half undone is not run again: it would build on contacts that are gone.
    ADD CONSTRAINT no_run_after_undo CHECK (undo_asked_at IS NULL OR state IN ('undoing', 'undone', 'failed')),
    ADD CONSTRAINT undone_is_accounted_for CHECK (
        state <> 'undone' OR undo_total = undo_reversed + undo_kept_edited + undo_kept_colliding);

-- The contact was changed by somebody else between two touches of the job: the image is older than that change.
ALTER TABLE contact_before_images ADD COLUMN edited boolean NOT NULL DEFAULT false;
-- Of images from before this column it is not known: a job that touched a contact once left the very next version,
-- and of its own contacts the second. Anything above may hide somebody else's change, so it is kept by an undo.
UPDATE contact_before_images SET edited = true
WHERE left_version > CASE WHEN image = '{}' THEN 2 ELSE (image ->> 'version')::bigint + 1 END;
-- Undo takes them in the reverse order of writing. Jobs and batches rise, so the index grows at its right end.
CREATE INDEX idx_before_images_batch ON contact_before_images (job_id, batch_no);

-- The import that put the contact on the list, as long as nobody else did: undo takes it off again.
ALTER TABLE contact_list_memberships ADD COLUMN job_id uuid;
CREATE INDEX idx_memberships_job ON contact_list_memberships (job_id, contact_id) WHERE job_id IS NOT NULL;

-- Contacts that an undo left as they are, and why; `held_by` holds an identity that the contact had before.
CREATE TABLE import_undo_kept (
    organization_id uuid NOT NULL,
    job_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    reason varchar(20) NOT NULL CHECK (reason IN ('edited', 'deleted', 'colliding')),
    held_by uuid,
    PRIMARY KEY (job_id, contact_id),
    FOREIGN KEY (organization_id, job_id) REFERENCES import_jobs (organization_id, id) ON DELETE CASCADE
);

-- A version that an undo gave to a contact, and the earlier one whose content it has again: an older import finds
-- the contact as it left it. Versions only rise, so the number alone would say that it was edited.
CREATE TABLE contact_restorations (
    organization_id uuid NOT NULL,
    contact_id uuid NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    version bigint NOT NULL,
    stands_for bigint NOT NULL CHECK (stands_for < version),
    PRIMARY KEY (contact_id, version)
);

-- What happened to a job, in order of id.
CREATE TABLE import_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid NOT NULL,
    job_id uuid NOT NULL,
    event varchar(30) NOT NULL,
    run integer NOT NULL,
    -- Who asked for it; null where a worker did it.
    user_id uuid,
    details jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organization_id, job_id) REFERENCES import_jobs (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_import_history_job ON import_history (job_id, id);

-- Written by the database itself, so that no way of moving a job can forget it.
CREATE FUNCTION write_import_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event text;
    details jsonb := '{}';
BEGIN
    IF TG_OP = 'INSERT' THEN
        event := 'accepted';
    ELSIF OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL THEN
        -- A paused job goes on to its end then, which is no resumption.
        event := 'cancel_asked';
    ELSIF NEW.state = OLD.state THEN
        RETURN NULL;
    ELSE
        event := CASE
            WHEN NEW.state = 'undoing' THEN 'undo_asked'
            WHEN NEW.state = 'processing' AND OLD.state = 'paused' THEN 'resumed'
            WHEN NEW.state = 'processing' AND OLD.state IN ('completed', 'failed') THEN 'run_again'
            WHEN NEW.state = 'processing' THEN 'started'
            ELSE NEW.state END;
        IF NEW.state = 'undone' THEN
            details := jsonb_build_object('reversed', NEW.undo_reversed, 'kept_edited', NEW.undo_kept_edited,
                'kept_colliding', NEW.undo_kept_colliding, 'left_lists', NEW.undo_left_lists);
        ELSIF event = 'run_again' THEN
            details := jsonb_build_object('kind', NEW.run_kind);
        ELSIF NEW.reason IS NOT NULL AND NEW.state IN ('failed', 'cancelled', 'completed') THEN
            details := jsonb_build_object('reason', NEW.reason);
        END IF;
    END IF;
    INSERT INTO import_history (organization_id, job_id, event, run, user_id, details)
    VALUES (NEW.organization_id, NEW.id, event, NEW.run, current_user_id(), details);
    RETURN NULL;
END
$$;
CREATE TRIGGER import_history_began AFTER INSERT ON import_jobs
    FOR EACH ROW EXECUTE FUNCTION write_import_history();
CREATE TRIGGER import_history_went_on AFTER UPDATE OF state, cancel_requested_at ON import_jobs
    FOR EACH ROW WHEN (
        OLD.state IS DISTINCT FROM NEW.state
        OR OLD.cancel_requested_at IS DISTINCT FROM NEW.cancel_requested_at)
    EXECUTE FUNCTION write_import_history();

-- What is still known of jobs from before there was a history.
INSERT INTO import_history (organization_id, job_id, event, run, user_id, details, at)
SELECT organization_id, id, event, run, user_id, details, at
FROM import_jobs j, LATERAL (VALUES
    (1, 'accepted', j.created_by, '{}'::jsonb, j.created_at),
    (2, 'started', NULL, '{}', j.started_at),
    (3, j.state, NULL, jsonb_strip_nulls(jsonb_build_object('reason', j.reason)), j.completed_at)
) AS known (place, event, user_id, details, at)
WHERE at IS NOT NULL
ORDER BY j.id, place;

GRANT SELECT, INSERT, UPDATE, DELETE ON import_undo_kept, contact_restorations, import_history TO sluice_sink;
GRANT SELECT ON import_undo_kept TO sluice_api;
GRANT SELECT, INSERT ON import_history TO sluice_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO sluice_api, sluice_sink;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['import_undo_kept', 'contact_restorations', 'import_history'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY own_organization ON %I USING (organization_id = (SELECT current_organization()))
             WITH CHECK (organization_id = (SELECT current_organization()))', tenant_table);
    END LOOP;
END
$$;
