-- Profiles of these ids, or of these addresses (given with ASCII letters in lower case), for reading.
SELECT id::text, coalesce(email, '')::text, name, created_at::text
FROM users
WHERE id IN (SELECT unnest(%(ids)s::uuid[]))
    OR lower(email::text COLLATE "C") IN (SELECT unnest(%(addresses)s::text[]))
ORDER BY id
