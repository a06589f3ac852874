"""The overview: what is where, and does it answer."""
