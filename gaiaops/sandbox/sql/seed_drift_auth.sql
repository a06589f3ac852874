-- The auth records of the known drift and the traps; drift.py is their source.
-- Setting gaia_seed.accounts: a JSON list of accounts, one object a row of auth.users.

INSERT INTO auth.users (
    instance_id, id, aud, role, email, encrypted_password,
    email_confirmed_at, confirmation_token, confirmation_sent_at, recovery_token,
    email_change_token_new, email_change, last_sign_in_at,
    raw_app_meta_data, raw_user_meta_data, created_at, updated_at,
    phone, phone_confirmed_at, banned_until, is_sso_user, deleted_at, is_anonymous)
SELECT '00000000-0000-0000-0000-000000000000', a.id, 'authenticated', 'authenticated', a.email, '',
       CASE WHEN a.confirmed AND a.email IS NOT NULL THEN t.created_at + interval '4 minutes' END,
       '', CASE WHEN a.email IS NOT NULL THEN t.created_at END, '', '', '',
       CASE WHEN a.confirmed THEN t.created_at + interval '2 days' END,
       -- a soft delete empties both
       CASE WHEN a.deleted OR a.anonymous THEN '{}'
            ELSE jsonb_build_object('provider', a.provider, 'providers', jsonb_build_array(a.provider)) END,
       CASE WHEN a.deleted OR a.name IS NULL THEN '{}' ELSE jsonb_build_object('name', a.name) END,
       t.created_at, t.created_at + interval '2 days',
       a.phone, CASE WHEN a.phone IS NOT NULL THEN t.created_at END,
       a.banned_until, a.sso, CASE WHEN a.deleted THEN t.created_at + interval '30 days' END, a.anonymous
  FROM ROWS FROM (jsonb_to_recordset(current_setting('gaia_seed.accounts')::jsonb) AS (
           id uuid, email text, name text, confirmed boolean, banned_until timestamptz, deleted boolean,
           anonymous boolean, sso boolean, phone text, provider text)) WITH ORDINALITY
       AS a (id, email, name, confirmed, banned_until, deleted, anonymous, sso, phone, provider, position),
       -- all of them months old, no two at once
       LATERAL (SELECT timestamptz '2026-09-20 12:00:00+00' - a.position * interval '31 hours') AS t (created_at);

INSERT INTO auth.identities (provider_id, user_id, identity_data, provider, created_at, updated_at, id)
SELECT u.id::text, u.id, jsonb_build_object('sub', u.id, 'email', u.email),
       CASE WHEN u.is_sso_user THEN 'sso:' || pg_temp.seed_uuid('identity provider') ELSE 'email' END,
       u.created_at, u.created_at, pg_temp.seed_uuid('identity:' || u.id)
  FROM jsonb_to_recordset(current_setting('gaia_seed.accounts')::jsonb) AS a (id uuid, provider text)
  JOIN auth.users AS u ON u.id = a.id
 WHERE u.email IS NOT NULL AND u.deleted_at IS NULL
 ORDER BY u.created_at;
