-- Files of every kind: an upload that is a job from its first minute, what a file was before it was opened, the
-- wizard's state with its time to live, and what an organization chose for its columns before.

-- A presigned upload: where the caller is to put the file, and what was said of it. Nothing of it is believed.
ALTER TABLE import_jobs
    ADD COLUMN upload_key text,
    ADD COLUMN upload_bytes bigint,
    ADD COLUMN upload_type text,
    -- Bytes that are read, where that is not the file itself: its opened rows. Progress is told by them.
    ADD COLUMN read_bytes bigint;
CREATE INDEX idx_import_jobs_upload ON import_jobs (upload_key) WHERE upload_key IS NOT NULL;

ALTER TABLE import_jobs DROP CONSTRAINT import_jobs_source_check;
ALTER TABLE import_jobs ADD CONSTRAINT import_jobs_source_check CHECK (source IN (
    'csv', 'excel', 'json', 'txt', 'vcard', 'ldif', 'api', 'google', 'microsoft', 'icloud',
    'salesforce', 'hubspot', 'pipedrive', 'zoho'));

-- A file that is no delimited text is opened once: object_key then names its rows, source_key the file itself.
ALTER TABLE import_parts
    ADD COLUMN source_key text,
    ADD COLUMN source_etag text,
    ADD COLUMN source_bytes bigint;
CREATE INDEX idx_import_parts_source ON import_parts (source_key) WHERE source_key IS NOT NULL;
COMMENT ON COLUMN import_parts.format IS
    '{"kind": "new", ...asked} until a reader has looked; then {"kind": "csv" | "rows", columns, ...}.';

-- Readers also take jobs that wait to be analyzed.
DROP INDEX idx_import_jobs_unleased;
CREATE INDEX idx_import_jobs_unleased ON import_jobs (lease_until NULLS FIRST)
    WHERE state IN ('pending', 'processing', 'analyzing');

-- What lives for an hour: analysis, its progress, a mapping (K-41). The value is JSON as text: it is only ever
-- read whole, and jsonb takes no U+0000, which cells may hold, and forgets the order of columns.
CREATE TABLE temporary_state (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, key)
);
CREATE INDEX idx_temporary_state_expiry ON temporary_state (expires_at);

-- The mapping that was chosen last for a header set, whatever the order of its columns.
CREATE TABLE remembered_mappings (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    header_set bytea NOT NULL,
    mapping jsonb NOT NULL,
    chosen_by uuid NOT NULL,
    chosen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, header_set)
);

CREATE TABLE mapping_templates (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    mapping jsonb NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT unique_mapping_template UNIQUE (organization_id, name)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON temporary_state, remembered_mappings, mapping_templates
    TO sluice_api, sluice_sink;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['temporary_state', 'remembered_mappings', 'mapping_templates'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY own_organization ON %I USING (organization_id = (SELECT current_organization()))
             WITH CHECK (organization_id = (SELECT current_organization()))', tenant_table);
    END LOOP;
END
$$;
