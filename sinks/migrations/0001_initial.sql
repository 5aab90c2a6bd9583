-- Tenants, contacts, jobs and the sink's own books, with row-level security from the first day.
--
-- Two roles use these tables. sluice_api is under row security: each transaction says which organization it
-- works for (SET LOCAL sluice.organization_id) and which user (sluice.user_id). sluice_sink, for the workers,
-- bypasses it, because PostgreSQL refuses COPY FROM into a table under row security; so the workers put the
-- organization into every predicate, and foreign keys between tenants' rows carry it too.

CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
CREATE EXTENSION IF NOT EXISTS "pg_trgm";

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_api') THEN
        CREATE ROLE sluice_api NOLOGIN NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_sink') THEN
        CREATE ROLE sluice_sink NOLOGIN BYPASSRLS;
    END IF;
END
$$;

-- Who the transaction works for; null (and so no row at all) where nobody said.
CREATE FUNCTION current_organization() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('sluice.organization_id', true), '')::uuid;
CREATE FUNCTION current_user_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('sluice.user_id', true), '')::uuid;

-- Tenants -----------------------------------------------------------------------------------------------------

CREATE TABLE organizations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(255) NOT NULL,
    slug varchar(100) UNIQUE NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    subscription_tier varchar(50) NOT NULL DEFAULT 'free'
        CHECK (subscription_tier IN ('free', 'pro', 'enterprise')),
    -- The personal organization of a user without one (K-03).
    personal_of uuid UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_organizations_slug ON organizations (slug);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    name varchar(255) NOT NULL DEFAULT '',
    email varchar(320),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE memberships (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role varchar(20) NOT NULL CHECK (role IN ('admin', 'manager', 'agent')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX idx_memberships_user ON memberships (user_id);

-- Contacts ----------------------------------------------------------------------------------------------------

CREATE TABLE contact_lists (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    description text,
    status varchar(50) NOT NULL DEFAULT 'active',
    tags text[] NOT NULL DEFAULT '{}',
    created_by uuid NOT NULL,
    contact_count integer NOT NULL DEFAULT 0,
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT unique_list_name_per_org UNIQUE (organization_id, name),
    CONSTRAINT unique_list_in_org UNIQUE (organization_id, id)
);
CREATE INDEX idx_contact_lists_org ON contact_lists (organization_id);
CREATE INDEX idx_contact_lists_status ON contact_lists (status);
CREATE INDEX idx_contact_lists_tags ON contact_lists USING gin (tags);

CREATE TABLE contacts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    first_name varchar(100),
    last_name varchar(100),
    -- Lower-cased: the e-mail identity.
    email varchar(320),
    -- As given, and in E.164: the phone identity.
    phone varchar(40),
    phone_formatted varchar(30),
    company varchar(255),
    title varchar(100),
    address text,
    city varchar(100),
    state varchar(50),
    zip varchar(20),
    country varchar(2) DEFAULT 'US',
    tags text[] NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    status varchar(50) NOT NULL DEFAULT 'active',
    source varchar(100),
    notes text,
    created_by uuid NOT NULL,
    last_contact_date timestamptz,
    contact_count integer NOT NULL DEFAULT 0,
    do_not_call boolean NOT NULL DEFAULT false,
    dnc_list_id uuid,
    dnc_reason varchar(255),
    -- Only rises; public events carry it so that subscribers can order them.
    version bigint NOT NULL DEFAULT 1,
    -- Of the content, 16 bytes (sluice.contact.fingerprint): an unchanged row is known by it.
    fingerprint bytea,
    -- The source's own modification time (row rule 9).
    modified_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT unique_phone_per_org UNIQUE (organization_id, phone_formatted),
    CONSTRAINT unique_email_per_org UNIQUE (organization_id, email),
    -- Replaces S4's NOT NULL on phone (K-02).
    CONSTRAINT email_or_phone CHECK (email IS NOT NULL OR phone IS NOT NULL)
);
CREATE INDEX idx_contacts_org ON contacts (organization_id);
CREATE INDEX idx_contacts_phone ON contacts (phone_formatted);
CREATE INDEX idx_contacts_email ON contacts (email);
CREATE INDEX idx_contacts_name ON contacts (first_name, last_name);
CREATE INDEX idx_contacts_status ON contacts (status);
CREATE INDEX idx_contacts_tags ON contacts USING gin (tags);
CREATE INDEX idx_contacts_custom_fields ON contacts USING gin (custom_fields);
CREATE INDEX idx_contacts_full_text ON contacts USING gin (
    to_tsvector('english',
        coalesce(first_name, '') || ' ' || coalesce(last_name, '') || ' ' ||
        coalesce(email, '') || ' ' || coalesce(company, ''))
);

CREATE TABLE contact_list_memberships (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL,
    contact_id uuid NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    list_id uuid NOT NULL,
    added_by uuid NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT unique_contact_list_membership UNIQUE (contact_id, list_id),
    FOREIGN KEY (organization_id, list_id) REFERENCES contact_lists (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_memberships_contact ON contact_list_memberships (contact_id);
CREATE INDEX idx_memberships_list ON contact_list_memberships (list_id);

-- Do-Not-Call -------------------------------------------------------------------------------------------------

CREATE TABLE dnc_lists (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Null: shared by all tenants, written by operators (K-30).
    organization_id uuid REFERENCES organizations (id) ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    slug varchar(100) NOT NULL,
    type varchar(50) NOT NULL CHECK (type IN ('federal', 'state', 'company', 'industry')),
    description text,
    compliance_level varchar(50) NOT NULL,
    auto_update boolean NOT NULL DEFAULT false,
    update_frequency integer,
    source varchar(255),
    contact_count bigint NOT NULL DEFAULT 0,
    -- When its entries were last loaded; null: never, so imports do not consult it.
    last_updated timestamptz,
    -- Rises by 1 with every change of its entries; dnc.changed.v1 announces it.
    version bigint NOT NULL DEFAULT 0,
    status varchar(50) NOT NULL DEFAULT 'active',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT unique_dnc_list_slug UNIQUE NULLS NOT DISTINCT (organization_id, slug)
);
CREATE INDEX idx_dnc_lists_org ON dnc_lists (organization_id);
CREATE INDEX idx_dnc_lists_type ON dnc_lists (type);

CREATE TABLE dnc_entries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    list_id uuid NOT NULL REFERENCES dnc_lists (id) ON DELETE CASCADE,
    -- Whose entry it is; null in a list shared by all.
    organization_id uuid REFERENCES organizations (id) ON DELETE CASCADE,
    phone_number varchar(30) NOT NULL CHECK (phone_number LIKE '+%'),
    source varchar(255),
    reason varchar(255),
    notes text,
    expiry_date timestamptz,
    status varchar(50) NOT NULL DEFAULT 'active',
    added_by uuid,
    date_added timestamptz NOT NULL DEFAULT now(),
    -- The list's version in which the entry last changed, so that followers read only what is new.
    version bigint NOT NULL DEFAULT 0,
    -- A number once for each holder: a shared list may hold entries of one tenant alone (K-30), and they must
    -- not stand in the way of the list's own.
    CONSTRAINT unique_phone_per_list UNIQUE NULLS NOT DISTINCT (list_id, organization_id, phone_number)
);
CREATE INDEX idx_dnc_entries_list ON dnc_entries (list_id, version);
CREATE INDEX idx_dnc_entries_phone ON dnc_entries (phone_number);
CREATE INDEX idx_dnc_entries_status ON dnc_entries (status);

INSERT INTO dnc_lists (name, slug, type, compliance_level, status) VALUES
    ('Federal DNC Registry', 'federal-dnc-registry', 'federal', 'required', 'active'),
    ('California State DNC', 'california-state-dnc', 'state', 'required', 'active');

-- Jobs --------------------------------------------------------------------------------------------------------

CREATE TABLE import_jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    created_by uuid NOT NULL REFERENCES users (id),
    target_list_id uuid,
    -- Which door took it in, and what it holds.
    door varchar(20) NOT NULL DEFAULT 'v1',
    source varchar(20) NOT NULL DEFAULT 'csv' CHECK (source IN (
        'csv', 'excel', 'json', 'txt', 'vcard', 'api', 'google', 'microsoft', 'icloud',
        'salesforce', 'hubspot', 'pipedrive', 'zoho')),
    import_type varchar(50) NOT NULL DEFAULT 'csv' CHECK (import_type IN ('csv', 'excel', 'api')),
    filename varchar(500),
    file_size bigint,
    file_sha256 text,
    options jsonb NOT NULL DEFAULT '{}',
    state varchar(20) NOT NULL DEFAULT 'pending' CHECK (state IN (
        'pending', 'authenticating', 'uploading', 'analyzing', 'awaiting_mapping', 'fetching', 'processing',
        'paused', 'completed', 'failed', 'cancelled', 'undoing', 'undone')),
    reason text,
    -- A caller asked to cancel; the reader sends the last batch that makes it so.
    cancel_requested_at timestamptz,
    run integer NOT NULL DEFAULT 1,

    -- The reader's lease (D13).
    lease_owner text,
    lease_epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,

    -- Where the sink is: the last applied batch and the position behind it.
    applied_batch bigint NOT NULL DEFAULT 0,
    position_part integer NOT NULL DEFAULT 1,
    position_byte bigint NOT NULL DEFAULT 0,
    position_line bigint NOT NULL DEFAULT 0,
    position_row bigint NOT NULL DEFAULT 1,

    -- Rows read and what became of them (D3). Staged rows have been read and not judged yet.
    rows_read bigint NOT NULL DEFAULT 0,
    rows_staged bigint NOT NULL DEFAULT 0,
    created bigint NOT NULL DEFAULT 0,
    updated bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    merged bigint NOT NULL DEFAULT 0,
    duplicate_in_file bigint NOT NULL DEFAULT 0,
    duplicate_existing bigint NOT NULL DEFAULT 0,
    excluded bigint NOT NULL DEFAULT 0,
    no_identity bigint NOT NULL DEFAULT 0,
    suppressed_dnc bigint NOT NULL DEFAULT 0,
    invalid bigint NOT NULL DEFAULT 0,
    conflict bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,

    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT unique_job_in_org UNIQUE (organization_id, id),
    FOREIGN KEY (organization_id, target_list_id) REFERENCES contact_lists (organization_id, id)
        ON DELETE SET NULL (target_list_id),
    CONSTRAINT every_row_has_one_outcome CHECK (
        rows_read = rows_staged + created + updated + unchanged + merged + duplicate_in_file
            + duplicate_existing + excluded + no_identity + suppressed_dnc + invalid + conflict + failed
            + cancelled),
    CONSTRAINT nothing_staged_when_completed CHECK (state <> 'completed' OR rows_staged = 0)
);
CREATE INDEX idx_import_jobs_org ON import_jobs (organization_id, id DESC);
CREATE INDEX idx_import_jobs_user ON import_jobs (created_by);
CREATE INDEX idx_import_jobs_status ON import_jobs (state);
CREATE INDEX idx_import_jobs_created ON import_jobs (created_at DESC);
CREATE INDEX idx_import_jobs_unleased ON import_jobs (lease_until NULLS FIRST)
    WHERE state IN ('pending', 'processing');

-- The transition table of sluice.job, once more: no program error may move a job where it cannot go.
CREATE FUNCTION refuse_job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT (OLD.state || '>' || NEW.state) = ANY (ARRAY[
        'pending>authenticating', 'pending>uploading', 'pending>fetching', 'pending>processing',
        'pending>failed', 'pending>cancelled',
        'authenticating>fetching', 'authenticating>failed', 'authenticating>cancelled',
        'uploading>analyzing', 'uploading>pending', 'uploading>failed', 'uploading>cancelled',
        'analyzing>awaiting_mapping', 'analyzing>failed', 'analyzing>cancelled',
        'awaiting_mapping>analyzing', 'awaiting_mapping>pending', 'awaiting_mapping>processing',
        'awaiting_mapping>failed', 'awaiting_mapping>cancelled',
        'fetching>processing', 'fetching>completed', 'fetching>failed', 'fetching>cancelled',
        'processing>paused', 'processing>completed', 'processing>failed', 'processing>cancelled',
        'paused>processing', 'paused>failed', 'paused>cancelled',
        'completed>processing', 'completed>undoing',
        'failed>processing', 'failed>undoing',
        'cancelled>undoing',
        'undoing>undone', 'undoing>failed'
    ]) THEN
        RAISE EXCEPTION 'a job that is % cannot become %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'job_transition';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER job_transition BEFORE UPDATE OF state ON import_jobs
    FOR EACH ROW EXECUTE FUNCTION refuse_job_transition();

-- What a job reads, in order. An upload is one part.
CREATE TABLE import_parts (
    organization_id uuid NOT NULL,
    job_id uuid NOT NULL,
    part_no integer NOT NULL CHECK (part_no >= 1),
    object_key text NOT NULL,
    -- The pinned version (D9).
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    -- csv: {columns, encoding, delimiter, first{byte_offset, line}}, as the door found them.
    format jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, part_no),
    FOREIGN KEY (organization_id, job_id) REFERENCES import_jobs (organization_id, id) ON DELETE CASCADE
);
-- The sweeper asks which stored objects a job reads.
CREATE INDEX idx_import_parts_object ON import_parts (object_key);

