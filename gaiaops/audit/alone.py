"""What is wrong in one environment whoever is in Supabase: dangling references, and what Redis holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gaiaops.audit import dangling, stale
from gaiaops.audit.kinds import Finding
from gaiaops.audit.pile import Pile
from gaiaops.audit.side import Side
from gaiaops.registry.model import Registry

if TYPE_CHECKING:
    from redis import Redis

_BATCH = 2_000


class Alone:
    """The findings of one environment, at first sight and again."""

    def __init__(self, registry: Registry, side: Side, kinds: Collection[str]) -> None:
        self._registry = registry
        self._side = side
        self._soft = dangling.columns(registry, side) if "dangling-reference" in kinds else []
        self._cache = "stale-cache" in kinds and side.env.redis is not None
        self._dangling = {soft.reference.name: Pile(Finding) for soft in self._soft}
        self._stale = Pile(Finding)

    def find(self) -> None:
        """The first look. Raises the error tree's errors."""
        for soft in self._soft:
            for finding in dangling.find(self._side, soft):
                self._dangling[soft.reference.name].add(finding)
        if self._cache:
            with _redis(self._side) as client:
                for finding in stale.find(client, self._side.session, self._registry, self._side.env.name):
                    self._stale.add(finding)

    def __len__(self) -> int:
        return len(self._stale) + sum(map(len, self._dangling.values()))

    def again(self) -> Iterator[Finding]:
        """The second look, in the side's new snapshot: those that are still there."""
        for soft in self._soft:
            name = soft.reference.name
            for batch in self._dangling[name].batches(_BATCH):
                yield from dangling.still(self._side, soft, [f.subject.removeprefix(f"{name}=") for f in batch])
        if len(self._stale):
            with _redis(self._side) as client:
                for batch in self._stale.batches(_BATCH):
                    keys = [finding.subject for finding in batch]
                    yield from stale.still(client, self._side.session, self._registry, self._side.env.name, keys)

    def close(self) -> None:
        """Removes what was put aside."""
        for pile in (self._stale, *self._dangling.values()):
            pile.close()


@contextmanager
def _redis(side: Side) -> Iterator[Redis]:
    from gaiaops.cache.connect import connect

    url = side.env.redis_url()
    assert url is not None  # noqa: S101 - asked for only where one is declared
    with connect(url, side.session.timeouts) as client:
        yield client
