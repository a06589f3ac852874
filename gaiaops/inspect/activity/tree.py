"""Who waits for whom, as a forest. Pure."""