-- One row per applied batch: every row's outcome, compactly, and what publication needs to be rebuilt.
CREATE TABLE import_batches (
    organization_id uuid NOT NULL,
    job_id uuid NOT NULL,
    batch_no bigint NOT NULL,
    run integer NOT NULL,
    lease_epoch bigint NOT NULL,
    first_row_no bigint NOT NULL,
    row_count integer NOT NULL,
    -- One letter a row (sluice.outcome.LETTERS); empty while the batch is only staged.
    outcomes text NOT NULL,
    -- 16 bytes a row: the contact that it ended at, zeros for none.
    contact_ids bytea NOT NULL DEFAULT '',
    -- Faults of the refused rows: {"index": [{field, code, message, value}]}.
    faults jsonb NOT NULL DEFAULT '{}',
    -- MessagePack: what the events of this batch need beyond its message (versions, images after updates).
    images bytea NOT NULL DEFAULT '',
    staged boolean NOT NULL DEFAULT false,
    -- The stored message of a staged batch; empty for others, which are found at their offset.
    message bytea NOT NULL DEFAULT '',
    is_last boolean NOT NULL DEFAULT false,
    -- The job after this batch, for BatchApplied: {outcome: n}, its state and why.
    counts jsonb NOT NULL,
    state varchar(20) NOT NULL,
    reason text,
    start_part integer NOT NULL,
    start_byte bigint NOT NULL,
    start_line bigint NOT NULL,
    end_part integer NOT NULL,
    end_byte bigint NOT NULL,
    end_line bigint NOT NULL,
    end_row bigint NOT NULL,
    -- The message in imports.rows-resolved.v1 that was applied.
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL,
    applied_at timestamptz NOT NULL,
    published boolean NOT NULL DEFAULT false,
    PRIMARY KEY (job_id, batch_no),
    FOREIGN KEY (organization_id, job_id) REFERENCES import_jobs (organization_id, id) ON DELETE CASCADE,
    CONSTRAINT one_letter_a_row CHECK (staged OR length(outcomes) = row_count)
);
CREATE INDEX idx_import_batches_rows ON import_batches (job_id, first_row_no);
CREATE INDEX idx_import_batches_in_doubt ON import_batches (topic_partition, topic_offset) WHERE NOT published;

