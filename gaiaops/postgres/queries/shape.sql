-- What decides what a DELETE does: triggers (foreign keys' too), columns, rules and children of these tables. They
-- cannot change while a transaction that has deleted from them is open.
SELECT md5(coalesce(string_agg(part, ',' ORDER BY part), '')) AS shape FROM (
    SELECT format('t %%s %%s %%s', tgrelid, oid, tgenabled) AS part FROM pg_trigger
    WHERE tgrelid = ANY (%(oids)s::oid[])
    UNION ALL
    SELECT format('a %%s %%s %%s', attrelid, attnum, atttypid) FROM pg_attribute
    WHERE attrelid = ANY (%(oids)s::oid[]) AND attnum > 0
    UNION ALL
    SELECT format('r %%s %%s', ev_class, oid) FROM pg_rewrite WHERE ev_class = ANY (%(oids)s::oid[])
    UNION ALL
    SELECT format('i %%s %%s', inhparent, inhrelid) FROM pg_inherits WHERE inhparent = ANY (%(oids)s::oid[])
) AS parts
