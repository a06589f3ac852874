-- One row that a repair inserted, which was compared under lock before.
DELETE FROM {table} AS t WHERE t.id = %(id)s::{type}
RETURNING {row} AS columns
