-- As users_by_tag, on Supabase Auth's own table. Soft-deleted users have no address left (a hash without @).
SELECT substring(email FROM '\+(.*)@') AS chain, count(*) AS users
FROM auth.users
WHERE email LIKE '%%+%%@%%' AND email COLLATE "C" ~* %(pattern)s
GROUP BY 1
