"""Clean-ups of an environment with shards: one plan, one run, one confirmation; a part of each for every shard."""
