"""Text inside statements that take no parameters (COPY). Pure."""

from __future__ import annotations


def literal(text: str) -> str:
    """An SQL string literal (standard_conforming_strings is on: manual 4.1.2.1).

    >>> literal("o'brien")
    "'o''brien'"
    """
    return "'" + text.replace("'", "''") + "'"


def like(text: str) -> str:
    """A text as part of a LIKE pattern that matches it and nothing else (manual 9.7.1).

    >>> like("100%_a")
    '100\\\\%\\\\_a'
    """
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
