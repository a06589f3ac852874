-- The 19 deployed tables of the Gaia Platform (database llm_platform), as the platform describes them.
-- Applied once to each environment's empty database, as the superuser. No extension is needed.
--
-- Left without an index on purpose, as real life does (cleanup's preflight looks for them):
--   asset_modifications.modified_asset_id and user_persona_preferences.persona_id.
-- A column whose comment says "soft" names a user without a foreign key.

-- ---------------------------------------------------------------- core

CREATE TABLE users (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email      varchar(255) NOT NULL UNIQUE,               -- unique as bytes: 'A@x' and 'a@x' are two people
    name       varchar(255),
    created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now()
);
CREATE INDEX users_created_at_idx ON users (created_at);

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key_hash     varchar(64) NOT NULL UNIQUE,              -- sha256 in hex; Redis keys hold its first 32 characters
    name         varchar(255),
    permissions  jsonb DEFAULT '{}',
    is_active    boolean DEFAULT true,
    expires_at   timestamp,                                -- NULL: never
    last_used_at timestamp,
    created_at   timestamp DEFAULT now(),
    updated_at   timestamp DEFAULT now()
);
CREATE INDEX api_keys_user_id_idx ON api_keys (user_id);
CREATE INDEX api_keys_active_idx ON api_keys (is_active, expires_at);

CREATE TABLE conversations (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title      varchar(255) NOT NULL,
    preview    text,
    is_active  boolean DEFAULT true,
    created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now()
);
CREATE INDEX conversations_user_id_updated_at_idx ON conversations (user_id, updated_at DESC);

CREATE TABLE chat_messages (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id         uuid NOT NULL REFERENCES users (id),   -- NO ACTION: a user with a message cannot be deleted
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    role            varchar(50) NOT NULL,
    content         text NOT NULL,
    model           varchar(100),
    provider        varchar(50),
    tokens_used     integer,
    created_at      timestamp DEFAULT now()
);
CREATE INDEX chat_messages_user_id_idx ON chat_messages (user_id);
CREATE INDEX chat_messages_conversation_id_created_at_idx ON chat_messages (conversation_id, created_at);

CREATE TABLE personas (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name               varchar(100) NOT NULL UNIQUE,
    description        text NOT NULL,
    system_prompt      text NOT NULL,
    personality_traits jsonb DEFAULT '{}',
    capabilities       jsonb DEFAULT '{}',
    is_active          boolean DEFAULT true,
    created_by         varchar(255),                       -- soft: users.id as text, NULL for built-in personas
    created_at         timestamptz DEFAULT now(),
    updated_at         timestamptz DEFAULT now()
);
CREATE INDEX personas_active_idx ON personas (created_at) WHERE is_active;

CREATE TABLE user_persona_preferences (
    user_id    varchar(255) PRIMARY KEY,                   -- soft: users.id as text
    persona_id uuid NOT NULL REFERENCES personas (id) ON DELETE CASCADE,
    updated_at timestamptz DEFAULT now()
);

-- ---------------------------------------------------------------- assets

CREATE TABLE asset_sources (
    id           serial PRIMARY KEY,
    source_type  varchar(50) NOT NULL,
    source_name  varchar(100) NOT NULL,
    api_endpoint varchar(255),
    is_active    boolean DEFAULT true,
    rate_limits  jsonb,
    created_at   timestamp DEFAULT now()
);

CREATE TABLE assets (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    source_id     integer REFERENCES asset_sources (id),
    category      varchar(50) NOT NULL,
    title         varchar(255) NOT NULL,
    description   text,
    file_url      text NOT NULL,
    storage_type  varchar(20) NOT NULL,
    file_size_mb  numeric(10, 3),
    style_tags    text[],
    metadata      jsonb DEFAULT '{}',
    quality_score double precision,
    created_at    timestamp DEFAULT now(),
    updated_at    timestamp DEFAULT now()
);
CREATE INDEX assets_source_id_idx ON assets (source_id);
CREATE INDEX assets_category_idx ON assets (category);
CREATE INDEX assets_style_tags_idx ON assets USING gin (style_tags);

CREATE TABLE asset_generations (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    asset_id           uuid REFERENCES assets (id) ON DELETE CASCADE,
    user_id            varchar(255),                       -- soft: users.id as text
    generation_service varchar(50) NOT NULL,
    prompt             text,
    generation_cost    numeric(10, 4),
    generation_time_ms integer,
    metadata           jsonb DEFAULT '{}',
    created_at         timestamp DEFAULT now()
);
CREATE INDEX asset_generations_asset_id_idx ON asset_generations (asset_id);
CREATE INDEX asset_generations_user_id_idx ON asset_generations (user_id);

CREATE TABLE asset_modifications (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    original_asset_id uuid REFERENCES assets (id) ON DELETE CASCADE,
    modified_asset_id uuid REFERENCES assets (id) ON DELETE CASCADE,   -- no index, on purpose
    user_id           varchar(255),                        -- soft: users.id as text
    modification_type varchar(50) NOT NULL,
    modification_cost numeric(10, 4),
    metadata          jsonb DEFAULT '{}',
    created_at        timestamp DEFAULT now()
);
CREATE INDEX asset_modifications_original_asset_id_idx ON asset_modifications (original_asset_id);

