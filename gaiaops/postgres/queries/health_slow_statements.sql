-- Statements of 100 ms and more on average in this database, those that took most in all first: mean in ms, calls,
-- text. Maintenance and loading are slow by nature. SCHEMA is where the extension was installed.
SELECT mean_exec_time, calls,
    left(regexp_replace(query, '\s+', ' ', 'g'), 100)
FROM SCHEMA.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mean_exec_time >= 100
    AND query !~* '^\s*(copy|vacuum|analyze|reindex|cluster|create|alter|drop|truncate|refresh|checkpoint)\M'
ORDER BY total_exec_time DESC
