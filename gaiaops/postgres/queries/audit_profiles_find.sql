-- Profiles of these ids, and those of exactly these addresses (both are indexed).
SELECT id::text, coalesce(email, '')::text, {young} FROM users WHERE id IN (SELECT unnest(%(ids)s::uuid[]))
UNION
SELECT id::text, coalesce(email, '')::text, {young} FROM users WHERE email IN (SELECT unnest(%(addresses)s::text[]))
