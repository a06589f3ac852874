-- One row for each foreign key, once for a partitioned table (its partitions' copies are left out).
-- child, parent   oids of the relations; of a partition, its root
-- part            the partition that alone has this key, for a condition on tableoid; else NULL
-- parent_part     the partition that alone is referenced; else NULL
-- columns, parent_columns   in the key's order, as they are
-- action          a NO ACTION, r RESTRICT, c CASCADE, n SET NULL, d SET DEFAULT
-- set_columns     the columns that SET NULL or SET DEFAULT (…) names; else empty (to_jsonb, as 14 has none)
-- whole           MATCH FULL: its columns are all NULL or none is
-- part_condition  what holds for the rows of `part`, with unqualified columns; else NULL
-- enforced        false for NOT ENFORCED (from 18)
-- temporal        a PERIOD key, which is not equality (from 18)
-- indexed         whether an index of the child begins with the key's columns, in any order
SELECT
    f.conname::text AS name,
    coalesce((SELECT relid FROM pg_partition_ancestors(f.conrelid) AS relid
              WHERE relid = pg_partition_root(f.conrelid)), f.conrelid)::oid::bigint AS child,
    coalesce((SELECT relid FROM pg_partition_ancestors(f.confrelid) AS relid
              WHERE relid = pg_partition_root(f.confrelid)), f.confrelid)::oid::bigint AS parent,
    CASE WHEN c.relispartition THEN format('%%I.%%I', n.nspname, c.relname) END AS part,
    CASE WHEN p.relispartition THEN p.oid::regclass::text END AS parent_part,
    ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k (num, place)
          JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.num ORDER BY k.place) AS columns,
    ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k (num, place)
          JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.num ORDER BY k.place) AS parent_columns,
    f.confdeltype::text AS action,
    ARRAY(SELECT a.attname::text FROM jsonb_array_elements_text(
              CASE jsonb_typeof(to_jsonb(f) -> 'confdelsetcols') WHEN 'array' THEN to_jsonb(f) -> 'confdelsetcols'
              ELSE '[]' END) AS num
          JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = num::smallint) AS set_columns,
    f.confmatchtype = 'f' AS whole,
    CASE WHEN c.relispartition THEN pg_get_partition_constraintdef(c.oid) END AS part_condition,
    coalesce((to_jsonb(f) ->> 'conenforced')::boolean, true) AS enforced,
    coalesce((to_jsonb(f) ->> 'conperiod')::boolean, false) AS temporal,
    EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = f.conrelid AND i.indisvalid AND i.indpred IS NULL
            AND (string_to_array(i.indkey::text, ' ')::smallint[])[1:cardinality(f.conkey)] @> f.conkey
    ) AS indexed
FROM pg_constraint AS f
JOIN pg_class AS c ON c.oid = f.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_class AS p ON p.oid = f.confrelid
WHERE f.contype = 'f' AND f.conparentid = 0 AND c.relpersistence <> 't'
ORDER BY c.oid, f.conname
