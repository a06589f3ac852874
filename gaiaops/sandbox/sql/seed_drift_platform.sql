-- The profiles and keys of one environment's known drift and traps; drift.py is their source.
-- Settings: JSON lists of this environment's rows, gaia_seed.profiles and gaia_seed.keys. Runs after
-- seed_platform.sql, whose seed_active it lengthens by the profiles that get ordinary child rows too.

INSERT INTO users (id, email, name, created_at, updated_at)
SELECT p.id, p.email, p.name, t.created_at, t.created_at
  FROM ROWS FROM (jsonb_to_recordset(current_setting('gaia_seed.profiles')::jsonb) AS (
           id uuid, email text, name text)) WITH ORDINALITY AS p (id, email, name, position),
       LATERAL (SELECT timestamp '2026-09-20 12:00:05' - p.position * interval '31 hours') AS t (created_at);

INSERT INTO seed_active (rank, id, address, since)
SELECT (SELECT count(*) FROM seed_active) + row_number() OVER (ORDER BY p.position) - 1, p.id, p.email,
       timestamp '2026-09-20 12:00:05'
  FROM ROWS FROM (jsonb_to_recordset(current_setting('gaia_seed.profiles')::jsonb) AS (
           id uuid, email text, children boolean)) WITH ORDINALITY AS p (id, email, children, position)
 WHERE p.children;

INSERT INTO api_keys (id, user_id, key_hash, name, permissions, is_active, expires_at, last_used_at, created_at, updated_at)
SELECT pg_temp.seed_uuid('key:' || k.key_hash), k.user_id, k.key_hash, k.name, '["chat:read", "chat:write"]',
       k.state <> 'inactive',
       CASE k.state WHEN 'expired' THEN timestamp '2026-10-01' WHEN 'active' THEN timestamp '2099-12-31 23:59:59' END,
       timestamp '2026-09-28 08:15:00', timestamp '2026-06-01 09:00:00', timestamp '2026-09-28 08:15:00'
  FROM jsonb_to_recordset(current_setting('gaia_seed.keys')::jsonb)
       AS k (user_id uuid, key_hash text, name text, state text);
