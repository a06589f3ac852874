-- Auth users as lines (id, flags, address, with tabs between), in the order of `k`. concat() costs more than ||, so
-- it is for the few that have flags.
SELECT CASE WHEN flags = '' THEN id::text || E'\t\t' || email ELSE concat(id, E'\t', flags, E'\t', email) END
FROM ({records}) AS r
ORDER BY k
