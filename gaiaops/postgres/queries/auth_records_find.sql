-- Auth users of these ids, and ordinary ones of exactly these addresses (users_email_partial_key serves that).
SELECT id::text, email, flags FROM ({records} WHERE id IN (SELECT unnest(%(ids)s::uuid[]))) AS by_id
UNION
SELECT id::text, email, flags
FROM ({records} WHERE NOT is_sso_user AND email IN (SELECT unnest(%(addresses)s::text[]))) AS by_address
