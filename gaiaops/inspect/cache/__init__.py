"""A Redis by key families: what is in it, one key, and what is to go."""
