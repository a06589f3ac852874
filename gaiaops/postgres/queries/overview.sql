-- One row about a database.
-- version   the server's version as people say it (18.6)
-- standby   whether it is a replica
-- bytes     size of the database on disk
-- tables    names of the tables on the search path
-- has_users whether there is a table `users` with an `email`
SELECT
    split_part(current_setting('server_version'), ' ', 1) AS version,
    pg_is_in_recovery() AS standby,
    pg_database_size(current_database()) AS bytes,
    ARRAY(
        SELECT c.relname::text
        FROM pg_class AS c
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND pg_table_is_visible(c.oid)
            AND c.relnamespace <> 'pg_catalog'::regnamespace
        ORDER BY 1
    ) AS tables,
    EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('users') AND attname = 'email' AND NOT attisdropped
    ) AS has_users
