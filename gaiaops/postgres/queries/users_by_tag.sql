-- One row for each chain of plus tags that may name an environment; %(pattern)s is emails.prefilter().
-- chain  what stands between the first + and the last @
-- users  how many users have it
SELECT substring(email FROM '\+(.*)@') AS chain, count(*) AS users
FROM users
WHERE email LIKE '%%+%%@%%' AND email COLLATE "C" ~* %(pattern)s
GROUP BY 1
