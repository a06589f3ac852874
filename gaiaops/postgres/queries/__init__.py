"""SQL longer than a line, one named file each."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString


@cache
def load(name: str) -> LiteralString:
    """The text of `NAME.sql` in this folder."""
    # Our own files, shipped with the package: as literal as text in a module.
    text: LiteralString = (files(__name__) / f"{name}.sql").read_text(encoding="utf-8")
    return text
