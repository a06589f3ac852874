-- Soft references and messages of one environment's known drift and traps; drift.py is their source.
-- Runs last: it leans on the assets, personas and documents the ordinary seed made.
-- Settings, JSON lists: gaia_seed.references (table, value) and gaia_seed.messages (id, owner, author, content).

CREATE TEMPORARY TABLE seed_reference ON COMMIT DROP AS
SELECT r."table", r.value, pg_temp.seed_uuid('reference:' || r."table" || ':' || r.value) AS id,
       timestamp '2026-08-15 10:00:00' AS at
  FROM jsonb_to_recordset(current_setting('gaia_seed.references')::jsonb) AS r ("table" text, value text);

INSERT INTO asset_usage (id, asset_id, user_id, usage_type, cost, created_at)
SELECT r.id, pg_temp.seed_uuid(current_setting('gaia_seed.environment') || ':asset:1'), r.value, 'download', 0.0200, r.at
  FROM seed_reference AS r WHERE r."table" = 'asset_usage';

INSERT INTO asset_generations (id, asset_id, user_id, generation_service, prompt, generation_cost, created_at)
SELECT r.id, pg_temp.seed_uuid(current_setting('gaia_seed.environment') || ':asset:2'), r.value,
       'image', 'a lighthouse in the fog', 0.0400, r.at
  FROM seed_reference AS r WHERE r."table" = 'asset_generations';

INSERT INTO user_persona_preferences (user_id, persona_id, updated_at)
SELECT r.value, pg_temp.seed_uuid(current_setting('gaia_seed.environment') || ':persona:Mu'), r.at AT TIME ZONE 'UTC'
  FROM seed_reference AS r WHERE r."table" = 'user_persona_preferences';

INSERT INTO kb_permissions (resource_path, resource_type, principal_id, principal_type, permissions, created_at)
SELECT '/guides/getting-started.md', 'document', r.value, 'user', '{read,comment}', r.at
  FROM seed_reference AS r WHERE r."table" = 'kb_permissions';

INSERT INTO kb_activity_log (action, resource_path, actor_id, actor_type, ip_address, created_at)
SELECT 'document.read', '/guides/getting-started.md', r.value, 'user', '198.51.100.77', r.at
  FROM seed_reference AS r WHERE r."table" = 'kb_activity_log';

INSERT INTO kb_semantic_index_metadata (namespace, relative_path, content_hash, chunk_count, file_mtime, indexed_at)
SELECT r.value, 'notes/ideas.md', md5(r.value), 1, 1786788000, r.at
  FROM seed_reference AS r WHERE r."table" = 'kb_semantic_index_metadata';
INSERT INTO kb_semantic_chunk_ids (namespace, relative_path, chunk_id, chunk_index)
SELECT r.value, 'notes/ideas.md', md5('chunk:' || r.value), 0
  FROM seed_reference AS r WHERE r."table" = 'kb_semantic_index_metadata';

-- One person's message in another person's conversation.
INSERT INTO conversations (id, user_id, title, preview, created_at, updated_at)
SELECT DISTINCT ON (m.conversation) m.conversation, m.owner, 'Reviewing the release notes together', 'Shared with a colleague',
       timestamp '2026-08-20 14:00:00', timestamp '2026-08-20 14:30:00'
  FROM jsonb_to_recordset(current_setting('gaia_seed.messages')::jsonb) AS m (conversation uuid, owner uuid);
INSERT INTO chat_messages (id, user_id, conversation_id, role, content, created_at)
SELECT m.id, m.author, m.conversation, 'user', m.content,
       timestamp '2026-08-20 14:00:00' + m.position * interval '4 minutes'
  FROM ROWS FROM (jsonb_to_recordset(current_setting('gaia_seed.messages')::jsonb) AS (
           id uuid, conversation uuid, author uuid, content text))
       WITH ORDINALITY AS m (id, conversation, author, content, position);
