-- Whether a row refers to a profile: {match} compares a foreign key's columns with the profile's values.
SELECT count(*) FROM {table} AS t WHERE {match}
