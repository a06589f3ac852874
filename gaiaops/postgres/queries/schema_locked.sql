-- The relations of this database that somebody has, or waits for, an ACCESS EXCLUSIVE lock on: a definition that names
-- one cannot be written out now (the server's own functions open it).
SELECT DISTINCT relation::bigint
FROM pg_locks
WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
