-- What the audit needs to be there: the table users, its created_at, the table api_keys.
SELECT
    to_regclass('users') IS NOT NULL,
    EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('users') AND attname = 'created_at' AND NOT attisdropped
    ),
    to_regclass('api_keys') IS NOT NULL
