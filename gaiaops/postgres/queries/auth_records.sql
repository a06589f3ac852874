-- Auth users as the audit compares them. `k` is the address with ASCII letters in lower case; `flags` has a letter
-- for each state (auth/interface.py, Record). The first CASE is for nearly everybody, and cheap. The cutoffs are
-- literals: COPY takes no parameters.
SELECT
    lower(coalesce(email, '')::text COLLATE "C") AS k,
    id,
    coalesce(email, '')::text COLLATE "C" AS email,
    CASE
        WHEN deleted_at IS NULL AND banned_until IS NULL AND NOT is_sso_user AND NOT is_anonymous
            AND email_confirmed_at IS NOT NULL AND aud = 'authenticated'
            AND instance_id = '00000000-0000-0000-0000-000000000000'
            AND created_at <= {grace}
        THEN ''
        ELSE concat(
            CASE WHEN banned_until > now() THEN 'b' END,
            CASE WHEN deleted_at IS NOT NULL THEN 'd' END,
            CASE WHEN is_anonymous THEN 'a' END,
            CASE WHEN is_sso_user THEN 's' END,
            CASE
                WHEN email <> '' AND email_confirmed_at IS NULL
                    AND created_at < {unconfirmed}
                THEN 'u'
            END,
            CASE WHEN created_at > {grace} AND created_at < now() + interval '1 day' THEN 'y' END,
            CASE
                WHEN aud IS DISTINCT FROM 'authenticated'
                    OR instance_id IS DISTINCT FROM '00000000-0000-0000-0000-000000000000'
                THEN 'v'
            END
        )
    END AS flags
FROM auth.users
