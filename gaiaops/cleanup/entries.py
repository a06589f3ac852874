"""The Redis keys of purged users, made from the archived rows and the registry's templates. Pure.

A template holds one column: `user:session:{users.id}`, `gaia:auth:apikey:v1:{api_keys.key_hash:32}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gaiaops.postgres import copytext

_PART = re.compile(r"\{(\w+)\.(\w+)(?::(\d+))?\}")


class Template(msgspec.Struct, frozen=True):
    """A key's fixed parts, the column between them, and how many of its characters count (None: all)."""

    before: str
    table: str
    column: str
    length: int | None
    after: str

    def key(self, value: str) -> str:
        return f"{self.before}{value[: self.length]}{self.after}"


def parse(text: str) -> Template:
    """The template of a text, which the registry has checked.

    >>> parse("gaia:auth:apikey:v1:{api_keys.key_hash:4}").key("0123456")
    'gaia:auth:apikey:v1:0123'
    """
    match = _PART.search(text)
    assert match is not None  # noqa: S101 - registry/load.py checked it
    length = int(match[3]) if match[3] else None
    return Template(text[: match.start()], match[1], match[2], length, text[match.end() :])


def keys_of(templates: Iterable[Template], columns: Sequence[str], chunks: Iterable[bytes]) -> Iterator[str]:
    """The keys of archived rows of one table; a line is the user's number and the columns. NULL makes none."""
    places = [(t, columns.index(t.column) + 1) for t in templates if t.column in columns]
    last = max((place for _, place in places), default=0)
    for chunk in chunks if places else ():
        for line in chunk.splitlines():
            fields = line.split(b"\t", last + 1)
            for template, place in places:
                value = copytext.decode(fields[place])
                if value:
                    yield template.key(value)
