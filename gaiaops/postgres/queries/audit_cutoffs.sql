-- Since when a row is young, and how old an unconfirmed address must be; as text, in the server's time. The third is
-- for columns without a time zone, which hold UTC or the server's own time: the earlier one calls more rows young.
-- The last one ends youth: no clock and no time zone is a day ahead, so what is later was never young.
SELECT
    (now() - %(grace)s * interval '1 ms')::text,
    (now() - %(unconfirmed)s * interval '1 ms')::text,
    (least(now() AT TIME ZONE 'UTC', localtimestamp) - %(grace)s * interval '1 ms')::text,
    (now() AT TIME ZONE 'UTC' + interval '1 day')::text
