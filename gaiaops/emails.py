"""The address convention: `jason+dev@example.com` belongs to dev. Pure.

The local part ends at the last `@`; the tag is what follows its last `+`; tags compare case-folded and whole.
Plus tags that are no environment (`someone+alice@…`) belong to real people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What an address says about its environment."""

    UNTAGGED = "untagged"
    TAGGED = "tagged"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class Classification:
    """An address's kind and, where it is tagged, the registry's spelling of the tag."""

    kind: Kind
    tag: str = ""


UNTAGGED = Classification(Kind.UNTAGGED)


def classify(address: str, tags: Iterable[str]) -> Classification:
    """The environment an address is tagged for.

    >>> classify("jason+Dev@example.com", ["dev", "staging"]).tag
    'dev'
    >>> [classify(a, ["dev", "staging"]).kind.value for a in ("a+dev2@x", "dev+x@x", '"a+dev@b"@x', "a+dev+staging@x")]
    ['untagged', 'untagged', 'untagged', 'ambiguous']
    """
    local, at, _ = address.rpartition("@")
    if not at or "+" not in local:
        return UNTAGGED
    known = {tag.casefold(): tag for tag in tags}
    parts = [part.casefold() for part in local.split("+")[1:]]
    if parts[-1] not in known:
        return UNTAGGED
    if len({part for part in parts if part in known}) > 1:
        return Classification(Kind.AMBIGUOUS)
    return Classification(Kind.TAGGED, known[parts[-1]])


def listed(address: str, entries: Iterable[str]) -> bool:
    """Whether an address is among addresses and domains (`@example.org`, `example.org`), case-folded.

    >>> [listed("QA+dev@Example.org", [e]) for e in ("qa+dev@example.org", "@example.org", "example.org", "@x")]
    [True, True, True, False]
    """
    folded = address.casefold()
    domain = folded.rpartition("@")[2]
    for entry in entries:
        wanted = entry.casefold()
        local, at, name = wanted.rpartition("@")
        if (folded == wanted) if at and local else (domain == name):
            return True
    return False


def count_tags(chains: Iterable[tuple[str, int]], tags: Iterable[str]) -> dict[str, int]:
    """Users per tag, from (what stands between the first `+` and the last `@`, number of users).

    >>> count_tags([("dev", 3), ("Dev", 1), ("alice", 9), ("dev+staging", 2)], ["dev", "staging"])
    {'dev': 4, 'staging': 0}
    """
    names = list(tags)
    counts: dict[str, int] = dict.fromkeys(names, 0)
    for chain, users in chains:
        found = classify(f"+{chain}@", names)
        if found.kind is Kind.TAGGED:
            counts[found.tag] += users
    return counts


# What every tagged address matches, in SQL. A regular expression for the tags would cost the server four times as
# much and keep few rows back: most plus addresses in these databases are tagged.
PREFILTER = "COLLATE \"C\" LIKE '%+%@%'"


def prefilter(tags: Mapping[str, str] | Iterable[str]) -> str:
    """A regular expression for PostgreSQL's `~*` that every tagged address matches (and some others do).

    To be matched under COLLATE "C": a locale may fold ASCII letters otherwise (a Turkish I is not i).
    Case folding can turn letters beyond ASCII into a tag's (U+017F, the long s), so every address that holds
    one passes; `classify` decides.
    """
    words = "|".join(sorted({_escaped(tag) for tag in tags}))
    return rf"\+({words})[+@]|[^\x01-\x7f]" if words else r"[^\x01-\x7f]"


def _escaped(tag: str) -> str:
    return "".join(char if char.isalnum() else f"\\{char}" for char in tag)
