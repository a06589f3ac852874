-- How much of the 2^31 transaction ids (or multixact ids) each database has used since it was last frozen, the worst
-- first: database, percent, which.
SELECT datname::text, (100.0 * greatest(age(datfrozenxid), mxid_age(datminmxid)) / 2147483648)::float8,
    CASE WHEN mxid_age(datminmxid) > age(datfrozenxid) THEN 'multixact ids' ELSE 'transaction ids' END
FROM pg_database
WHERE datallowconn OR datname <> 'template0'
ORDER BY 2 DESC
