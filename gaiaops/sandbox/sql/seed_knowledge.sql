-- The knowledge base and the semantic index of one environment. Needs seed_platform.sql.

CREATE TEMPORARY TABLE seed_document ON COMMIT DROP AS
SELECT row_number() OVER () - 1 AS i, d.path, d.title, d.body FROM (VALUES
    ('/guides/getting-started.md', 'Getting started', 'Create a key, open a conversation, choose a persona.'),
    ('/guides/personas.md', 'Personas', 'A persona is a prompt with manners. Keep it short.'),
    ('/guides/api-keys.md', 'API keys', 'Keys are shown once. Rotate them every ninety days.'),
    ('/guides/assets.md', 'Assets', 'Upload meshes under fifty megabytes; tag them by style.'),
    ('/runbooks/restart-auth.md', 'Restart the auth service', 'Drain, restart, watch the health key in Redis.'),
    ('/runbooks/restore-backup.md', 'Restore a backup', 'Restore into a new database first. Never over a live one.'),
    ('/runbooks/rotate-secrets.md', 'Rotate secrets', 'Two secrets are valid during a rotation. Remove the old one.'),
    ('/design/naming.md', 'Naming', 'Names are for readers. Abbreviations are for writers.'),
    ('/design/colour.md', 'Colour', 'Five colours, one accent, enough contrast.'),
    ('/design/tone.md', 'Tone of voice', 'Say what happened, why, and what to do next.'),
    ('/team/onboarding.md', 'Onboarding', 'First day: a laptop, a lunch and a small merged change.'),
    ('/team/手順書.md', '手順書', '朝会は九時半から。'),
    ('/team/réunions.md', 'Réunions', 'Un ordre du jour, ou pas de réunion.'),
    ('/archive/2024/launch.md', 'Launch 2024', 'What we learned: test the restore, not the backup.')
) AS d (path, title, body);

-- Every third document has been changed twice, every seventh is being edited right now.
INSERT INTO kb_documents (path, document, version, locked_by, locked_until, created_at, updated_at)
SELECT d.path, jsonb_build_object('title', d.title, 'content', d.body, 'tags', jsonb_build_array(split_part(d.path, '/', 2))),
       CASE WHEN mod(d.i, 3) = 0 THEN 3 ELSE 1 END, a.id::text, CASE WHEN a.id IS NOT NULL THEN timestamp '2026-11-01 00:30:00' END,
       timestamp '2025-03-01' + d.i * interval '5 days', timestamp '2026-03-01' + d.i * interval '1 day'
  FROM seed_document AS d
  LEFT JOIN seed_active AS a ON mod(d.i, 7) = 0 AND a.rank = d.i
 ORDER BY d.i;

-- What the update trigger would have written: it reads the clock, so the seed does not update.
INSERT INTO kb_document_history (path, version, document, change_type, changed_by, change_message, created_at)
SELECT d.path, v.v, jsonb_build_object('title', d.title, 'content', left(d.body, 12 * v.v::integer)), 'update',
       CASE WHEN v.v = 1 THEN 'system' ELSE a.id::text END, CASE WHEN v.v = 2 THEN 'clearer' END,
       timestamp '2025-09-01' + d.i * interval '1 day' + v.v * interval '30 days'
  FROM seed_document AS d
 CROSS JOIN generate_series(1, 2) AS v (v)
  LEFT JOIN seed_active AS a ON a.rank = d.i
 WHERE mod(d.i, 3) = 0
 ORDER BY d.i, v.v;

INSERT INTO kb_search_index (path, line_number, content_excerpt, search_vector, keywords)
SELECT d.path, l.n, l.line, to_tsvector('pg_catalog.simple', l.line), string_to_array(lower(rtrim(d.title)), ' ')
  FROM seed_document AS d, unnest(string_to_array(d.body, '. ')) WITH ORDINALITY AS l (line, n)
 ORDER BY d.i, l.n;

