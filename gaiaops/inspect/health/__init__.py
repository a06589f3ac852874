"""Checks with a value, a threshold and a verdict."""
