-- The working API keys of these users: active and not expired (without a time zone, expires_at is UTC).
-- owner   the user's id
-- {row}   every column that can be written, as text, by its name (json)
SELECT t.user_id::text AS owner, t.id::text AS id, {row} AS columns
FROM {table} AS t
WHERE t.user_id = ANY (%(ids)s::{type}[]) AND t.is_active AND (t.expires_at IS NULL OR t.expires_at > {now})
ORDER BY t.id
{lock}
