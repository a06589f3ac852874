-- One row: how many auth users there are, and of which kinds.
SELECT
    count(*) AS users,
    count(*) FILTER (WHERE deleted_at IS NOT NULL) AS deleted,
    count(*) FILTER (WHERE banned_until > now()) AS banned
FROM auth.users
