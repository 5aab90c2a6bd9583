-- set_state --
-- The newest value wins, and with it its own time to live.
INSERT INTO temporary_state (organization_id, key, value, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (organization_id, key) DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at

-- get_state --
-- What has expired is gone, whether it was swept yet or not.
SELECT value FROM temporary_state WHERE organization_id = $1 AND key = $2 AND expires_at > $3

-- state_exists --
-- Without its value, which may have megabytes.
SELECT EXISTS (SELECT FROM temporary_state WHERE organization_id = $1 AND key = $2 AND expires_at > $3)

-- delete_state --
-- Deleting what is not there is no error.
DELETE FROM temporary_state WHERE organization_id = $1 AND key = $2
