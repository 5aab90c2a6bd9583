-- record --
-- Many entries in one statement: one for each request would be a round trip for each.
INSERT INTO audit_log (
    organization_id, user_id, action, resource, resource_id, details, ip_address, user_agent, request_id, created_at)
SELECT organization_id, user_id, action, resource, resource_id, details::jsonb, address::inet, user_agent,
       request_id, created_at
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::timestamptz[])
    AS entry (organization_id, user_id, action, resource, resource_id, details, address, user_agent, request_id,
              created_at)
