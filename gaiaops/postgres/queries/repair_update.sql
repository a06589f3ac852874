-- Sets one column of one row, where it still holds what the plan saw (compared as text, byte for byte).
UPDATE {table} AS t
SET {column} = %(after)s
WHERE t.id = %(id)s::{type}
    AND t.{column}::text COLLATE "C" IS NOT DISTINCT FROM (%(before)s::text COLLATE "C")
RETURNING {row} AS columns
