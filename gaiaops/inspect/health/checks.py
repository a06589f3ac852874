"""Verdicts on what was measured. Pure."""
