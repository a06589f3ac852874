-- Profiles of an address in any case: by ASCII letters in lower case, which no locale changes, and by the database's own.
SELECT id::text, coalesce(email, '')::text
FROM users
WHERE lower(email::text COLLATE "C") IN (SELECT unnest(%(addresses)s::text[]))
    OR lower(email::text) = lower(%(address)s::text)
ORDER BY id