-- What a contact was before a job first touched it, for undo.
CREATE TABLE contact_before_images (
    organization_id uuid NOT NULL,
    job_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    -- The whole contacts row.
    image jsonb NOT NULL,
    -- The version that the job left; a later one was edited since.
    left_version bigint NOT NULL,
    batch_no bigint NOT NULL,
    PRIMARY KEY (job_id, contact_id),
    FOREIGN KEY (organization_id, job_id) REFERENCES import_jobs (organization_id, id) ON DELETE CASCADE
);

-- Who may write a partition of imports.rows-resolved.v1: raised on assignment, held FOR SHARE by writers (D6).
CREATE TABLE sink_partitions (
    topic_partition integer PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    raised_at timestamptz NOT NULL DEFAULT now()
);

-- How often a batch arrived that nobody could decode; the third time its rows are answered as failed (D7).
CREATE TABLE sink_undecodable (
    job_id uuid NOT NULL REFERENCES import_jobs (id) ON DELETE CASCADE,
    batch_no bigint NOT NULL,
    seen integer NOT NULL,
    -- The newest arrival: one that is read again after a crash is not counted again.
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL,
    PRIMARY KEY (job_id, batch_no)
);

-- Records that belong to a transaction of the database and are relayed to Kafka afterwards, in order of id.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid,
    -- The relay's topics (sluice.topics): a record for another would wait for ever.
    topic text NOT NULL
        CHECK (topic IN ('contacts.changed.v1', 'identities.changed.v1', 'dnc.changed.v1')),
    key text NOT NULL,
    -- The event as JSON; the relay encodes it (bytes as base64).
    event jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Every attempt to authenticate, and every act worth answering for (S0-008, S4-090).
