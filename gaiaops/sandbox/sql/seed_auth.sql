-- The ordinary users of the shared Supabase Auth project. Needs auth.sql and seed_people.sql.
-- Setting gaia_seed.people: how many. Everything derives from the row number; the instant all ages are
-- measured from is 2026-11-01 00:00 UTC.

INSERT INTO auth.users (
    instance_id, id, aud, role, email, encrypted_password,
    email_confirmed_at, confirmation_token, confirmation_sent_at, recovery_token,
    email_change_token_new, email_change, last_sign_in_at,
    raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
SELECT '00000000-0000-0000-0000-000000000000', p.id, 'authenticated', 'authenticated', p.address,
       -- looks like bcrypt; nobody knows a password for it
       '$2a$10$' || replace(p.id::text, '-', '') || substr(md5('password:' || p.n), 1, 21),
       CASE WHEN confirmed THEN p.created_at + (60 + mod(p.n, 3000)) * interval '1 second' END,
       '', p.created_at, '', '', '',
       CASE WHEN confirmed THEN p.created_at + (timestamptz '2026-11-01 00:00:00+00' - p.created_at) * (mod(p.n * 31, 97) / 97.0) END,
       '{"provider": "email", "providers": ["email"]}',
       jsonb_build_object('name', p.name, 'email', p.address, 'sub', p.id),
       p.created_at,
       p.created_at + (timestamptz '2026-11-01 00:00:00+00' - p.created_at) * (mod(p.n * 17, 89) / 89.0)
  FROM pg_temp.seed_people(current_setting('gaia_seed.people')::bigint) AS p,
       -- half of those who never came to any environment never confirmed their address either
       LATERAL (SELECT p.home IS NOT NULL OR mod(p.n, 2) = 0) AS c (confirmed);

-- Identities, sessions and refresh tokens: enough for a look at a person, not for everyone.
INSERT INTO auth.identities (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at, id)
SELECT u.id::text, u.id,
       jsonb_build_object('sub', u.id, 'email', u.email, 'email_verified', u.email_confirmed_at IS NOT NULL),
       'email', u.last_sign_in_at, u.created_at, u.created_at, pg_temp.seed_uuid('identity:' || u.id)
  FROM pg_temp.seed_people(least(current_setting('gaia_seed.people')::bigint, 2000)) AS p
  JOIN auth.users AS u ON u.id = p.id
 ORDER BY p.n;

INSERT INTO auth.sessions (id, user_id, created_at, updated_at, aal, user_agent, ip)
SELECT pg_temp.seed_uuid('session:' || u.id), u.id, u.last_sign_in_at, u.last_sign_in_at, 'aal1',
       (ARRAY['Mozilla/5.0 (X11; Linux x86_64) Firefox/143.0', 'Mozilla/5.0 (iPhone; CPU iPhone OS 19_0)',
              'gaia-cli/2.4', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0'])[1 + mod(p.n, 4)],
       '198.51.100.0'::inet + mod(p.n, 256)                -- a network reserved for documentation
  FROM pg_temp.seed_people(least(current_setting('gaia_seed.people')::bigint, 2000)) AS p
  JOIN auth.users AS u ON u.id = p.id
 WHERE mod(p.n, 3) = 0 AND u.last_sign_in_at IS NOT NULL
 ORDER BY p.n;

INSERT INTO auth.refresh_tokens (instance_id, token, user_id, revoked, created_at, updated_at, session_id)
SELECT '00000000-0000-0000-0000-000000000000', substr(md5('refresh:' || s.id), 1, 22), s.user_id::text, false,
       s.created_at, s.created_at, s.id
  FROM auth.sessions AS s
 ORDER BY s.created_at, s.id;
