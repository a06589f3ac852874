-- One profile. {names} and {values}: what the auth record says, and the time where the table does not fill it itself.
INSERT INTO {table} AS t ({names}) VALUES ({values})
RETURNING {row} AS columns