-- Principals of all three types; only 'user' names a person. A team's id is a UUID and names nobody.
INSERT INTO kb_permissions (resource_path, resource_type, principal_id, principal_type, permissions, granted_by, expires_at, created_at)
SELECT d.path, 'document', p.principal_id, p.principal_type, p.permissions, g.id::text,
       CASE WHEN p.principal_type = 'team' THEN timestamp '2030-01-01' END, timestamp '2025-10-01' + d.i * interval '1 day'
  FROM seed_document AS d
  LEFT JOIN seed_active AS g ON g.rank = 0
 CROSS JOIN LATERAL (
       SELECT 'public', 'public', '{read}'::text[] WHERE d.path LIKE '/guides/%'
        UNION ALL
       SELECT pg_temp.seed_uuid('team:design')::text, 'team', '{read,write}' WHERE d.path LIKE '/design/%'
        UNION ALL
       (SELECT a.id::text, 'user', '{read,write,share}' FROM seed_active AS a
         WHERE mod(a.rank, 14) = d.i AND a.rank < 140 ORDER BY a.rank)
       ) AS p (principal_id, principal_type, permissions)
 ORDER BY d.i, p.principal_type, p.principal_id COLLATE "C";

INSERT INTO kb_activity_log (action, resource_path, actor_id, actor_type, details, ip_address, user_agent, created_at)
SELECT (ARRAY['document.read', 'document.edit', 'search'])[1 + mod(a.rank, 3)], d.path, a.id::text, 'user',
       jsonb_build_object('took_ms', mod(a.rank * 7, 90)), '203.0.113.0'::inet + mod(a.rank, 256), 'gaia-web/5.1',
       a.since + interval '8 hours'
  FROM seed_active AS a
  JOIN seed_document AS d ON d.i = mod(a.rank, 14)
 WHERE mod(a.rank, 3) = 0
 ORDER BY a.rank;
INSERT INTO kb_activity_log (action, resource_path, actor_id, actor_type, created_at)
SELECT 'index.rebuild', NULL, 'kb-indexer', 'service', timestamp '2026-10-01' + i * interval '1 day'
  FROM generate_series(1, 20) AS s (i) ORDER BY i;

INSERT INTO kb_context_cache (context_name, file_paths, context_data, access_count, last_accessed, expires_at, created_at)
SELECT c.name, (SELECT array_agg(d.path ORDER BY d.i) FROM seed_document AS d WHERE d.path LIKE '/' || c.name || '/%'),
       jsonb_build_object('summary', 'All of /' || c.name), c.uses, timestamp '2026-10-30', timestamp '2026-12-01', timestamp '2026-01-15'
  FROM (VALUES ('guides', 812), ('runbooks', 40), ('design', 77), ('team', 9)) AS c (name, uses);

-- The shared documents, then the own ones of the first forty people, under their address.
INSERT INTO kb_semantic_index_metadata (namespace, relative_path, content_hash, chunk_count, file_mtime, indexed_at)
SELECT 'shared', ltrim(d.path, '/'), md5(d.body), 2, 1767225600.5 + d.i, timestamp '2026-01-02' + d.i * interval '1 minute'
  FROM seed_document AS d ORDER BY d.i;
INSERT INTO kb_semantic_index_metadata (namespace, relative_path, content_hash, chunk_count, file_mtime, indexed_at)
SELECT 'users/' || a.address, f.path, md5(a.address || f.path), 2, 1775000000 + a.rank, a.since + interval '9 hours'
  FROM seed_active AS a, (VALUES ('journal.md'), ('notes/todo.md')) AS f (path)
 WHERE mod(a.rank, 8) = 0 AND a.rank < 320
 ORDER BY a.rank, f.path;
INSERT INTO kb_semantic_chunk_ids (namespace, relative_path, chunk_id, chunk_index)
SELECT m.namespace, m.relative_path, md5(m.namespace || m.relative_path || c.c), c.c
  FROM kb_semantic_index_metadata AS m, generate_series(0, 1) AS c (c)
 ORDER BY m.namespace COLLATE "C", m.relative_path COLLATE "C", c.c;
