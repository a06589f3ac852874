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

    def key(self, value: str) -> bytes:
        """
        >>> Template("k:", "t", "c", 4, "").key("0123456")
        b'k:0123'
        """
        return f"{self.before}{value[: self.length]}{self.after}".encode()

    def keys(self, fields: Sequence[bytes]) -> Iterator[bytes]:
        """The keys of COPY's fields; NULL and an empty text make none."""
        together = b"".join(fields)
        if together.isascii() and b"\\" not in together:  # as good as all: ids and hashes
            before, after = self.before.encode(), self.after.encode()
            return (before + field[: self.length] + after for field in fields)
        values = (copytext.decode(field) for field in fields)
        return (self.key(value) for value in values if value)


def parse(text: str) -> Template:
    """The template of a text, which the registry has checked.

    >>> parse("gaia:auth:apikey:v1:{api_keys.key_hash:4}").key("0123456")
    b'gaia:auth:apikey:v1:0123'
    """
    match = _PART.search(text)
    assert match is not None  # noqa: S101 - registry/load.py checked it
    length = int(match[3]) if match[3] else None
    return Template(text[: match.start()], match[1], match[2], length, text[match.end() :])


def keys_of(templates: Iterable[Template], columns: Sequence[str], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The keys of archived rows of one table; a line is the user's number and the columns. NULL makes none."""
    places = {template: columns.index(template.column) + 1 for template in templates if template.column in columns}
    fields = {place: re.compile(rb"^(?:[^\t\n]*\t){%d}([^\t\n]+)" % place, re.MULTILINE) for place in places.values()}
    for chunk in chunks if places else ():
        # One search a chunk, in C: there are hundreds of thousands of lines.
        found = {place: regex.findall(chunk) for place, regex in fields.items()}
        for template, place in places.items():
            yield from template.keys(found[place])
