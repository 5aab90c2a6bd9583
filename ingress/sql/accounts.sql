-- organization_tier --
-- Row security shows an organization to those who act for it.
SELECT subscription_tier FROM organizations WHERE id = $1

-- memberships_of --
-- Where a user whose token names no organization belongs; the personal one is among them once it exists.
SELECT m.organization_id, m.role FROM memberships m WHERE m.user_id = $1 ORDER BY m.created_at, m.organization_id

-- make_user --
-- A user whom the token's issuer knows and we do not yet.
INSERT INTO users (id) VALUES ($1) ON CONFLICT DO NOTHING

-- make_personal_organization --
-- Two first calls at once make one: personal_of is unique.
INSERT INTO organizations (name, slug, personal_of) VALUES ('Personal', 'personal-' || $1::uuid::text, $1::uuid)
ON CONFLICT (personal_of) DO NOTHING

-- join_personal_organization --
-- Anyone is admin of the personal organization (K-06).
INSERT INTO memberships (organization_id, user_id, role)
SELECT id, $1, 'admin' FROM organizations WHERE personal_of = $1
ON CONFLICT DO NOTHING

-- organization_named --
-- Names are compared as people write them; the oldest of a name is meant.
SELECT id FROM organizations WHERE lower(name) = lower($1) AND personal_of IS NULL ORDER BY created_at, id LIMIT 1

-- make_organization --
-- The slug has a random end, because names repeat and slugs may not.
INSERT INTO organizations (name, slug, subscription_tier) VALUES ($1, $2, $3) RETURNING id

-- set_tier --
-- Asking for a token of another tier changes the organization's.
UPDATE organizations SET subscription_tier = $2, updated_at = now() WHERE id = $1 AND subscription_tier <> $2

-- user_named --
-- Within an organization: the same name elsewhere is somebody else.
SELECT u.id FROM users u JOIN memberships m ON m.user_id = u.id
WHERE m.organization_id = $1 AND lower(u.name) = lower($2) ORDER BY u.created_at, u.id LIMIT 1

-- make_named_user --
-- Users of other issuers bring their id; these are ours.
INSERT INTO users (id, name) VALUES (gen_random_uuid(), $1) RETURNING id

-- join_organization --
-- A role that changed is written down.
INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $2, $3)
ON CONFLICT (organization_id, user_id) DO UPDATE SET role = EXCLUDED.role

-- one_account_at_a_time --
-- Two commands that make the same organization at once would make it twice.
SELECT pg_advisory_xact_lock(hashtextextended('sluice accounts', 0))
