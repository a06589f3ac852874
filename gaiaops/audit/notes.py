"""What an audit could not read, in words, and what it therefore does not know."""

from __future__ import annotations

from collections.abc import Mapping

from gaiaops.audit.alone import Alone
from gaiaops.audit.baseline import WITHOUT_AUTH
from gaiaops.audit.platform import Platform
from gaiaops.audit.report import Report

_OF_RECORDS = {"missing-profile", "unprovisioned"}


def of_source(report: Report, platform: Platform) -> None:
    """Tells the report how Supabase is read, and how far it can be."""
    report.source_error = platform.source_error
    if platform.source is None:
        report.complete = False
        return
    report.source, report.complete = platform.source.name, platform.source.complete
    report.problems += platform.source.problems
    if platform.instead_of:
        report.notes.append(f"read by the API: {platform.instead_of}")


def of_environments(report: Report, platform: Platform, alone: Mapping[str, Alone], *, missed: bool) -> None:
    """Tells the report which environments failed; `missed` is whether it matters who is in none of them."""
    for name, error in platform.errors.items():
        if name in report.sides:
            report.sides[name].error = error
    others = [error.environment for name, error in platform.errors.items() if name not in report.sides]
    if others and missed:
        report.problems.append(f"{', '.join(others)} did not answer: who is in no environment is not known")
    for name, one in alone.items():
        report.problems += [f"[{name}] {problem}" for problem in one.problems]


def looked_for(
    report: Report, platform: Platform, kinds: Mapping[str, frozenset[str]], alone: Mapping[str, Alone]
) -> dict[str, frozenset[str]]:
    """The kinds whose absence from the report means something, by environment; "" is for what belongs to none."""
    found = {}
    for name, wanted in kinds.items():
        known = set(wanted) if name else set(wanted) & {"unprovisioned"}
        if name:
            one = alone.get(name)
            if one is None or report.sides[name].error is not None:
                continue
            known -= set() if one.looked_at_cache else {"stale-cache"}
        elif len(report.sides) != len(platform.registry.environments):
            continue
        if not report.complete:
            known &= WITHOUT_AUTH
            # Without records, copies of a profile that differ from shard to shard do not stand out.
            known -= {"duplicate-profile"} if name in report.sharded else set()
        if not platform.everywhere:
            known -= _OF_RECORDS
        found[name] = frozenset(known)
    return found
