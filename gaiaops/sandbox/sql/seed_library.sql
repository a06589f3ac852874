-- Personas and assets of one environment, with soft references to its active people.
-- Needs seed_platform.sql. Every soft reference made here names a person of this environment (or is not
-- a person by its type column); what dangles is declared in drift.py.

-- ---------------------------------------------------------------- personas

-- Eight built-in personas (created_by NULL) and three that people made.
INSERT INTO personas (id, name, description, system_prompt, personality_traits, capabilities, is_active, created_by, created_at, updated_at)
SELECT pg_temp.seed_uuid(current_setting('gaia_seed.environment') || ':persona:' || p.name), p.name, p.description,
       'You are ' || p.name || '. ' || p.description, jsonb_build_object('tone', p.tone, 'verbosity', mod(p.i, 3)),
       jsonb_build_object('tools', p.tools, 'languages', '["en", "fr", "ja"]'::jsonb), p.i <> 7,
       a.id::text, timestamptz '2025-01-06 09:00:00+00' + p.i * interval '9 days', timestamptz '2026-02-02 09:00:00+00' + p.i * interval '1 day'
  FROM (VALUES (0, 'Mu', 'A cheerful guide who answers in a few warm words.', 'playful', true),
               (1, 'Ada', 'A patient engineer who explains every step.', 'precise', true),
               (2, 'Basho', 'A poet who prefers three lines to thirty.', 'quiet', false),
               (3, 'Chef Ines', 'A cook who thinks in seasons.', 'hearty', false),
               (4, 'Counsel', 'A careful reader of contracts. Never gives legal advice.', 'formal', false),
               (5, 'Atlas', 'A traveller who knows the timetable of every ferry.', 'curious', true),
               (6, 'Élan', 'Une coach qui pose plus de questions qu''elle ne donne de réponses.', 'warm', false),
               (7, 'Retired Bot', 'Switched off in 2025, kept for old conversations.', 'flat', false),
               (8, 'Grumpy Reviewer', 'Finds the bug you hoped nobody would.', 'dry', true),
               (9, 'Story Lamp', 'Tells bedtime stories, one page at a time.', 'soft', false),
               (10, 'Kyoto Tutor', 'やさしい日本語の先生。', 'gentle', false)) AS p (i, name, description, tone, tools)
  LEFT JOIN seed_active AS a ON p.i >= 8 AND a.rank = (p.i - 8) * 2
 ORDER BY p.i;

INSERT INTO user_persona_preferences (user_id, persona_id, updated_at)
SELECT a.id::text, p.id, (a.since AT TIME ZONE 'UTC') + interval '1 day'
  FROM seed_active AS a
  JOIN (SELECT id, row_number() OVER (ORDER BY created_at) - 1 AS i FROM personas WHERE is_active) AS p ON p.i = mod(a.rank, 10)
 WHERE mod(a.rank, 2) = 0
 ORDER BY a.rank;

-- ---------------------------------------------------------------- assets

INSERT INTO asset_sources (source_type, source_name, api_endpoint, is_active, rate_limits, created_at) VALUES
    ('library', 'Poly Garden', 'https://assets.example.org/v1', true, '{"per_minute": 60}', '2025-01-10'),
    ('generator', 'Image Forge', 'https://forge.example.net/api', true, '{"per_minute": 12, "burst": 4}', '2025-02-01'),
    ('upload', 'User uploads', NULL, true, NULL, '2025-02-15'),
    ('library', 'Old Mirror', 'https://mirror.example.com', false, NULL, '2025-03-01');

