-- Foreign keys whose columns no index begins with: a DELETE of the parent reads the whole child (manual 5.5.5).
-- child: qualified and quoted; columns: quoted, with commas; rows: the planner's estimate.
SELECT c.conrelid::regclass::text,
    (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
        FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.number),
    greatest(r.reltuples, 0)::bigint
FROM pg_constraint AS c JOIN pg_class AS r ON r.oid = c.conrelid
WHERE c.contype = 'f' AND c.conparentid = 0
    AND NOT EXISTS (
        SELECT 1 FROM pg_index AS i
        WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL
            -- indkey counts from 0; the order among the key's own columns does not matter.
            AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
    )
ORDER BY 3 DESC, 1, 2
