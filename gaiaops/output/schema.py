"""Schemas, for people: the declared tables as a matrix, a comparison in the manner of diff."""

from __future__ import annotations

import difflib
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from gaiaops.output.cells import label, safe, width
from gaiaops.output.report import table

_SHOWN = 40  # lines of a long text's differences, unless all are asked for
_NONE = "(none)"
_WIDTH = 80
_FINDINGS = {"missing": "missing from", "unexpected": "unexpected", "planned-present": "present already, of planned"}
_COLORS = {"-": "\x1b[31m", "+": "\x1b[32m", "~": "\x1b[33m", "@": "\x1b[36m"}
_RESET = "\x1b[0m"
_SIGNS = {"only-left": "-", "only-right": "+", "differs": "~"}
# What an object that only one side has is shown with; the rest is in the JSON document.
_TELLING = (
    "definition", "type", "labels", "attributes", "subtype", "nullability", "default", "generated", "identity",
    "returns", "language", "version", "partition of", "bounds", "partitioned by", "owned by", "on", "for", "using",
    "with check", "by", "function", "tables", "server", "wrapper", "state",
)  # fmt: skip
_BARE = frozenset(("definition", "type", "labels", "attributes", "subtype", "nullability", "bounds"))
_USUAL = frozenset((("nullability", "NULL"), ("state", "enabled")))

Document = Mapping[str, Any]


def matrix_text(environments: Sequence[Document]) -> str:
    """Groups against environments: tables found of those declared; `-` where an environment could not be read."""
    read = next((one for one in environments if one["error"] is None), None)
    if read is None:
        return ""
    rows: list[list[str]] = []
    for i, group in enumerate(read["groups"]):
        name = f"{group['group']} (planned)" if group["planned"] else group["group"]
        found = ["-" if one["error"] else f"{one['groups'][i]['found']}/{group['expected']}" for one in environments]
        rows.append([name, *found])
    return table(["tables", *(one["environment"] for one in environments)], rows, right=range(1, len(rows[0])))


def findings_text(environments: Sequence[Document]) -> str:
    """For each environment the count, what is wrong, and what was left out."""
    lines = []
    for one in environments:
        if one["error"] is None:
            lines.append(f"{one['environment']}: {_count(one)}")
            lines += [*_findings(one["findings"]), *(f"  {label(text)}" for text in _left_out(one))]
    return "\n".join(lines)


