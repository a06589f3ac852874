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

from gaiaops.audit import look, notes
from gaiaops.audit.alone import Alone
from gaiaops.audit.compare import AUTH, Comparison, ProfileSuspect, RecordSuspect
from gaiaops.audit.homes import of_registry
from gaiaops.audit.judge import of_profile
from gaiaops.audit.kinds import KINDS, Finding, agreed, check_agreement
from gaiaops.audit.merge import Lines, ranges
from gaiaops.audit.pile import Pile
from gaiaops.audit.platform import Guarded, Nobody, Platform, SourceFailedError, check_whole, connect
from gaiaops.audit.report import Report
from gaiaops.audit.side import Side
from gaiaops.audit.sources import Wanted
from gaiaops.auth.interface import Look
from gaiaops.errors import GaiaopsError, PartialError
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
    registry that does not allow an audit, and for a shard; what fails on the way stands in the report.
    """
    check_agreement(registry)
    check_whole(chosen)
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
        self.report = Report([env.name for env in chosen], [env.name for env in chosen if env.shards])
        self.homes = of_registry(registry)
        agreement = agreed(registry)
        self.kinds = {name: kinds - agreement[name] for name in ("", *self.report.sides)}
        self.names = [name for name in platform.sides if name in self.report.sides]
        everywhere = len(self.names) == len(registry.environments)
        self.comparison = Comparison(self.names, self.homes, blind=platform.source is None, everywhere=everywhere)
        self.suspicions = Pile(_Suspicion)
        self.alone: dict[str, Alone] = {}
        self._never_had_one = False

    def close(self) -> None:
        """Removes what was put aside."""
        self.comparison.close()
        self.suspicions.close()
        self.report.close()
        for alone in self.alone.values():
            alone.close()

    def go(self) -> None:
        began = time.monotonic()
        notes.of_source(self.report, self.platform)
        self._compare()
        self.alone = self.platform.each(self._alone)
        self._first_look()
        taken = self.report.seconds["first"] = time.monotonic() - began
        if len(self.suspicions) or any(alone.count for alone in self.alone.values()):
            # A change under way had the time to arrive on the other side.
            time.sleep(max(0.0, self.registry.audit.recheck_after / 1000 - taken))
            began = time.monotonic()
            self._second_look()
            self.report.seconds["second"] = time.monotonic() - began
        notes.of_environments(self.report, self.platform, self.alone, missed=self._wants_records)
        self.report.looked_for = notes.looked_for(self.report, self.platform, self.kinds, self.alone)

    @property
    def _wants_records(self) -> bool:
        """Whether records without a profile are of interest."""
        wanted = set[str]().union(*self.kinds.values())
        return bool(wanted & {"missing-profile", "unprovisioned"})

    # ---------------------------------------------------------------- the first look

    def _compare(self) -> None:
        comparison = self.comparison
        for parts in ranges(self._streams(), self._stream_failed):
            comparison.take(parts)
            self.progress(comparison.tallies[AUTH].users, 0)
        comparison.finish()
        if comparison.again:
            for parts in ranges(self._streams(), self._stream_failed):
                comparison.fold(parts)
        self.report.auth = comparison.tallies[AUTH]
        for name in self.names:
            self.report.sides[name].tally = comparison.tallies[name]

    def _streams(self) -> dict[str, Iterator[Lines]]:
        streams = dict[str, Iterator[Lines]]()
        if self.platform.source is not None:
            try:
                streams[AUTH] = self.platform.source.blocks()
            except GaiaopsError as error:
                self._lose_source(error)
        for name in self.names:
            with self.platform.surviving(name):
                if name in self.platform.sides:
                    streams[name] = self.platform.sides[name].blocks(self.homes)
        return streams

    def _stream_failed(self, name: str, error: GaiaopsError) -> None:
        if name == AUTH:
            self._lose_source(error)
        else:
            self.platform.fail(name, error)

    def _lose_source(self, error: GaiaopsError) -> None:
        """From here on nobody is known to be absent."""
        self.platform.lose_source(error)
        self.report.source, self.report.source_error, self.report.complete = "", error, False
        self.comparison.blind = True

    def _alone(self, side: Side) -> Alone:
        """Of an environment that was not chosen, nothing is looked for."""
        alone = Alone(self.registry, side, self.kinds.get(side.env.name, ()))
        alone.find()
        return alone

    def _first_look(self) -> None:
        comparison = self.comparison
        for name in [name for name in self.names if name in self.platform.sides]:
            with self.platform.surviving(name):
                for some in comparison.profiles[name].batches(look.BATCH):
                    batch = [comparison.widened(name, suspect) for suspect in some]
                    for suspect, findings, belongs in self._judged(name, batch):
                        comparison.tallies[name].matched += belongs
                        self._suspect(_Suspicion(name, suspect, None, _ids(findings)))
        if self._wants_records:
            for missed in comparison.records.batches(look.BATCH):
                if self.platform.source is None:
                    break
                records = [comparison.widened_record(record) for record in missed]
                try:
                    for record, findings in self._records(records, self.platform.auth):
                        self._suspect(_Suspicion("", None, record, _ids(findings)))
                except SourceFailedError as failed:
                    self._lose_source(failed.error)

    def _judged(
        self, name: str, suspects: Sequence[ProfileSuspect]
    ) -> list[tuple[ProfileSuspect, list[Finding], bool]]:
        """As `_profiles`; where the source fails under it, by what needs no auth record."""
        try:
            return list(self._profiles(name, suspects, self.platform.auth))
        except SourceFailedError as failed:
            self._lose_source(failed.error)
            return list(self._profiles(name, suspects, Nobody()))

    def _suspect(self, suspicion: _Suspicion) -> None:
        if suspicion.findings:
            self.suspicions.add(suspicion)

    # ---------------------------------------------------------------- the second look

    def _second_look(self) -> None:
        """New snapshots of everything; what is not found again has vanished."""
        sides = len(self.platform.sides)
        self._never_had_one = self.platform.source is None  # then nothing that was found needs one
        self.platform.each(lambda side: side.renew())
        with ExitStack() as stack:
            auth = self._fresh_source(stack)
            for batch in self.suspicions.batches(look.BATCH):
                for name in dict.fromkeys(suspicion.environment for suspicion in batch):
                    mine = [suspicion for suspicion in batch if suspicion.environment == name]
                    if not name or name in self.platform.sides:
                        self._again(name, mine, Nobody() if self.platform.source is None else auth, sides)
        for name, findings in self.platform.each(lambda side: list(self.alone[side.env.name].again())).items():
            before = self.alone[name].count
            self.report.again += before
            self.report.vanished += before - len(findings)
            for finding in findings:
                self.report.add(finding)

    def _fresh_source(self, stack: ExitStack) -> Look:
        if self.platform.source is not None and len(self.suspicions):
            try:
                return stack.enter_context(self.platform.source.again(len(self.suspicions)))
            except GaiaopsError as error:
                self._lose_source(error)
        return self.platform.auth

    def _again(self, name: str, suspicions: Sequence[_Suspicion], auth: Look, sides: int) -> None:
        """Looks at suspicions of one environment, or at records, once more; `sides` is how many could be read."""
        before = {id for suspicion in suspicions for id in suspicion.findings}
        found: list[Finding] | None = None
        told = self.platform.source is not None or self._never_had_one
        try:
            found = self._found_again(name, suspicions, auth)
        except SourceFailedError as failed:
            told = False
            self._not_told(failed.error)
            found = self._found_again(name, suspicions, Nobody())
        if found is None:  # the environment failed
            return
        self.report.again += len(before)
        again = [finding for finding in found if finding.id in before]
        for finding in again:
            self.report.add(finding)
        unseen = len(before - set(_ids(again)))
        if unseen and not told:
            self.report.problems.append(f"{unseen} findings could not be looked at again")
        # Who is missed where depends on all environments: one that failed meanwhile makes nothing vanish.
        elif name or len(self.platform.sides) == sides:
            self.report.vanished += unseen

    def _found_again(self, name: str, suspicions: Sequence[_Suspicion], auth: Look) -> list[Finding] | None:
        if not name:
            records = [suspicion.record for suspicion in suspicions if suspicion.record]
            return [one for _, some in self._records(records, auth) for one in some]
        with self.platform.surviving(name):
            profiles = [suspicion.profile for suspicion in suspicions if suspicion.profile]
            return [one for _, some, _ in self._profiles(name, profiles, auth) for one in some]
        return None

    def _not_told(self, error: GaiaopsError) -> None:
        """The source could not say what some are now; a server that is gone will not say more."""
        if not isinstance(error, PartialError):
            self._lose_source(error)
        elif error.message not in self.report.problems:
            self.report.complete = False
            self.report.problems.append(error.message)

    # ---------------------------------------------------------------- judging

    def _profiles(
        self, name: str, suspects: Sequence[ProfileSuspect], auth: Look
    ) -> Iterator[tuple[ProfileSuspect, list[Finding], bool]]:
        """Each suspect, what is wrong with it, and whether it belongs to a record. Raises SourceFailedError."""
        side, absence = self.platform.sides[name], self.report.complete
        for suspect, copies in look.profiles(side, suspects, Guarded(auth), absence=absence):
            findings = [one for seen in copies for one in of_profile(seen, self.homes) if one.kind in self.kinds[name]]
            yield suspect, findings, copies[0].record is not None

    def _records(self, suspects: Sequence[RecordSuspect], auth: Look) -> Iterator[tuple[RecordSuspect, list[Finding]]]:
        """Each suspect and what is wrong with it, of what was asked for. Raises SourceFailedError."""
        platform = self.platform
        found = look.records(
            platform.sides,
            suspects,
            Guarded(auth),
            self.homes,
            everywhere=platform.everywhere and len(self.report.sides) == len(self.registry.environments),
            surviving=platform.surviving,
        )
        for suspect, findings in found:
            yield suspect, [f for f in findings if f.kind in self.kinds.get(f.environment, ())]


def _ids(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(finding.id for finding in findings)
