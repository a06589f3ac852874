"""Health reports for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from gaiaops.inspect.health.checks import UNREACHED, Result, Verdict
from gaiaops.inspect.health.words import age, number
from gaiaops.output.cells import safe
from gaiaops.output.report import latency, size

_COLORS = {Verdict.OK: 32, Verdict.UNKNOWN: 35, Verdict.WARN: 33, Verdict.CRITICAL: 31}
_NAME, _VALUE = 22, 17


def text(results: Sequence[Result], *, every: bool, color: bool) -> str:
    """The report: per environment a headline, what is wrong first, and the rest on one line unless `every`."""
    parts = []
    for environment, group in groupby(results, key=lambda result: result.where):
        parts.append("\n".join(_environment(environment, list(group), every=every, color=color)))
    return "\n\n".join(parts)


def _environment(name: str, results: list[Result], *, every: bool, color: bool) -> list[str]:
    counts = [
        (verdict, sum(result.verdict is verdict for result in results)) for verdict in sorted(Verdict, reverse=True)
    ]
    summary = ", ".join(f"{found} {verdict.word}" for verdict, found in counts if found)
    servers = [one.text for one in results if one.check.endswith("reachable") and one.value is not None]
    listed = [one for one in results if one.verdict >= Verdict.WARN or (every and one.text != UNREACHED)]
    lines = ["  ".join(filter(None, (name, ", ".join(filter(None, servers)), summary)))]
    for result in sorted(listed, key=lambda result: -result.verdict):
        lines += _lines(result, color=color)
    return lines + _folded([one for one in results if one.verdict is Verdict.UNKNOWN and one not in listed])


def _lines(result: Result, *, color: bool) -> list[str]:
    verdict = f"{result.verdict.word:<8}"
    if color:
        verdict = f"\x1b[{_COLORS[result.verdict]}m{verdict}\x1b[0m"
    head = f"  {verdict} {result.check:<{_NAME}} {shown(result.value, result.unit):<{_VALUE}}"
    bad = result.verdict >= Verdict.WARN
    about = safe(result.text)
    lines = [f"{head} {about}".rstrip()]
    if bad:
        lines += [f"{'':>11}{safe(detail)}" for detail in result.details]
        limit = thresholds(result)
        lines += [f"{'':>11}{limit}"] if limit and result.value is not None else []
        lines += [f"{'':>11}next: {safe(result.next)}"] if result.next else []
        lines += [f"{'':>11}then: {safe(result.then)};"] if result.then else []
    return lines


def _folded(results: list[Result]) -> list[str]:
    """Unknown checks by their reason."""
    lines = []
    for reason in dict.fromkeys(result.text for result in results):
        names = [result.check for result in results if result.text == reason]
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"  unknown  {some}: {safe(reason)}")
    return lines


def shown(value: float | None, unit: str) -> str:
    """A value with its unit.

    >>> shown(3720, "s"), shown(12.34, "%"), shown(2048, "bytes a day"), shown(0.42, "ms"), shown(None, "s")
    ('1 h 2 min', '12.3 %', '2.0 kB a day', '0.4 ms', '-')
    """
    if value is None:
        return "-"
    if unit == "s":
        return age(value)
    if unit == "ms":
        return latency(value)
    if unit.startswith("bytes"):
        return size(int(value)) + unit.removeprefix("bytes")
    if value == 1 and unit.endswith("s"):
        unit = {"indexes": "index"}.get(unit, unit[:-1])
    return f"{number(value)} {unit}"


def thresholds(result: Result) -> str:
    """From where on a value is bad, in words; empty where nothing is."""
    word = "down to" if result.falling else "from"
    given = (("warn", result.warn), ("critical", result.critical))
    return ", ".join(f"{name} {word} {shown(limit, result.unit)}" for name, limit in given if limit is not None)


def document(results: Sequence[Result]) -> dict[str, Any]:
    """`health --json`."""
    return {
        "checks": [
            {
                "environment": result.environment.partition("/")[0],
                "shard": result.environment.partition("/")[2] or None,
                "server": result.server,
                "replica": result.replica or None,
                "check": result.check,
                "verdict": result.verdict.word,
                "value": result.value if result.value is None else round(result.value, 3),
                "unit": result.unit,
                "threshold": {"warn": result.warn, "critical": result.critical, "falling": result.falling},
                "message": result.text,
                "details": list(result.details),
                "next": result.next,
                "then": result.then,
            }
            for result in results
        ]
    }
