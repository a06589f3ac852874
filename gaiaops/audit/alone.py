"""What is wrong in one environment whoever is in Supabase: dangling references, and what Redis holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, LiteralString, TypeVar

from gaiaops.audit import dangling, stale
from gaiaops.audit.kinds import Finding
from gaiaops.audit.pile import Pile
from gaiaops.audit.side import Database, Side
from gaiaops.cache.templates import parse
from gaiaops.errors import GaiaopsError
from gaiaops.registry.model import Registry

if TYPE_CHECKING:
    from redis import Redis

T = TypeVar("T")
_BATCH = 2_000


class Alone:
    """The findings of one environment, at first sight and again."""

    def __init__(self, registry: Registry, side: Side, kinds: Collection[str]) -> None:
        self._registry = registry
        self._side = side
        self._soft: list[dangling.Declared] = []
        if "dangling-reference" in kinds:
            self._soft = dangling.declared(side, registry.references)
        self._cache = "stale-cache" in kinds and side.env.redis is not None
        self.problems: list[str] = []
        self._dangling = {soft.name: Pile(Finding) for soft in self._soft}
        self._stale = Pile(Finding)

    def find(self) -> None:
        """The first look. Raises the error tree's errors."""
        for soft in self._soft:
            for finding in dangling.find(self._side, soft):
                self._dangling[soft.name].add(finding)
        if self._cache and self._has_tables():
            self._ask(self._find_stale)

    @property
    def looked_at_cache(self) -> bool:
        """Whether there is a cache, and it could be read."""
        return self._cache

    @property
    def count(self) -> int:
        """Findings at first sight."""
        return (len(self._stale) if self._cache else 0) + sum(map(len, self._dangling.values()))

    def again(self) -> Iterator[Finding]:
        """The second look, in the side's new snapshot: those that are still there."""
        for soft in self._soft:
            for batch in self._dangling[soft.name].batches(_BATCH):
                yield from dangling.still(self._side, soft, [f.subject.removeprefix(f"{soft.name}=") for f in batch])
        if self._cache and len(self._stale):
            yield from self._ask(self._still_stale) or ()

    def close(self) -> None:
        """Removes what was put aside."""
        for pile in (self._stale, *self._dangling.values()):
            pile.close()

    def _has_tables(self) -> bool:
        """Whether the tables are there that say which entries are stale."""
        tables = list(dict.fromkeys(parse(text).table for text in self._registry.audit.access_keys))
        for one, missing in zip(self._side.databases, self._side.each(lambda one: _missing(one, tables)), strict=True):
            for table in missing:
                where = f" in {one.env.name}" if one.env.shard else ""
                self._give_up(f"there is no table {table}{where}")
        return self._cache

    def _find_stale(self, client: Redis) -> None:
        for finding in stale.find(client, self._side, self._registry):
            self._stale.add(finding)

    def _still_stale(self, client: Redis) -> list[Finding]:
        found: list[Finding] = []
        for batch in self._stale.batches(_BATCH):
            keys = [finding.subject for finding in batch]
            found += stale.still(client, self._side, self._registry, keys)
        return found

    def _ask(self, work: Callable[[Redis], T]) -> T | None:
        """What `work` makes of the environment's cache. One that fails ends the look at the cache, and nothing else."""
        from gaiaops.cache.connect import connect

        theirs: list[GaiaopsError] = []
        try:
            url = self._side.env.redis_url()
            assert url is not None  # noqa: S101 - asked for only where one is declared
            with connect(url, self._side.databases[0].session.timeouts) as client:
                try:
                    return work(client)
                except GaiaopsError as error:  # PostgreSQL's, which is the environment's end
                    theirs.append(error)
                    raise
        except GaiaopsError as error:
            if error in theirs:
                raise
            self._give_up(error.message)
            return None

    def _give_up(self, why: str) -> None:
        self._cache = False
        self.problems.append(f"{why}: what Redis holds is not known to be valid")


def _missing(one: Database, tables: Iterable[str]) -> list[str]:
    """Those of the tables that a database does not have."""
    sql: LiteralString = "SELECT to_regclass(%(name)s) IS NULL"
    return [table for table in tables if one.session.fetch(sql, {"name": f'"{table}"'})[0][0]]
