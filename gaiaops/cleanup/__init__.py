"""The purge of test users: who goes, what goes with them, how it is taken out, and how it is put back."""
