-- The ways in which a user signs in. As in users.sql the aliases are the JSON keys.
SELECT
    id                                     AS identity_id,
    provider_id                            AS id,               -- these two are swapped in the real answer too
    user_id,
    nullif(identity_data, '{}')            AS identity_data,
    provider,
    last_sign_in_at,
    created_at,
    updated_at,
    nullif(email, '')                      AS email,
    num_nulls(created_at, updated_at) > 0  AS unreadable
FROM auth.identities
WHERE user_id = %(id)s
