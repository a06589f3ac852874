-- The working API keys of these users: active and not expired (expires_at has no time zone: UTC).
SELECT user_id::text, array_agg(left(key_hash, 8) ORDER BY key_hash)
FROM api_keys
WHERE user_id IN (SELECT unnest(%(ids)s::uuid[]))
    AND is_active AND (expires_at IS NULL OR expires_at > now() AT TIME ZONE 'UTC')
GROUP BY user_id
