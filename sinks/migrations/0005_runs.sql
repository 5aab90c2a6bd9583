-- Further runs of a job: healing refused rows, and committing a dry run (docs/decisions/0014 and 0015).

ALTER TABLE import_jobs
    -- What the newest run does.
    ADD COLUMN run_kind varchar(10) NOT NULL DEFAULT 'import' CHECK (run_kind IN ('import', 'heal', 'commit')),
    ADD COLUMN run_requested_at timestamptz,
    -- The bytes that a further run reads; null in the first one, which reads the file.
    ADD COLUMN run_bytes bigint,
    -- How the import itself ended: a further run ends in the same state, unless it could not be read.
    ADD COLUMN ended_as varchar(20),
    ADD COLUMN ended_reason text,
    ADD CONSTRAINT further_runs_know_the_first CHECK ((run_kind = 'import') = (ended_as IS NULL));

ALTER TABLE import_batches
    -- Rows of a healing: scattered over the job, where all other batches of a job lie in a row.
    ADD COLUMN heals boolean NOT NULL DEFAULT false,
    -- What a dry run would change: {"index": {field: [before, after]}}, cut short. Null: from before this column.
    ADD COLUMN changes jsonb;
ALTER TABLE import_batches ALTER COLUMN changes SET DEFAULT '{}';
-- A dry run's commit reads the file again: what was kept of earlier ones for it is of no use any more.
UPDATE import_batches SET message = '' WHERE published AND NOT staged AND message <> '';
COMMENT ON COLUMN import_batches.outcomes IS
    'One letter a row (sluice.outcome.LETTERS); ">" for a row whose result is in another batch by now.';
CREATE INDEX idx_import_batches_healed ON import_batches (job_id, first_row_no) WHERE heals;

CREATE OR REPLACE VIEW imported_contacts WITH (security_invoker = true) AS
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
WHERE NOT b.staged AND substr(b.outcomes, i, 1) <> '>';
