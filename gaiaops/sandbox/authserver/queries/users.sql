-- One user as the API shows it: the aliases are the JSON keys, in the order of the real server's answer, and a
-- NULL means the key is left out. The source is auth.users, or a page of it (page.sql).
SELECT
    users.id,
    aud,
    role,
    coalesce(email, '')                                          AS email,       -- never left out: "" when NULL
    email_confirmed_at,
    invited_at,
    coalesce(phone, '')                                          AS phone,
    phone_confirmed_at,
    confirmation_sent_at,
    confirmed_at,
    recovery_sent_at,
    nullif(email_change, '')                                     AS new_email,
    email_change_sent_at,
    nullif(phone_change, '')                                     AS new_phone,
    phone_change_sent_at,
    reauthentication_sent_at,
    last_sign_in_at,
    coalesce(nullif(raw_app_meta_data, 'null'), '{{}}')          AS app_metadata,
    coalesce(nullif(raw_user_meta_data, 'null'), '{{}}')         AS user_metadata,
    users.created_at,
    updated_at,
    banned_until,
    deleted_at,
    is_anonymous,
    -- What the real server cannot read into its own types, and then fails the whole answer: a NULL in a column
    -- it takes for NOT NULL, metadata that is no object, a time after the year 9999 or 'infinity'. Not a key of the JSON.
    num_nulls(
        role, users.created_at, updated_at, confirmation_token, recovery_token, email_change,
        email_change_token_new, email_change_token_current, phone_change, phone_change_token,
        reauthentication_token
    ) > 0
    OR coalesce(jsonb_typeof(raw_app_meta_data), 'null') NOT IN ('object', 'null')
    OR coalesce(jsonb_typeof(raw_user_meta_data), 'null') NOT IN ('object', 'null')
    OR coalesce(greatest(
        email_confirmed_at, invited_at, phone_confirmed_at, confirmation_sent_at, recovery_sent_at,
        email_change_sent_at, phone_change_sent_at, reauthentication_sent_at, last_sign_in_at,
        users.created_at, updated_at, banned_until, deleted_at
    ) >= '10000-01-01', false)                                   AS unreadable
FROM {source}
