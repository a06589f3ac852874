-- What is behind a name: two that answer the same are one database (a copy of a volume has another start).
SELECT
    (SELECT system_identifier::text FROM pg_control_system()),
    current_database()::text,
    pg_postmaster_start_time()::text
