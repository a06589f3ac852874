-- Profiles that may have one of these addresses after case folding: at least all that do.
-- lowered  the addresses, and their folded forms, with ASCII letters in lower case. An address beyond ASCII may fold
--          to any of them, so all of those are given (they are few).
SELECT t.id::text AS id, t.email::text AS address
FROM {users} AS t
WHERE lower(t.email::text COLLATE "C") = ANY (%(lowered)s::text[])
    OR octet_length(t.email::text) <> char_length(t.email::text)
