-- The API keys of one user: the beginning of the hash, the name, whether it works, and why not (expires_at is UTC).
SELECT
    left(key_hash, 8),
    name,
    CASE
        WHEN is_active IS NOT TRUE THEN 'inactive'
        WHEN expires_at <= now() AT TIME ZONE 'UTC' THEN 'expired'
        ELSE 'active'
    END,
    expires_at::text,
    last_used_at::text,
    key_hash
FROM api_keys
WHERE user_id = %(id)s::uuid
ORDER BY created_at NULLS LAST, key_hash
