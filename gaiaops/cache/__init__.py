"""Redis: the only folder that imports its driver."""
