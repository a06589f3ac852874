"""An audit as text and as documents with stable field names."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gaiaops.output.cells import label, width
from gaiaops.output.report import table

_COMMANDS = 3
_CHUNK = 1000  # rows of a table where there is no screen: its size bounds the memory


class Screen(NamedTuple):
    """What fits on a terminal."""

    rows: int
    columns: int


def csv_row(finding: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """A finding's cells; the evidence is `side: value; side: value`, the shards stand with commas between."""
    cells = {**finding, "evidence": evidence_text(finding["evidence"]), "shards": ",".join(finding.get("shards", ()))}
    return [str(cells[name]) for name in columns]


def csv_line(cells: Sequence[str]) -> bytes:
    """A line of CSV.

    >>> csv_line(["a", "b\\rc"])
    b'"a","b\\rc"\\n'
    """
    text = io.StringIO(newline="")
    # Python's writer leaves a lone carriage return unquoted, and no reader forgives that.
    bare = any("\r" in cell for cell in cells)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL).writerow(cells)
    return text.getvalue().encode()


def csv_columns(*, shards: bool) -> list[str]:
    """The columns of CSV; `shards` only where an environment has some."""
    where = ["environment", "shards"] if shards else ["environment"]
    return ["id", "kind", "severity", *where, "subject", "address", "evidence", "command"]


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
    rows.append(["matched", *_cells(columns, _matched)])
    for kind in kinds:
        counts = [side["kinds"].get(kind, 0) if side else None for side in columns]
        if any(counts):
            rows.append([kind, *("-" if count is None else count or "" for count in counts)])
    return table(heads, rows, right=range(1, len(heads)))


def _cells(columns: Iterable[Mapping[str, Any] | None], value: Any) -> list[object]:
    return ["-" if side is None else value(side) for side in columns]


def _matched(side: Mapping[str, Any]) -> object:
    """How many profiles belong to a record; nothing for Supabase itself, which has records."""
    matched = side.get("matched", "")
    return "-" if matched is None else matched


def kind_texts(head: str, findings: Iterable[Mapping[str, Any]], count: int, screen: Screen | None) -> Iterator[str]:
    """The findings of one kind: a table, how many more there are, and what to do next.

    A screen takes its number of rows, in its width; a file or a pipe everything, in tables of bounded size.
    """
    left, some = count, iter(findings)
    while shown := list(itertools.islice(some, screen.rows if screen else _CHUNK)):
        left -= len(shown)
        yield _table_text(head, shown, left if screen else 0, screen)
        head = ""
        if screen:
            break


def _table_text(head: str, shown: Sequence[Mapping[str, Any]], left: int, screen: Screen | None) -> str:
    rows = []
    for finding in shown:
        who = finding["address"] or finding["subject"]
        said = {side: value for side, value in finding["evidence"].items() if value != who}
        new = "" if finding["known"] is None else "known" if finding["known"] else "new"
        rows.append((_where(finding), label(who), label(evidence_text(said)), new))
    heads = ["environment", "who or what", "evidence", "baseline"]
    used = 4 if any(row[3] for row in rows) else 3
    if screen:
        other = [max(width(heads[i]), *(width(row[i]) for row in rows)) + 3 for i in (0, *range(3, used))]
        rows = _fit(rows, screen.columns - sum(other) - 5)
    parts = [head, table(heads[:used], [row[:used] for row in rows])]
    if left > 0:
        parts.append(f"… and {left} more (--json or --csv has all)")
    commands = list(dict.fromkeys(finding["command"] for finding in shown if finding["command"]))
    parts += [f"  {label(command)}" for command in commands[:_COMMANDS]]
    return "\n".join(parts)


def _where(finding: Mapping[str, Any]) -> str:
    """
    >>> _where({"environment": "dev", "shards": ["eu", "us"]}), _where({"environment": ""})
    ('dev/eu,us', '-')
    """
    return "/".join(filter(None, (finding["environment"], ",".join(finding.get("shards", ()))))) or "-"


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
