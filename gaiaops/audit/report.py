"""What an audit found, as values: numbers of each side, findings by kind, what could not be read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

from gaiaops.audit.compare import Tally
from gaiaops.audit.kinds import KINDS, Finding
from gaiaops.audit.pile import Pile
from gaiaops.errors import GaiaopsError


class SideReport(msgspec.Struct):
    """One environment: its numbers, its findings by kind, and the error that ended it, if one did."""

    name: str
    tally: Tally
    kinds: Counter[str]
    error: GaiaopsError | None = None


class Report:
    """An audit's outcome. Findings are put aside in a pile for each kind, the worst kinds first.

    `problems` are sentences about what is not known; `notes` are for the reader's information. `looked_for` has, by
    environment ("" for what belongs to none), the kinds that would have been found were they there. `sharded` are the
    environments with shards.
    """

    def __init__(self, environments: Collection[str], sharded: Collection[str] = ()) -> None:
        self.sharded = frozenset(sharded)
        self.source = ""
        self.source_error: GaiaopsError | None = None
        self.complete = True
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.auth = Tally()
        self.sides = {name: SideReport(name, Tally(), Counter()) for name in environments}
        self.vanished = 0
        self.seconds: dict[str, float] = {}  # of the first look, and of the second one without its delay
        self.again = 0  # findings that were looked at again
        self.unprovisioned = 0
        self.looked_for: dict[str, frozenset[str]] = {}
        self._findings = {kind: Pile(Finding) for kind in KINDS}
        self._duplicates: set[str] = set()

    def add(self, finding: Finding) -> None:
        """Takes a finding. Each of two profiles tells that they are duplicates, Redis may name a key twice while it is
        scanned, and each shard's copy of a profile tells what is wrong with all: it counts once."""
        if finding.kind in ("duplicate-profile", "stale-cache") or len(finding.shards) > 1:
            if finding.id in self._duplicates:
                return
            self._duplicates.add(finding.id)
        self._findings[finding.kind].add(finding)
        if finding.environment:
            self.sides[finding.environment].kinds[finding.kind] += 1
        else:
            self.unprovisioned += 1

    @property
    def failed(self) -> list[SideReport]:
        """The environments that could not be read to the end."""
        return [side for side in self.sides.values() if side.error is not None]

    @property
    def partial(self) -> bool:
        """Whether something is not known."""
        return bool(self.failed or self.problems or self.source_error or not self.complete)

    def findings(self, kinds: Collection[str] = ()) -> Iterator[Finding]:
        """The findings of these kinds (all of them by default), the worst kinds first.

        None of an environment that failed; and where one failed, nobody is known to be in none.
        """
        broken = {side.name for side in self.failed} | ({""} if self.failed else set())
        for kind, pile in self._findings.items():
            if not kinds or kind in kinds:
                yield from (finding for finding in pile if finding.environment not in broken)

    def count(self, kind: str) -> int:
        """Findings of a kind, counted as `findings` gives them."""
        mine = sum(side.kinds[kind] for side in self.sides.values() if side.error is None)
        return mine + (self.unprovisioned if kind == "unprovisioned" and not self.failed else 0)

    def close(self) -> None:
        """Removes what was put aside."""
        for pile in self._findings.values():
            pile.close()