CREATE TABLE asset_usage (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    asset_id   uuid REFERENCES assets (id) ON DELETE CASCADE,
    user_id    varchar(255),                               -- soft: users.id as text
    usage_type varchar(50) NOT NULL,
    cost       numeric(10, 4),
    metadata   jsonb DEFAULT '{}',
    created_at timestamp DEFAULT now()
);
CREATE INDEX asset_usage_asset_id_idx ON asset_usage (asset_id);
CREATE INDEX asset_usage_user_id_created_at_idx ON asset_usage (user_id, created_at);

-- ---------------------------------------------------------------- knowledge base

CREATE TABLE kb_documents (
    path         text PRIMARY KEY,
    document     jsonb NOT NULL,
    version      integer DEFAULT 1,
    locked_by    text,                                     -- soft: users.id of whoever edits the document
    locked_until timestamp,
    created_at   timestamp DEFAULT now(),
    updated_at   timestamp DEFAULT now()
);
CREATE INDEX kb_documents_document_idx ON kb_documents USING gin (document jsonb_path_ops);

CREATE TABLE kb_search_index (
    path            text REFERENCES kb_documents (path) ON DELETE CASCADE,
    line_number     integer,
    content_excerpt text,
    search_vector   tsvector,
    keywords        text[],
    PRIMARY KEY (path, line_number)
);
CREATE INDEX kb_search_index_search_vector_idx ON kb_search_index USING gin (search_vector);

CREATE TABLE kb_document_history (
    id             serial PRIMARY KEY,
    path           text REFERENCES kb_documents (path) ON DELETE CASCADE,
    version        integer NOT NULL,
    document       jsonb NOT NULL,
    change_type    text NOT NULL,
    changed_by     text,                                   -- soft: users.id, or 'system'
    change_message text,
    created_at     timestamp DEFAULT now()
);
CREATE INDEX kb_document_history_path_version_idx ON kb_document_history (path, version);

CREATE TABLE kb_permissions (
    id             serial PRIMARY KEY,
    resource_path  text NOT NULL,
    resource_type  text NOT NULL,
    principal_id   text NOT NULL,                          -- soft: users.id only where principal_type = 'user'
    principal_type text NOT NULL,                          -- 'user', 'team' or 'public'
    permissions    text[] NOT NULL,
    granted_by     text,                                   -- soft: users.id
    expires_at     timestamp,
    created_at     timestamp DEFAULT now()
);
CREATE INDEX kb_permissions_principal_idx ON kb_permissions (principal_type, principal_id);

CREATE TABLE kb_activity_log (
    id            serial PRIMARY KEY,
    action        text NOT NULL,
    resource_path text,
    actor_id      text,                                    -- soft: users.id only where actor_type = 'user'
    actor_type    text,                                    -- 'user' or 'service'
    details       jsonb DEFAULT '{}',
    ip_address    inet,
    user_agent    text,
    created_at    timestamp DEFAULT now()
);
CREATE INDEX kb_activity_log_actor_idx ON kb_activity_log (actor_type, actor_id);

CREATE TABLE kb_context_cache (
    context_name  text PRIMARY KEY,
    file_paths    text[] NOT NULL,
    context_data  jsonb DEFAULT '{}',
    access_count  integer DEFAULT 0,
    last_accessed timestamp,
    expires_at    timestamp,
    created_at    timestamp DEFAULT now()
);

-- ---------------------------------------------------------------- semantic search

CREATE TABLE kb_semantic_index_metadata (
    namespace     text,                                    -- soft: 'users/<address>' for a person's own documents
    relative_path text,
    content_hash  text,
    chunk_count   integer DEFAULT 0,
    file_mtime    double precision,
    indexed_at    timestamp DEFAULT now(),
    PRIMARY KEY (namespace, relative_path)
);

CREATE TABLE kb_semantic_chunk_ids (
    id            serial PRIMARY KEY,
    namespace     text,
    relative_path text,
    chunk_id      text NOT NULL,
    chunk_index   integer NOT NULL,
    FOREIGN KEY (namespace, relative_path)
        REFERENCES kb_semantic_index_metadata (namespace, relative_path) ON DELETE CASCADE
);
CREATE INDEX kb_semantic_chunk_ids_file_idx ON kb_semantic_chunk_ids (namespace, relative_path, chunk_index);

-- ---------------------------------------------------------------- history of the knowledge base

-- Raises the version and the time of a document whose content changes.
CREATE FUNCTION kb_documents_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.document IS DISTINCT FROM OLD.document THEN
        NEW.version := coalesce(OLD.version, 0) + 1;
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END
$$;

-- Keeps the version that an update replaces. Services name the acting user in the setting gaia.user_id.
CREATE FUNCTION kb_documents_keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO kb_document_history (path, version, document, change_type, changed_by)
    VALUES (OLD.path, coalesce(OLD.version, 1), OLD.document, 'update',
            coalesce(nullif(current_setting('gaia.user_id', true), ''), 'system'));
    RETURN NULL;
END
$$;

CREATE TRIGGER kb_documents_touch BEFORE UPDATE ON kb_documents
    FOR EACH ROW EXECUTE FUNCTION kb_documents_touch();
-- Locking a document is not a change of it: only a new content is history.
CREATE TRIGGER kb_documents_keep_history AFTER UPDATE ON kb_documents
    FOR EACH ROW WHEN (OLD.document IS DISTINCT FROM NEW.document)
    EXECUTE FUNCTION kb_documents_keep_history();
