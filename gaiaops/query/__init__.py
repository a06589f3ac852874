"""Runs SQL against one environment or all of them."""
