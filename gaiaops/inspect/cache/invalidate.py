"""Removes entries from a cache: which ones is settled before anybody is asked, and only those go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from gaiaops.cache import remove, values
from gaiaops.cache import server as servers
from gaiaops.cache.keys import OTHER, fixed_part, key_bytes, key_text
from gaiaops.cache.keys import Families as Sorter
from gaiaops.cache.lane import Lane
from gaiaops.cache.spool import Spool
from gaiaops.errors import RefusedError, UsageError, did_you_mean, located
from gaiaops.inspect.cache import identity, people
from gaiaops.inspect.cache.identity import Identity
from gaiaops.inspect.cache.opening import opened
from gaiaops.registry.model import Environment, Registry

SAMPLE = 10
_STEP = 1000


class Wanted(msgspec.Struct, frozen=True):
    """What to remove: one of an address, keys (in `key_text` form), and a family."""

    user: str | None = None
    keys: tuple[str, ...] = ()
    family: str | None = None

    @property
    def text(self) -> str:
        """For people."""
        if self.user is not None:
            return f"user {self.user}"
        return f"family {self.family}" if self.family is not None else "by name"


class Selection:
    """The keys that are there and shall go, put aside, with a sample of them and their milliseconds to live.

    `absent` are keys asked for that are not there.
    """

    def __init__(self, wanted: Wanted, where: Identity) -> None:
        self.wanted = wanted
        self.where = where
        self.spool = Spool()
        self.sample: list[tuple[bytes, int | None]] = []
        self.absent: list[str] = []
        self.profiles: tuple[people.Profile, ...] = ()
        self.notices: list[str] = []

    def __len__(self) -> int:
        return len(self.spool)

    def add(self, found: dict[bytes, int | None]) -> None:
        for key, ttl in found.items():
            before = len(self.spool)
            self.spool.add(key)
            if len(self.spool) > before and len(self.sample) < SAMPLE:
                self.sample.append((key, ttl))


@contextmanager
def selected(
    registry: Registry,
    env: Environment,
    wanted: Wanted,
    *,
    timeout_ms: int | None,
    hear: Callable[[int, int], None],
) -> Iterator[Selection]:
    """Finds the keys; the connection is closed when this gives them. `hear` is told how many keys were looked at, and
    how many there are (0: not known).

    Raises UsageError for an unknown family, RefusedError where the Redis is another environment's or the user is
    nobody's, StatementError where the server takes no writes, and the error tree's errors.
    """
    check_family(registry, wanted)
    url = env.needed_redis_url()
    with located(env.name):
        person = people.person(registry, env, wanted.user) if wanted.user is not None else None
    namesakes = identity.Namesakes(registry, env)
    with opened(env, timeout_ms) as lane:
        server = servers.read(lane)
        selection = Selection(wanted, identity.of(server, url))
        namesakes.check(selection.where, url)
        identity.check_writable(env, server)
        try:
            if person is not None:
                selection.profiles, selection.notices = person.profiles, list(person.notices)
                _exact(lane, person.keys, selection)
            elif wanted.family is not None:
                _family(lane, registry, wanted.family, selection, lambda seen: hear(seen, server.keys or 0))
            else:
                asked = list(dict.fromkeys(key_bytes(text) for text in wanted.keys))
                _exact(lane, asked, selection)
                there = set(selection.spool)
                selection.absent = [key_text(key) for key in asked if key not in there]
        except BaseException:
            selection.spool.close()
            raise
    try:
        yield selection
    finally:
        selection.spool.close()


def check_family(registry: Registry, wanted: Wanted) -> None:
    """Raises UsageError where a family is none of the registry's."""
    names = [name for name, _ in registry.families]
    if wanted.family is None or wanted.family in names:
        return
    why = " (keys of no family go by --key only)" if wanted.family in (OTHER, "unknown", "…others") else ""
    listed = f"{registry.file} has: {', '.join(names) if names else 'none'}"
    hint = " ".join(filter(None, (did_you_mean(wanted.family.lower(), names), listed)))
    raise UsageError(f'unknown family "{wanted.family}"{why}', hint=hint)


def apply(env: Environment, selection: Selection, *, timeout_ms: int | None, hear: Callable[[int, int], bool]) -> None:
    """Unlinks what was selected, on the server it was selected on. `hear` is told after each batch how many keys were
    asked to go and how many were there, and says whether to stop.

    Raises RefusedError where another server answers by now, LostServerError, DeadlineError and the error tree's errors.
    """
    with opened(env, timeout_ms) as lane:
        now = identity.of(servers.read(lane), env.needed_redis_url())
        if selection.where.is_other(now):
            raise RefusedError(
                f"the server is not the one that was shown: it was {selection.where.text}, now {now.text}",
                hint="it was restarted or replaced; run the same command again",
            )
        remove.remove_counted(lane, selection.spool, hear)


def _exact(lane: Lane, keys: Sequence[bytes], selection: Selection) -> None:
    for start in range(0, len(keys), _STEP):
        selection.add(values.there(lane, list(keys[start : start + _STEP])))


def _family(lane: Lane, registry: Registry, family: str, selection: Selection, hear: Callable[[int], None]) -> None:
    """The keys whose first fitting pattern is this family's: another family's may be more special, and come first."""
    sort, number = Sorter(registry.families), [name for name, _ in registry.families].index(family)
    glob = fixed_part(registry.families[number][1])
    cursor, seen = b"", 0
    while cursor != b"0":
        cursor, keys = lane.must(b"SCAN", cursor or b"0", b"MATCH", glob, b"COUNT", b"%d" % _STEP)
        seen += _STEP
        hear(seen)
        mine = [key for key, place in zip(keys, sort.numbers(keys), strict=True) if place == number]
        missing = SAMPLE - len(selection.sample)
        if missing > 0 and mine:
            selection.add(values.there(lane, mine[:missing]))
            mine = mine[missing:]
        selection.add(dict.fromkeys(mine))
