-- Rows whose column holds one of these values, under the registry's condition on the reference ({where}).
SELECT t.{column}::text AS value, count(*) AS rows
FROM {table} AS t
WHERE t.{column}::text = ANY (%(values)s::text[]) {where}
GROUP BY 1
