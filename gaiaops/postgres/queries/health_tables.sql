-- Tables with more dead rows than autovacuum lets be (manual 24.1.6: threshold + scale factor * rows, with the table's
-- own settings), the worst first. name: qualified and quoted; live, dead: rows; allowed: that many dead ones;
-- idle: seconds since the last vacuum, or since counting began; ever: whether there was one; off: autovacuum is off.
WITH clock AS (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now),
tables AS (
    SELECT s.relid, s.n_live_tup, s.n_dead_tup, greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed,
        coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_threshold'),
            current_setting('autovacuum_vacuum_threshold'))::float8
        + coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_scale_factor'),
            current_setting('autovacuum_vacuum_scale_factor'))::float8 * greatest(c.reltuples, 0) AS allowed,
        NOT coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_enabled'), current_setting('autovacuum'))::bool AS off
    FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
)
SELECT relid::regclass::text, n_live_tup, n_dead_tup, allowed,
    extract(epoch FROM now - coalesce(vacuumed, d.stats_reset, pg_postmaster_start_time()))::float8,
    vacuumed IS NOT NULL, off
FROM tables CROSS JOIN clock CROSS JOIN pg_stat_database AS d
WHERE d.datname = current_database() AND n_dead_tup > allowed
ORDER BY n_dead_tup::float8 / greatest(n_live_tup, 1) DESC
