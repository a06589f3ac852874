-- The 16 planned tables: 13 for role-based access, 3 for experiences. Their migrations exist and are not
-- applied in any environment; the sandbox does not apply this file by default either. Needs platform.sql.
--
-- What makes them hard for a clean-up, all on purpose: membership rows CASCADE, attribution columns
-- (created_by, granted_by, assigned_by, invited_by, shared_by, actor_id) are NO ACTION and not always
-- nullable, teams refer to themselves, keys and foreign keys are composite.

-- ---------------------------------------------------------------- role-based access

CREATE TABLE roles (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        varchar(100) NOT NULL UNIQUE,
    description text,
    is_system   boolean NOT NULL DEFAULT false,
    priority    integer NOT NULL DEFAULT 0,
    created_by  uuid REFERENCES users (id),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE permissions (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    resource_type varchar(50) NOT NULL,
    action        varchar(50) NOT NULL,
    description   text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (resource_type, action)
);

CREATE TABLE role_permissions (
    role_id       uuid NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    permission_id uuid NOT NULL REFERENCES permissions (id) ON DELETE CASCADE,
    granted_by    uuid REFERENCES users (id),
    granted_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (role_id, permission_id)
);

CREATE TABLE user_roles (
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role_id      uuid NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    context_type varchar(50) NOT NULL DEFAULT 'global',
    context_id   varchar(255) NOT NULL DEFAULT '',
    assigned_by  uuid NOT NULL REFERENCES users (id),
    assigned_at  timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    PRIMARY KEY (user_id, role_id, context_type, context_id)
);
CREATE INDEX user_roles_role_id_idx ON user_roles (role_id);

CREATE TABLE user_permissions (
    user_id       uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permission_id uuid NOT NULL REFERENCES permissions (id) ON DELETE CASCADE,
    granted_by    uuid REFERENCES users (id),
    granted_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    PRIMARY KEY (user_id, permission_id)
);

CREATE TABLE teams (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name           varchar(100) NOT NULL,
    parent_team_id uuid REFERENCES teams (id) ON DELETE CASCADE,
    created_by     uuid NOT NULL REFERENCES users (id),
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX teams_parent_team_id_idx ON teams (parent_team_id);

CREATE TABLE team_members (
    team_id    uuid NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    team_role  varchar(50) NOT NULL DEFAULT 'member',
    invited_by uuid REFERENCES users (id),
    joined_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX team_members_user_id_idx ON team_members (user_id);

CREATE TABLE workspaces (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       varchar(100) NOT NULL,
    team_id    uuid REFERENCES teams (id) ON DELETE SET NULL,
    created_by uuid NOT NULL REFERENCES users (id),
    settings   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workspace_members (
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    member_role  varchar(50) NOT NULL DEFAULT 'viewer',
    invited_by   uuid REFERENCES users (id),
    joined_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, user_id)
);

CREATE TABLE shared_resources (
    resource_type varchar(50) NOT NULL,
    resource_id   varchar(255) NOT NULL,
    workspace_id  uuid REFERENCES workspaces (id) ON DELETE CASCADE,
    shared_by     uuid NOT NULL REFERENCES users (id),
    shared_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (resource_type, resource_id)
);

CREATE TABLE resource_permissions (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    resource_type  varchar(50) NOT NULL,
    resource_id    varchar(255) NOT NULL,
    principal_type varchar(20) NOT NULL,
    principal_id   varchar(255) NOT NULL,                  -- soft: users.id only where principal_type = 'user'
    permission_id  uuid NOT NULL REFERENCES permissions (id) ON DELETE CASCADE,
    granted_by     uuid REFERENCES users (id),
    expires_at     timestamptz,
    FOREIGN KEY (resource_type, resource_id)
        REFERENCES shared_resources (resource_type, resource_id) ON DELETE CASCADE
);

CREATE TABLE resource_shares (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    resource_type varchar(50) NOT NULL,
    resource_id   varchar(255) NOT NULL,
    shared_with   uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    shared_by     uuid NOT NULL REFERENCES users (id),
    message       text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (resource_type, resource_id)
        REFERENCES shared_resources (resource_type, resource_id) ON DELETE CASCADE
);

CREATE TABLE permission_audit_log (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor_id       uuid REFERENCES users (id),
    target_user_id uuid REFERENCES users (id) ON DELETE SET NULL,
    action         varchar(50) NOT NULL,
    old_value      jsonb,
    new_value      jsonb,
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- ---------------------------------------------------------------- experiences

CREATE TABLE player_profiles (
    user_id         uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    display_name    varchar(100) NOT NULL,
    preferences     jsonb NOT NULL DEFAULT '{}',
    total_play_time interval NOT NULL DEFAULT '0',
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE experience_progress (
    user_id       uuid NOT NULL REFERENCES player_profiles (user_id) ON DELETE CASCADE,
    experience_id varchar(100) NOT NULL,
    state         jsonb NOT NULL DEFAULT '{}',
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    PRIMARY KEY (user_id, experience_id)
);

CREATE TABLE player_progress_events (
    id            bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    user_id       uuid NOT NULL,
    experience_id varchar(100) NOT NULL,
    event_type    varchar(50) NOT NULL,
    payload       jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (user_id, experience_id)
        REFERENCES experience_progress (user_id, experience_id) ON DELETE CASCADE
);
CREATE INDEX player_progress_events_progress_idx ON player_progress_events (user_id, experience_id);
