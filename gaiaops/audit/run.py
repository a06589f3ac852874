"""One audit: both sides read in snapshots, compared, and every finding looked at again before it counts.

Supabase's records and every environment's profiles are streamed in the order of their addresses and merged
(merge.py, compare.py); what is not plainly in order is looked up by id and address in the same snapshots, judged
(judge.py), and later looked up and judged once more in new ones: only what is wrong both times is reported. A
user who is deleted, moved or created meanwhile is wrong once at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from gaiaops.audit import look
from gaiaops.audit.alone import Alone
from gaiaops.audit.compare import AUTH, Comparison, ProfileSuspect, RecordSuspect
from gaiaops.audit.homes import of_registry
from gaiaops.audit.judge import of_profile
from gaiaops.audit.kinds import KINDS, Finding
from gaiaops.audit.merge import Lines, ranges
from gaiaops.audit.pile import Pile
from gaiaops.audit.platform import Platform, connect
from gaiaops.audit.report import Report
from gaiaops.audit.side import Side
from gaiaops.audit.sources import Wanted
from gaiaops.auth.interface import Look
from gaiaops.errors import GaiaopsError, PartialError, UsageError
from gaiaops.registry.model import Environment, Registry

Progress = Callable[[int, int], None]
ALL_KINDS = frozenset(KINDS)


class _Suspicion(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A suspect, a profile of an environment or a record, and the ids of what was found about it at first."""

    environment: str
    profile: ProfileSuspect | None
    record: RecordSuspect | None
    findings: tuple[str, ...]


class Done(msgspec.Struct, frozen=True):
    """An audit that is done, with the platform still open, for what is to be repaired."""

    report: Report
    platform: Platform


@contextmanager
def audit(
    registry: Registry,
    chosen: Sequence[Environment],
    wanted: Wanted,
    progress: Progress,
    kinds: frozenset[str] = ALL_KINDS,
) -> Iterator[Done]:
    """The report on the chosen environments; its findings can be read as long as the block runs.

    `kinds` are those to look for; `progress` hears (records read, records in all or 0). Raises UsageError for a
    registry that does not allow an audit; what fails on the way stands in the report.
    """
    _check_agreement(registry)
    with connect(registry, wanted, progress) as platform, ExitStack() as stack:
        work = _Audit(platform, chosen, kinds, progress)
        stack.callback(work.close)
        work.go()
        yield Done(work.report, platform)