INSERT INTO assets (id, source_id, category, title, description, file_url, storage_type, file_size_mb, style_tags, metadata, quality_score, created_at, updated_at)
SELECT pg_temp.seed_uuid(e.env || ':asset:' || i), 1 + mod(i, 4),
       (ARRAY['environment', 'character', 'prop', 'texture', 'audio'])[1 + mod(i, 5)],
       (ARRAY['Mossy', 'Brass', 'Paper', 'Frozen', 'Painted', 'Hollow'])[1 + mod(i, 6)] || ' '
           || (ARRAY['lantern', 'gate', 'fox', 'harbour', 'staircase', 'bell', 'orchard'])[1 + mod(i, 7)],
       CASE WHEN mod(i, 4) <> 0 THEN 'Low-poly, two materials, ready for mobile.' END,
       'https://cdn.example.net/' || e.env || '/' || md5('file:' || i) || '.glb',
       (ARRAY['s3', 'gcs', 'local'])[1 + mod(i, 3)], round(0.125 + mod(i * 37, 400) / 16.0, 3),
       CASE WHEN mod(i, 9) <> 0 THEN (ARRAY['stylized', 'night', 'cosy', 'ruin', 'neon'])[1 + mod(i, 3):2 + mod(i, 4)] END,
       jsonb_build_object('polygons', 500 + i * 13, 'licence', 'CC0'), mod(i * 29, 100) / 100.0::double precision,
       timestamp '2025-06-01' + i * interval '31 hours', timestamp '2025-06-02' + i * interval '31 hours'
  FROM generate_series(1, 60) AS s (i), LATERAL (SELECT current_setting('gaia_seed.environment')) AS e (env)
 ORDER BY i;

INSERT INTO asset_generations (id, asset_id, user_id, generation_service, prompt, generation_cost, generation_time_ms, metadata, created_at)
SELECT pg_temp.seed_uuid(e.env || ':generation:' || a.rank), pg_temp.seed_uuid(e.env || ':asset:' || 1 + mod(a.rank, 60)), a.id::text,
       (ARRAY['image', 'mesh', 'audio'])[1 + mod(a.rank, 3)], 'a ' || (ARRAY['quiet harbour', 'paper fox', 'bell tower at dusk'])[1 + mod(a.rank, 3)],
       0.0100 * (1 + mod(a.rank, 20)), 800 + mod(a.rank * 113, 9000), jsonb_build_object('seed', a.rank * 7919),
       a.since + interval '5 hours'
  FROM seed_active AS a, LATERAL (SELECT current_setting('gaia_seed.environment')) AS e (env)
 WHERE mod(a.rank, 4) = 1 ORDER BY a.rank;

INSERT INTO asset_modifications (id, original_asset_id, modified_asset_id, user_id, modification_type, modification_cost, metadata, created_at)
SELECT pg_temp.seed_uuid(e.env || ':modification:' || a.rank), pg_temp.seed_uuid(e.env || ':asset:' || 1 + mod(a.rank, 30)),
       pg_temp.seed_uuid(e.env || ':asset:' || 31 + mod(a.rank, 30)), a.id::text,
       (ARRAY['recolour', 'scale', 'retopology'])[1 + mod(a.rank, 3)], 0.0050, '{"tool": "blender"}', a.since + interval '6 hours'
  FROM seed_active AS a, LATERAL (SELECT current_setting('gaia_seed.environment')) AS e (env)
 WHERE mod(a.rank, 9) = 1 ORDER BY a.rank;

INSERT INTO asset_usage (id, asset_id, user_id, usage_type, cost, metadata, created_at)
SELECT pg_temp.seed_uuid(e.env || ':usage:' || a.rank || ':' || u.u), pg_temp.seed_uuid(e.env || ':asset:' || 1 + mod(a.rank + u.u * 11, 60)),
       a.id::text, (ARRAY['view', 'download', 'place'])[u.u], CASE u.u WHEN 2 THEN 0.0200 END, '{}', a.since + u.u * interval '7 hours'
  FROM seed_active AS a, generate_series(1, 3) AS u (u), LATERAL (SELECT current_setting('gaia_seed.environment')) AS e (env)
 WHERE u.u <= mod(a.rank, 4) ORDER BY a.rank, u.u;
-- An anonymous view: no person is not a missing person.
INSERT INTO asset_usage (id, asset_id, user_id, usage_type, created_at)
SELECT pg_temp.seed_uuid(e.env || ':usage:nobody'), pg_temp.seed_uuid(e.env || ':asset:5'), NULL, 'view', timestamp '2026-05-05 05:05:05'
  FROM (SELECT current_setting('gaia_seed.environment')) AS e (env);
