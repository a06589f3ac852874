"""The Redis keys of purged users, made from the archived rows and the registry's templates. Pure.

A template holds one column: `user:session:{users.id}`, `gaia:auth:apikey:v1:{api_keys.key_hash:32}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from gaiaops.cache.templates import Template
from gaiaops.postgres import copytext


def _keys(template: Template, fields: Sequence[bytes]) -> Iterator[bytes]:
    """The keys of COPY's fields; NULL and an empty text make none."""
    together = b"".join(fields)
    if together.isascii() and b"\\" not in together:  # as good as all: ids and hashes
        before, after = template.before.encode(), template.after.encode()
        return (before + field[: template.length] + after for field in fields)
    values = (copytext.decode(field) for field in fields)
    return (template.key(value) for value in values if value)


def keys_of(templates: Iterable[Template], columns: Sequence[str], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The keys of archived rows of one table; a line is the user's number and the columns. NULL makes none."""
    places = {template: columns.index(template.column) + 1 for template in templates if template.column in columns}
    fields = {place: re.compile(rb"^(?:[^\t\n]*\t){%d}([^\t\n]+)" % place, re.MULTILINE) for place in places.values()}
    for chunk in chunks if places else ():
        # One search a chunk, in C: there are hundreds of thousands of lines.
        found = {place: regex.findall(chunk) for place, regex in fields.items()}
        for template, place in places.items():
            yield from _keys(template, found[place])
