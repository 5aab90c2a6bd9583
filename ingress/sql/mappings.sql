-- remember_mapping --
-- What was chosen last for these columns, whatever their order, is offered first the next time.
INSERT INTO remembered_mappings (organization_id, header_set, mapping, chosen_by, chosen_at)
VALUES ($1, $2, $3::text::jsonb, $4, $5)
ON CONFLICT (organization_id, header_set) DO UPDATE SET
    mapping = EXCLUDED.mapping, chosen_by = EXCLUDED.chosen_by, chosen_at = EXCLUDED.chosen_at

-- templates --
-- Row security shows the organization's; there are at most a hundred.
SELECT id, name, mapping, created_at, updated_at FROM mapping_templates ORDER BY lower(name), name

-- count_other_templates --
-- Saving one under its own name again makes it no more.
SELECT count(*) FROM mapping_templates WHERE name <> $1

-- save_template --
-- Saved under a name that is there, it takes the other's place. xmax is 0 in a row that is new.
INSERT INTO mapping_templates (organization_id, name, mapping, created_by, created_at, updated_at)
VALUES ($1, $2, $3::text::jsonb, $4, $5, $5)
ON CONFLICT ON CONSTRAINT unique_mapping_template DO UPDATE SET
    mapping = EXCLUDED.mapping, updated_at = EXCLUDED.updated_at
RETURNING id, name, mapping, created_at, updated_at, xmax = 0 AS is_new

-- delete_template --
-- Row security hides those of others.
DELETE FROM mapping_templates WHERE id = $1 RETURNING id