CREATE TABLE audit_log (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid,
    user_id uuid,
    action varchar(100) NOT NULL,
    resource varchar(100),
    resource_id text,
    details jsonb NOT NULL DEFAULT '{}',
    ip_address inet,
    user_agent text,
    request_id text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_audit_log_org ON audit_log (organization_id, created_at DESC);

-- Other names for the same facts (K-23) ------------------------------------------------------------------------

CREATE VIEW contact_import_jobs WITH (security_invoker = true) AS
SELECT id,
       created_by AS user_id,
       CASE WHEN source IN ('google', 'microsoft', 'icloud') THEN source ELSE 'csv' END AS provider,
       CASE state WHEN 'uploading' THEN 'pending' WHEN 'analyzing' THEN 'pending'
                  WHEN 'awaiting_mapping' THEN 'pending' WHEN 'paused' THEN 'fetching'
                  WHEN 'undoing' THEN 'processing' WHEN 'undone' THEN 'completed' ELSE state END AS status,
       (rows_read - cancelled)::integer AS total_contacts,
       (rows_read - rows_staged - cancelled)::integer AS processed_contacts,
       (created + updated + merged)::integer AS imported_contacts,
       (unchanged + duplicate_in_file + duplicate_existing + suppressed_dnc + excluded
           + no_identity)::integer AS skipped_contacts,
       (conflict + invalid + failed)::integer AS failed_contacts,
       reason AS error_message,
       created_at, started_at, completed_at, updated_at
FROM import_jobs;

CREATE VIEW imported_contacts WITH (security_invoker = true) AS
SELECT b.job_id AS import_job_id,
       b.first_row_no + i - 1 AS row_no,
       CASE WHEN substr(b.contact_ids, 16 * i - 15, 16) NOT IN ('', decode(repeat('00', 16), 'hex'))
            THEN encode(substr(b.contact_ids, 16 * i - 15, 16), 'hex')::uuid END AS contact_id,
       CASE substr(b.outcomes, i, 1)
            WHEN 'c' THEN 'created' WHEN 'u' THEN 'updated' WHEN 'm' THEN 'updated'
            WHEN '!' THEN 'failed' WHEN 'i' THEN 'failed' WHEN 'k' THEN 'failed' ELSE 'skipped' END AS action,
       substr(b.outcomes, i, 1) AS outcome_letter,
       b.faults -> (i - 1)::text AS faults,
       b.applied_at AS created_at
FROM import_batches b, generate_series(1, b.row_count) AS i
WHERE NOT b.staged;

-- Row-level security --------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA public TO sluice_api, sluice_sink;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO sluice_sink;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    organizations, users, memberships, contact_lists, contacts, contact_list_memberships, dnc_lists,
    dnc_entries, import_jobs, import_parts, import_batches, contact_before_images TO sluice_api;
GRANT SELECT ON contact_import_jobs, imported_contacts TO sluice_api;
GRANT INSERT ON outbox, audit_log TO sluice_api;
GRANT SELECT ON audit_log TO sluice_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO sluice_api, sluice_sink;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'contact_lists', 'contacts', 'contact_list_memberships', 'import_jobs', 'import_parts',
        'import_batches', 'contact_before_images'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY own_organization ON %I USING (organization_id = (SELECT current_organization()))
             WITH CHECK (organization_id = (SELECT current_organization()))', tenant_table);
    END LOOP;
END
$$;

-- A membership names a contact by its id alone: a composite key would be one more index on the hottest table.
-- The API's role must see the contact; the sink takes contacts from its own organization's predicate.
CREATE POLICY own_contact ON contact_list_memberships AS RESTRICTIVE
    USING (true) WITH CHECK (EXISTS (SELECT FROM contacts WHERE id = contact_id));

-- The API reads its tenant and its colleagues. What it may make is the personal organization of the caller, and
-- the caller's place in it; every other organization, user and membership is the operators' to make.
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON organizations FOR SELECT
    USING (id = (SELECT current_organization()) OR personal_of = (SELECT current_user_id()));
CREATE POLICY personal ON organizations FOR INSERT WITH CHECK (personal_of = (SELECT current_user_id()));
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY self_and_colleagues ON users FOR SELECT USING (
    id = (SELECT current_user_id())
    OR id IN (SELECT user_id FROM memberships WHERE organization_id = (SELECT current_organization())));
CREATE POLICY self ON users FOR INSERT WITH CHECK (id = (SELECT current_user_id()));
ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON memberships FOR SELECT
    USING (user_id = (SELECT current_user_id()) OR organization_id = (SELECT current_organization()));
CREATE POLICY personal ON memberships FOR INSERT WITH CHECK (
    user_id = (SELECT current_user_id())
    AND organization_id IN (SELECT id FROM organizations WHERE personal_of = (SELECT current_user_id())));

ALTER TABLE dnc_lists ENABLE ROW LEVEL SECURITY;
CREATE POLICY readable ON dnc_lists FOR SELECT
    USING (organization_id IS NULL OR organization_id = (SELECT current_organization()));
CREATE POLICY own_organization ON dnc_lists
    USING (organization_id = (SELECT current_organization()))
    WITH CHECK (organization_id = (SELECT current_organization()));
ALTER TABLE dnc_entries ENABLE ROW LEVEL SECURITY;
CREATE POLICY readable ON dnc_entries FOR SELECT
    USING (organization_id IS NULL OR organization_id = (SELECT current_organization()));
-- Into a list of its own, or a shared one (K-30): those are the lists that it can read.
CREATE POLICY own_organization ON dnc_entries
    USING (organization_id = (SELECT current_organization()))
    WITH CHECK (
        organization_id = (SELECT current_organization()) AND list_id IN (SELECT id FROM dnc_lists));

ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON outbox FOR INSERT
    WITH CHECK (organization_id = (SELECT current_organization()));
-- Who acts for a tenant writes that tenant's entries alone; attempts are written down by who acts for nobody.
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_organization_or_nobody ON audit_log FOR INSERT WITH CHECK (
    (SELECT current_organization()) IS NULL OR organization_id = (SELECT current_organization()));
CREATE POLICY own_organization ON audit_log FOR SELECT USING (organization_id = (SELECT current_organization()));
