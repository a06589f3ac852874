"""Who is taken: the rule on an address, with the registry's tags, the protected and the kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from gaiaops import emails
from gaiaops.errors import RefusedError
from gaiaops.registry.model import Environment


class Verdict(Enum):
    """What becomes of a user."""

    TAKE = "take"
    OTHER = "other"
    AMBIGUOUS = "ambiguous"
    PROTECTED = "protected"
    KEPT = "kept"


class Selection(msgspec.Struct, frozen=True):
    """The tags that are taken, of all tags there are, less what is protected (registry) and kept (options)."""

    tags: tuple[str, ...]
    known: tuple[str, ...]
    protected: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def verdict(self, address: str) -> Verdict:
        """What becomes of the user of an address."""
        found = emails.classify(address, self.known)
        if found.kind is emails.Kind.AMBIGUOUS:
            return Verdict.AMBIGUOUS
        if found.kind is emails.Kind.UNTAGGED or found.tag not in self.tags:
            return Verdict.OTHER
        if emails.listed(address, self.protected):
            return Verdict.PROTECTED
        return Verdict.KEPT if emails.listed(address, self.keep) else Verdict.TAKE


def choose_tags(
    env: Environment, tags: Mapping[str, str], named: Iterable[str], max_users: int | None
) -> tuple[str, ...]:
    """The tags a clean-up takes: those named, else those of all other environments.

    `tags` maps the registry's tags to environments. Raises RefusedError for a tag that is none, and for the
    environment's own where the number of users is not given with it.
    """
    by_name = {tag.casefold(): tag for tag in tags}
    chosen = []
    for name in named:
        if name.casefold() not in by_name:
            shown = f'"{name}" is no environment\'s tag' if name else "the tag is empty"
            raise RefusedError(shown, hint=f"the registry's tags: {', '.join(tags) or 'none'}", environment=env.name)
        chosen.append(by_name[name.casefold()])
    if env.tag in chosen and max_users is None:
        raise RefusedError(
            f"{env.tag} is {env.whole}'s own tag: its users are its people",
            hint="if you mean them, say how many at most: --max-users N",
            environment=env.name,
        )
    return tuple(dict.fromkeys(chosen or [tag for tag, owner in tags.items() if owner != env.whole]))


def cap(users_in_all: int, max_users: int | None) -> float:
    """How many users a clean-up may take: `--max-users`, else the smaller of 1,000 and 5 %.

    >>> cap(693, None), cap(1_000_000, None), cap(10, 3)
    (34.65, 1000, 3)
    """
    return min(1000, users_in_all * 5 / 100) if max_users is None else max_users
