-- Values without a working API key, and why: the key is gone, inactive or expired (expires_at is UTC).
SELECT
    wanted.value,
    CASE
        WHEN count(t.id) = 0 THEN 'no such key'
        WHEN bool_or(t.is_active) THEN 'the key expired at ' || max(t.expires_at)::text
        ELSE 'the key is inactive'
    END AS reason
FROM unnest(%(values)s::text[]) AS wanted (value)
LEFT JOIN {table} AS t ON {column} = wanted.value
GROUP BY wanted.value
HAVING NOT coalesce(bool_or(t.is_active AND (t.expires_at IS NULL OR t.expires_at > now() AT TIME ZONE 'UTC')), false)
