"""Rows and reports into text; used by the command line alone."""
