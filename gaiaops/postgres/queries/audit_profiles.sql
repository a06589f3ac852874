-- Profiles as the audit compares them: `k` is the address with ASCII letters in lower case; `flags` has h where the
-- address is not plainly this environment's own ({home} is a cheap test that errs to one side), c where it is not
-- in lower case, y where the row is younger than the grace window.
SELECT
    k,
    id,
    CASE WHEN k = email THEN '' ELSE email END AS stored,
    CASE
        WHEN ({home}) AND k = email AND NOT young THEN ''
        ELSE concat(
            CASE WHEN NOT ({home}) THEN 'h' END, CASE WHEN k <> email THEN 'c' END, CASE WHEN young THEN 'y' END
        )
    END AS flags
FROM (
    SELECT
        lower(coalesce(email, '')::text COLLATE "C") AS k,
        id,
        coalesce(email, '')::text COLLATE "C" AS email,
        {young} AS young
    FROM users
) AS u
ORDER BY k
