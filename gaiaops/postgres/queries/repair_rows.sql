-- Rows of one table by id, in id order, so that two repairs never wait for each other in a circle.
-- {row}   every column that can be written, as text, by its name (json)
-- {lock}  FOR UPDATE [SKIP LOCKED], or nothing
SELECT t.id::text AS id, {row} AS columns
FROM {table} AS t
WHERE t.id = ANY (%(ids)s::{type}[])
ORDER BY t.id
{lock}