def _findings(findings: Sequence[Document]) -> Iterator[str]:
    """Tables of one group together; those with a note have a line of their own."""
    for (severity, finding, group), some in groupby(findings, key=itemgetter("severity", "finding", "group")):
        listed = list(some)
        head = f"  {severity}: {_FINDINGS[finding]}{f' {group}' if group else ''}: "
        plain = [label(one["table"]) for one in listed if not one["note"]]
        if plain:
            text = ", ".join(plain)
            yield textwrap.fill(
                text,
                _WIDTH,
                initial_indent=head,
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        yield from (f"{head}{label(one['table'])}; {label(one['note'])}" for one in listed if one["note"])


def _count(one: Document) -> str:
    planned = one["planned_expected"]
    more = f"; {one['declared']} with the {planned} planned" if planned else ""
    return f"{one['deployed_found']} of {one['deployed_expected']} deployed{more}"


def _left_out(one: Document) -> Iterator[str]:
    if one["migration_tables"]:
        yield f"the migration tool's own: {', '.join(one['migration_tables'])}"
    if one["partitions"]:
        yield f"not judged: {_counted(one['partitions'], 'partition')}"
    for name, count in one["extension_tables"].items():
        yield f"not judged: {_counted(count, 'table')} of the extension {name}"
    for name, count in one["other_schemas"].items():
        yield f"not judged: {_counted(count, 'table')} in schema {name}, which is not on the search path"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def diff_text(document: Document, *, color: bool, everything: bool) -> Iterator[str]:
    """A comparison, line by line: `-` is the left side's, `+` the right side's, `~` both have and it differs."""
    sides = [document[side] for side in ("left", "right")]
    longest = max(width(side["environment"]) for side in sides)
    for sign, side in zip("-+", sides, strict=True):
        padding = " " * (longest - width(side["environment"]))
        yield _painted(sign, f"{sign * 3} {side['environment']}{padding}  PostgreSQL {side['server_version']}", color)
    shown = None if everything else _SHOWN
    tight = False
    for group, differences in groupby(document["differences"], key=_group):
        listed = list(differences)
        was_tight, tight = tight, bool(group) and len(listed) == 1 and listed[0]["change"] != "differs"
        if not (tight and was_tight):
            yield ""
        if group and not _is_head(listed[0]):
            yield f"  {label(group)}"
        for one in listed:
            indent = "" if not group or _is_head(one) else "  "
            for sign, line in _difference(one, shown):
                yield indent + _painted(sign, line, color)
    if document["differences"]:
        yield ""
    yield summary(document)


def summary(document: Document) -> str:
    """`12 differences in 5 tables between dev and staging`."""
    differences = document["differences"]
    names = f"{document['left']['environment']} and {document['right']['environment']}"
    unread = " in what could be read" if document["unread"] else ""
    if not differences:
        return f"no difference between {names}{unread}"
    inside = [one for one in differences if _group(one)]
    tables = _counted(len({_group(one) for one in inside}), "table")
    where = f" in {tables}" if len(inside) == len(differences) else f" ({len(inside)} in {tables})" if inside else ""
    return f"{_counted(len(differences), 'difference')}{where} between {names}{unread}"


def _group(one: Document) -> str:
    group: str = one["group"]
    return group


def _is_head(one: Document) -> bool:
    """The difference of a table itself, under which its parts come."""
    return not one["table"] and bool(one["group"])


def _difference(one: Document, shown: int | None) -> Iterator[tuple[str, str]]:
    """Its lines, each with the sign that says its colour."""
    sign = _SIGNS[one["change"]]
    head = f"{sign} {one['kind'].replace('-', ' ')} {label(one['name'])}"
    if one["change"] != "differs":
        said = _said(one["right"] if one["left"] is None else one["left"])
        yield sign, f"{head}  {said}" if said else head
        return
    yield sign, head
    left, right = one["left"], one["right"]
    facts = list(dict.fromkeys((*left, *right)))
    short = [name for name in facts if "\n" not in left.get(name, "") + right.get(name, "")]
    longest = max((width(name) for name in short), default=0)
    for name in facts:
        if name in short:
            for mark, facts_of in (("-", left), ("+", right)):
                padding = " " * (longest - width(name))
                yield mark, f"    {mark} {name}{padding}  {label(facts_of.get(name, _NONE))}"
        else:
            yield "", f"    {name}"
            yield from _unified(left.get(name, ""), right.get(name, ""), shown)


def _unified(left: str, right: str, shown: int | None) -> Iterator[tuple[str, str]]:
    """The differing lines of a long text, with two lines around them."""
    lines = list(difflib.unified_diff(left.split("\n"), right.split("\n"), n=2, lineterm=""))[2:]
    for line in lines[:shown]:
        sign = line[:1]
        yield sign, f"      {safe(line) if sign == '@' else f'{sign} {safe(line[1:])}'}".rstrip()
    left_over = len(lines) - len(lines[:shown])
    if left_over:
        yield "", f"      … {_counted(left_over, 'line')} more: --full shows them"


def _said(facts: Mapping[str, str]) -> str:
    parts = []
    for name in _TELLING:
        value = facts.get(name)
        if value is None or (name, value) in _USUAL:
            continue
        if "\n" in value.strip():
            value = f"({_counted(value.strip().count(chr(10)) + 1, 'line')})"
        parts.append(value.strip() if name in _BARE else f"{name} {value}")
    return label(" ".join(parts))


def _painted(sign: str, line: str, color: bool) -> str:
    return f"{_COLORS[sign]}{line}{_RESET}" if color and sign in _COLORS else line


def unread_lines(unread: Iterable[Document]) -> Iterator[tuple[str, str]]:
    """(environment, what could not be read there and why), what has one reason in one line."""
    together: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in unread:
        together[one["environment"], one["table"], one["reason"]] += one["kinds"]
    for (environment, table_name, reason), names in together.items():
        kinds = ", ".join(name.replace("-", " ") for name in names)
        what = f"{table_name} ({kinds})" if table_name else f"any {kinds}"
        yield environment, label(f"could not read {what}: {reason}")