class _Audit:
    """The steps of one audit and what they share."""

    def __init__(
        self, platform: Platform, chosen: Sequence[Environment], kinds: frozenset[str], progress: Progress
    ) -> None:
        registry = platform.registry
        self.platform, self.registry, self.progress = platform, registry, progress
        self.report = Report([env.name for env in chosen])
        self.homes = of_registry(registry)
        agreed = {env.name: {*registry.audit.agree, *env.agree} for env in registry.environments}
        self.kinds = {name: kinds - agreed.get(name, set()) for name in ("", *self.report.sides)}
        self.names = [name for name in platform.sides if name in self.report.sides]
        everywhere = len(self.names) == len(registry.environments)
        self.comparison = Comparison(self.names, self.homes, blind=platform.source is None, everywhere=everywhere)
        self.suspicions = Pile(_Suspicion)
        self.alone: dict[str, Alone | None] = {}

    def close(self) -> None:
        """Removes what was put aside."""
        for pile in (self.comparison, self.suspicions, self.report, *self.alone.values()):
            if pile is not None:
                pile.close()

    def go(self) -> None:
        began = time.monotonic()
        self._note_source()
        self._compare()
        self.alone = self.platform.each(self._alone)
        self._first_look()
        taken = self.report.seconds["first"] = time.monotonic() - began
        if len(self.suspicions) or any(alone is not None and len(alone) for alone in self.alone.values()):
            # A change under way had the time to arrive on the other side.
            time.sleep(max(0.0, self.registry.audit.recheck_after / 1000 - taken))
            began = time.monotonic()
            self._second_look()
            self.report.seconds["second"] = time.monotonic() - began
        self._note_environments()

    def _note_source(self) -> None:
        report, source = self.report, self.platform.source
        report.source_error = self.platform.source_error
        if source is None:
            report.complete = False
            return
        report.source, report.complete = source.name, source.complete
        report.problems += source.problems
        if self.platform.instead_of:
            report.notes.append(f"read by the API: {self.platform.instead_of}")

    def _note_environments(self) -> None:
        for name, error in self.platform.errors.items():
            if name in self.report.sides:
                self.report.sides[name].error = error
        others = [name for name in self.platform.errors if name not in self.report.sides]
        if others and self.kinds[""] & {"missing-profile", "unprovisioned"}:
            self.report.problems.append(f"{', '.join(others)} did not answer: who is in no environment is not known")

    # ---------------------------------------------------------------- the first look

    def _compare(self) -> None:
        comparison, streams = self.comparison, dict[str, Iterator[Lines]]()
        if self.platform.source is not None:
            streams[AUTH] = self.platform.source.blocks()
        for name in self.names:
            with self.platform.surviving(name):
                streams[name] = self.platform.sides[name].blocks(self.homes)
        for parts in ranges(streams, self._stream_failed):
            comparison.take(parts)
            self.progress(comparison.tallies[AUTH].users, 0)
        comparison.finish()
        self.report.auth = comparison.tallies[AUTH]
        for name in self.names:
            self.report.sides[name].tally = comparison.tallies[name]

    def _stream_failed(self, name: str, error: GaiaopsError) -> None:
        if name != AUTH:
            self.platform.fail(name, error)
            return
        self.platform.lose_source(error)
        self.report.source_error, self.report.complete = error, False
        self.comparison.blind = True

    def _alone(self, side: Side) -> Alone | None:
        if side.env.name not in self.report.sides:
            return None
        alone = Alone(self.registry, side, self.kinds[side.env.name])
        alone.find()
        return alone

    def _first_look(self) -> None:
        for name in self.names:
            with self.platform.surviving(name):
                for batch in self.comparison.profiles[name].batches(look.BATCH):
                    for suspect, findings, belongs in self._profiles(name, batch, self.platform.auth):
                        self.comparison.tallies[name].matched += belongs
                        self._suspect(_Suspicion(name, suspect, None, _ids(findings)))
        if self.platform.source is not None and self.kinds[""] & {"missing-profile", "unprovisioned"}:
            for records in self.comparison.records.batches(look.BATCH):
                for record, findings in self._records(records, self.platform.auth):
                    self._suspect(_Suspicion("", None, record, _ids(findings)))

    def _suspect(self, suspicion: _Suspicion) -> None:
        if suspicion.findings:
            self.suspicions.add(suspicion)

    # ---------------------------------------------------------------- the second look

    def _second_look(self) -> None:
        """New snapshots of everything; what is not found again has vanished."""
        self.platform.each(Side.renew)
        with ExitStack() as stack:
            auth = self.platform.auth
            if self.platform.source is not None and len(self.suspicions):
                auth = stack.enter_context(self.platform.source.again(len(self.suspicions)))
            for batch in self.suspicions.batches(look.BATCH):
                for name in dict.fromkeys(suspicion.environment for suspicion in batch):
                    mine = [suspicion for suspicion in batch if suspicion.environment == name]
                    if not name or name in self.platform.sides:
                        self._again(name, mine, auth)
        found = self.platform.each(lambda side: list(alone.again()) if (alone := self.alone[side.env.name]) else [])
        for name, findings in found.items():
            alone = self.alone[name]
            self.report.again += len(alone) if alone else 0
            self.report.vanished += (len(alone) if alone else 0) - len(findings)
            for finding in findings:
                self.report.add(finding)

    def _again(self, name: str, suspicions: Sequence[_Suspicion], auth: Look) -> None:
        before = {id for suspicion in suspicions for id in suspicion.findings}
        found: list[Finding] = []
        try:
            if name:
                with self.platform.surviving(name):
                    profiles = [suspicion.profile for suspicion in suspicions if suspicion.profile]
                    found = [one for _, some, _ in self._profiles(name, profiles, auth) for one in some]
            else:
                records = [suspicion.record for suspicion in suspicions if suspicion.record]
                found = [one for _, some in self._records(records, auth) for one in some]
        except PartialError as error:
            self.report.complete = False
            self.report.problems.append(f"{len(before)} findings could not be looked at again: {error.message}")
            return
        self.report.again += len(before)
        for finding in found:
            if finding.id in before:
                self.report.add(finding)
        self.report.vanished += len(before - set(_ids(found)))

    # ---------------------------------------------------------------- judging

    def _profiles(
        self, name: str, suspects: Sequence[ProfileSuspect], auth: Look
    ) -> Iterator[tuple[ProfileSuspect, list[Finding], bool]]:
        """Each suspect, what is wrong with it, and whether it belongs to a record."""
        for suspect, seen in look.profiles(self.platform.sides[name], suspects, auth, absence=self.report.complete):
            findings = [finding for finding in of_profile(seen, self.homes) if finding.kind in self.kinds[name]]
            yield suspect, findings, seen.record is not None

    def _records(self, suspects: Sequence[RecordSuspect], auth: Look) -> Iterator[tuple[RecordSuspect, list[Finding]]]:
        """Each suspect and what is wrong with it, of what was asked for."""
        platform = self.platform
        everywhere = platform.everywhere and len(self.report.sides) == len(self.registry.environments)
        for suspect, findings in look.records(platform.sides, suspects, auth, self.homes, everywhere=everywhere):
            yield suspect, [f for f in findings if f.kind in self.kinds.get(f.environment, ())]


def _ids(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(finding.id for finding in findings)


def _check_agreement(registry: Registry) -> None:
    for env in registry.environments:
        for kind in (*registry.audit.agree, *env.agree):
            if kind not in KINDS:
                raise UsageError(f'agree: "{kind}" is no kind of finding', hint=f"kinds: {', '.join(KINDS)}")
