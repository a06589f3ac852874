"""The objects of a database: against the registry, and against another one's."""
