-- The ordinary profiles of one environment, and the few of them that get child rows.
-- Needs platform.sql and seed_people.sql. Settings: gaia_seed.people (how many over all environments),
-- gaia_seed.environment, gaia_seed.active (how many profiles get keys, conversations and the rest).

INSERT INTO users (id, email, name, created_at, updated_at)
SELECT p.id, p.address, p.name,
       (p.created_at AT TIME ZONE 'UTC') + (2 + mod(p.n, 9)) * interval '1 second',
       (p.created_at AT TIME ZONE 'UTC') + mod(p.n, 40) * interval '6 hours'
  FROM pg_temp.seed_people(current_setting('gaia_seed.people')::bigint) AS p
 WHERE p.home = current_setting('gaia_seed.environment')
    OR (p.guest AND current_setting('gaia_seed.environment') = 'production');

-- Active people, ranked from 0. The first 60,000 rows hold more than 2,000 people of every environment
-- (the rarest home has 5 in a hundred), so a large sandbox does not pay for a sort of everyone.
CREATE TEMPORARY TABLE seed_active ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY p.n) - 1 AS rank, p.id, p.address::text, u.created_at AS since
  FROM pg_temp.seed_people(least(current_setting('gaia_seed.people')::bigint, 60000)) AS p
  JOIN users AS u ON u.id = p.id
 ORDER BY p.n
 LIMIT current_setting('gaia_seed.active')::bigint;
