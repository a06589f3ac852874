"""An audit as text and as documents with stable field names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gaiaops.output.cells import label, width
from gaiaops.output.report import table

_COMMANDS = 3


class Screen(NamedTuple):
    """What fits on a terminal."""

    rows: int
    columns: int


def finding_document(finding: Mapping[str, Any]) -> dict[str, Any]:
    """The stable field names of a finding; `known` is whether the baseline has it."""
    names = ("id", "kind", "severity", "environment", "subject", "address", "evidence", "command", "known")
    return {name: finding[name] for name in names}


def csv_row(finding: Mapping[str, Any]) -> list[str]:
    """A finding's cells; the evidence is `side: value; side: value`."""
    names = ("id", "kind", "severity", "environment", "subject", "address")
    return [*(str(finding[name]) for name in names), evidence_text(finding["evidence"]), finding["command"]]


CSV_COLUMNS = ("id", "kind", "severity", "environment", "subject", "address", "evidence", "command")


def matrix_text(report: Mapping[str, Any], kinds: Sequence[str]) -> str:
    """Environments against users by tag, matched, and each kind that was found."""
    sides = report["environments"]
    heads = ["", "supabase", *(side["environment"] for side in sides)]
    columns = [report["auth"] if report["source"] else None, *(None if side["error"] else side for side in sides)]
    rows: list[list[object]] = [["users", *_cells(columns, lambda side: side["users"])]]
    tags = dict.fromkeys(tag for side in columns if side for tag in side["by_tag"])
    for tag in sorted(tags, key=lambda tag: (tag == "ambiguous", tag)):
        name = {"": "  no tag", "ambiguous": "  two tags"}.get(tag, f"  +{tag}")
        rows.append([name, *_cells(columns, lambda side, tag=tag: side["by_tag"].get(tag, 0))])
    rows.append(["matched", *_cells(columns, lambda side: side.get("matched", ""))])
    for kind in kinds:
        counts = [side["kinds"].get(kind, 0) if side else None for side in columns]
        if any(counts):
            rows.append([kind, *("-" if count is None else count or "" for count in counts)])
    return table(heads, rows, right=range(1, len(heads)))


def _cells(columns: Iterable[Mapping[str, Any] | None], value: Any) -> list[object]:
    return ["-" if side is None else value(side) for side in columns]


def kind_text(head: str, findings: Iterable[Mapping[str, Any]], count: int, screen: Screen | None) -> str:
    """The findings of one kind: a table, how many more there are, and what to do next.

    A screen takes its number of rows, in its width; a file or a pipe everything.
    """
    shown = list(itertools.islice(findings, screen.rows if screen else None))
    rows = []
    for finding in shown:
        who = finding["address"] or finding["subject"]
        said = {side: value for side, value in finding["evidence"].items() if value != who}
        new = "" if finding["known"] is None else "known" if finding["known"] else "new"
        rows.append((finding["environment"] or "-", label(who), label(evidence_text(said)), new))
    heads = ["environment", "who or what", "evidence", "baseline"]
    used = 4 if any(row[3] for row in rows) else 3
    if screen:
        rows = _fit(rows, screen.columns - sum(len(name) + 3 for name in (heads[0], *heads[3:used])) - 4)
    parts = [head, table(heads[:used], [row[:used] for row in rows])]
    if count > len(shown):
        parts.append(f"… and {count - len(shown)} more (--json or --csv has all)")
    commands = list(dict.fromkeys(finding["command"] for finding in shown if finding["command"]))
    parts += [f"  {label(command)}" for command in commands[:_COMMANDS]]
    return "\n".join(parts)


def _fit(rows: Sequence[tuple[str, str, str, str]], columns: int) -> list[tuple[str, str, str, str]]:
    """The rows with their two long cells cut to so many columns together; what is cut ends with an ellipsis."""
    who = max((width(row[1]) for row in rows), default=0)
    said = max((width(row[2]) for row in rows), default=0)
    if who + said > columns:
        who = min(who, max(columns - said, columns // 2))
        said = max(columns - who, 12)
    return [(row[0], _cut(row[1], who), _cut(row[2], said), row[3]) for row in rows]


def evidence_text(evidence: Mapping[str, str]) -> str:
    """
    >>> evidence_text({"auth": "absent", "profile": "a@x"})
    'auth: absent; profile: a@x'
    """
    return "; ".join(f"{side}: {value}" for side, value in evidence.items())


def _cut(text: str, columns: int) -> str:
    """A text of at most so many columns.

    >>> _cut("abcdef", 4), _cut("abc", 4)
    ('abc…', 'abc')
    """
    if width(text) <= columns:
        return text
    while width(text) >= columns and text:
        text = text[:-1]
    return text + "…"
