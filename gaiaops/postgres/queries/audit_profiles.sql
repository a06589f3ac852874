-- Profiles as lines (id, flags, address, with tabs between), in the order of the address with ASCII letters in lower
-- case (`k`). Flags: h where the address is not plainly this environment's own ({home} is a cheap test that errs to
-- one side), c where it is not in lower case, y where the row is younger than the grace window. concat() costs more
-- than ||, so it is for the few that have flags. {also} orders further those with one key.
SELECT
    CASE
        WHEN {home} AND k = email AND NOT young THEN id::text || E'\t\t' || email
        ELSE concat(
            id,
            E'\t',
            CASE WHEN NOT ({home}) THEN 'h' END,
            CASE WHEN k <> email THEN 'c' END,
            CASE WHEN young THEN 'y' END,
            E'\t',
            email
        )
    END
FROM (
    SELECT
        lower(coalesce(email, '')::text COLLATE "C") AS k,
        id,
        coalesce(email, '')::text COLLATE "C" AS email,
        {young} AS young
    FROM users
) AS u
ORDER BY k{also}
