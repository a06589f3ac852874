-- Whether an address belongs to somebody already: by an identity of any provider but single sign-on, or by the
-- user's own column. Both compare lower case; the unique index on users.email does not.
SELECT EXISTS (
    SELECT FROM auth.identities JOIN auth.users ON users.id = identities.user_id
    WHERE identities.email = lower(%(email)s) AND identities.provider NOT LIKE 'sso:%%'
      AND users.aud = %(aud)s AND users.instance_id = '00000000-0000-0000-0000-000000000000'
) OR EXISTS (
    SELECT FROM auth.users
    WHERE instance_id = '00000000-0000-0000-0000-000000000000' AND lower(email) = lower(%(email)s)
      AND aud = %(aud)s AND NOT is_sso_user
)
