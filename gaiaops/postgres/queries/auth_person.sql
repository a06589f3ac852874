-- Auth users of these ids, or of these addresses (given with ASCII letters in lower case), for reading.
SELECT
    id::text,
    coalesce(email, ''),
    raw_app_meta_data ->> 'provider',
    created_at::text,
    email_confirmed_at::text,
    last_sign_in_at::text,
    banned_until::text,
    deleted_at::text,
    is_anonymous,
    is_sso_user
FROM auth.users
WHERE id IN (SELECT unnest(%(ids)s::uuid[]))
    OR lower(email::text COLLATE "C") IN (SELECT unnest(%(addresses)s::text[]))
ORDER BY created_at, id
