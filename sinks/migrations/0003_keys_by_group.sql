-- The workers may hold a group's organization once instead of having the foreign key look it up for every row of
-- a COPY (docs/decisions/0013). Only a superuser can grant this; where the migrations run as somebody else, the
-- key goes on being checked row by row, which is slower and no less right.
DO $$
BEGIN
    GRANT SET ON PARAMETER session_replication_role TO sluice_sink;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'session_replication_role cannot be granted: foreign keys are checked row by row';
END
$$;
