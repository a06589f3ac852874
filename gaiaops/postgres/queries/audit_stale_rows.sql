-- Values that no row has.
SELECT wanted.value, 'no such row in ' || trim('{table}', '"') AS reason
FROM unnest(%(values)s::text[]) AS wanted (value)
WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE {column} = wanted.value)
