-- The working API keys of these users, and those with these hashes, whoever has them; as repair_keys.
SELECT t.user_id::text AS owner, t.key_hash::text AS hash
FROM {table} AS t
WHERE (t.user_id = ANY (%(ids)s::{type}[]) OR t.key_hash::text = ANY (%(hashes)s::text[]))
    AND t.is_active AND (t.expires_at IS NULL OR t.expires_at > {now})
