"""Sessions and who blocks whom, as text; made of the documents that `--json` gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gaiaops.inspect.activity.stop import Outcome
from gaiaops.inspect.activity.values import Session
from gaiaops.output.cells import label, width
from gaiaops.output.report import table
from gaiaops.postgres.quoting import literal
from gaiaops.registry.durations import two_units

_LEAST_ROOM = 28  # columns; where a statement has less beside the rest, it gets a line of its own
_MARKED = 8  # pids in a line
_NAMES = ("user", "application", "client", "wait", "database", "gid")


def text(report: Mapping[str, Any], columns: int, *, watched: bool = False) -> str:
    """The report for people, statements cut to so many columns.

    Who blocks whom comes last, next to the prompt; in a frame that is `watched` first, where the screen ends below.
    """
    # The database is a column where it is not always the environment's own.
    named = report["all_databases"] or any(
        one["database"] != report["database"] for one in [*report["activity"], *report["idle_in_transaction"]]
    )
    running = [_running(one, named) for one in report["activity"]]
    idle = [_idle(one, named) for one in report["idle_in_transaction"]]
    trees = [line for root in report["blocking"] or () for line in _tree(root, report["database"], columns, "", "")]
    sections = [
        _section("running", list(_table(running, columns))),
        _section("idle in transaction", list(_table(idle, columns))),
    ]
    if report["prepared"]:
        held = [_held(one) for one in report["prepared"]]
        sections.append(_section("prepared transactions", list(_table(held, columns))))
    blocking = ["blocking: not known"] if report["blocking"] is None else _section("blocking", trees)
    sections.insert(0 if watched else len(sections), blocking)
    lines = list(_head_lines(report))
    airy = False
    for section in sections:  # a blank line around what has more than one
        airy = airy or len(section) > 1
        lines += [*([""] if airy else []), *section]
        airy = len(section) > 1
    return "\n".join(lines)


def _head_lines(report: Mapping[str, Any]) -> Iterator[str]:
    server = f" replica {report['replica']}" if report["replica"] else ""
    states = ", ".join(f"{count} {label(state)}" for state, count in report["connections_by_state"].items())
    yield (
        f"{report['environment']}{server}: {report['connections']} of {report['max_connections']} connections"
        f"{': ' if states else ''}{states}"
    )
    if report["elsewhere"]:
        yield f"{report['elsewhere']} at work in other databases: --all-databases shows them"


def _section(name: str, lines: list[str]) -> list[str]:
    return [name, *lines] if lines else [f"{name}: none"]


def _running(one: Mapping[str, Any], named: bool) -> dict[str, Any]:
    workers = f" +{one['workers']} workers" if one["workers"] else ""
    return {
        "pid": one["pid"], "age": age(one["statement_s"]), "state": f"{one['state'] or '-'}{workers}",
        "wait": one["wait"] or "", **_who(one, named), "statement": one["statement"],
    }  # fmt: skip


def _idle(one: Mapping[str, Any], named: bool) -> dict[str, Any]:
    return {
        "pid": one["pid"], "transaction": age(one["transaction_s"]), "idle": age(one["state_s"]),
        "failed": "yes" if "aborted" in one["state"] else "", **_who(one, named), "last statement": one["statement"],
    }  # fmt: skip


def _held(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "gid": one["gid"], "age": age(one["transaction_s"]), "user": one["user"] or "-",
        "database": one["database"] or "-", "tables": ", ".join(one["tables"]),
    }  # fmt: skip


def _who(one: Mapping[str, Any], named: bool) -> dict[str, Any]:
    who = {
        "user": one["user"] or ("-" if one["kind"] != "autovacuum worker" else "(autovacuum)"),
        "application": one["application"],
        "client": one["client"] or "",
    }
    return {"database": one["database"] or "-", **who} if named else who


def _table(rows: Sequence[Mapping[str, Any]], columns: int) -> Iterator[str]:
    """A table whose last cell has what room there is, or a line of its own; a column that says nothing is left out."""
    if not rows:
        return
    *names, last = rows[0]
    heads = [name for name in names if any(str(row[name]) for row in rows)]
    cells = _narrowed(heads, [[one_line(str(row[name])) for name in heads] for row in rows], columns)
    texts = [one_line(row[last] or "?") for row in rows]
    right = [i for i, name in enumerate(heads) if name in ("pid", "age", "transaction", "idle")]
    lines = table(heads, cells, right=right).splitlines()
    room = columns - max(map(width, lines[:2])) - 3
    if room >= min(_LEAST_ROOM, max(map(width, texts))):
        full = [[*row, _cut(statement, room)] for row, statement in zip(cells, texts, strict=True)]
        yield from table([*heads, last], full, right=right).splitlines()
        return
    yield from lines[:2]
    for line, statement in zip(lines[2:], texts, strict=True):
        yield line
        yield f"     {_cut(statement, columns - 5)}"


def _narrowed(heads: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> list[list[str]]:
    """The cells with names cut, the widest column first, until a line has so many columns; `--json` has them whole."""
    widths = [max(width(head), *(width(row[i]) for row in rows)) for i, head in enumerate(heads)]
    while sum(widths) + 3 * len(widths) - 1 > columns:
        wide = [i for i, head in enumerate(heads) if head in _NAMES and widths[i] > max(8, width(head))]
        if not wide:
            break
        widths[max(wide, key=lambda i: widths[i])] -= 1
    return [[_cut(cell, widths[i]) for i, cell in enumerate(row)] for row in rows]


def _tree(node: Mapping[str, Any], database: str, columns: int, first: str, rest: str) -> Iterator[str]:
    """Somebody who blocks or waits, and everybody behind, drawn as branches."""
    yield first + _head(node, database)
    expanded = [below for below in node["blocks"] if not below["again"]]
    shown = rest + ("│  " if expanded else "   ")
    if node["pid"] is not None:
        statement = one_line(node.get("statement") or "?")
        said = statement if node["state"] == "active" else f"last: {statement}"
        yield shown + _cut(said, max(20, columns - width(shown)))
    if node["behind"]:
        yield from (shown + one_line(line) for line in _advice(node))
    for i, below in enumerate(expanded):
        end = i == len(expanded) - 1
        yield from _tree(below, database, columns, rest + ("└─ " if end else "├─ "), rest + ("   " if end else "│  "))


def _head(node: Mapping[str, Any], database: str) -> str:
    who = [node.get(name) for name in ("user", "application", "client")]
    place = node.get("database")
    parts = [_doing(node), *who, f'database "{place}"' if place and place != database else ""]
    return one_line(", ".join(str(part) for part in parts if part))


def _doing(node: Mapping[str, Any]) -> str:
    if node["pid"] is None:
        name = literal(node["prepared"]) if node["prepared"] else "(which is not known)"
        return f"prepared transaction {name} {_for(node.get('transaction_s'))}".rstrip()
    waits = node["waits_for"]
    if waits:
        circle = " in a circle (a deadlock, unless the server breaks it)" if node["circle"] else ""
        return f"{node['pid']} waits {_for(waits['waiting_s'])} for {waits['lock']}{circle}".replace("  ", " ")
    state = node["state"] or node.get("kind") or "?"
    if state.startswith("idle in transaction"):
        idle = age(node["state_s"])
        return f"{node['pid']} {state} {_for(node['transaction_s'])} (idle {idle})"
    since = node.get("transaction_s") or node.get("statement_s")
    return f"{node['pid']} {state} {_for(since)}".rstrip()


def _for(seconds: float | None) -> str:
    return "" if seconds is None else age(seconds)


def _advice(node: Mapping[str, Any]) -> Iterator[str]:
    behind = f"{node['behind']} behind it"
    if node["frees"] != node["behind"]:
        behind += f", {node['frees'] or 'none'} of them waiting for it alone"
    yield "; ".join(filter(None, (behind, node["why"])))
    again = [str(below["pid"]) for below in node["blocks"] if below["again"]]
    if again:
        more = f" and {len(again) - _MARKED} more" if len(again) > _MARKED else ""
        yield f"also waiting for this one, and shown elsewhere: {', '.join(again[:_MARKED])}{more}"
    if node["command"]:
        yield node["command"]


def one_line(text: str) -> str:
    """Any text on one line, fit for a screen, white space collapsed.

    >>> one_line("select\\n  1\\x1b")
    'select 1\\\\x1b'
    """
    return label(" ".join(text.split()))


def _cut(text: str, columns: int) -> str:
    """A text of at most so many columns; what is cut ends with an ellipsis.

    >>> _cut("abcdef", 4), _cut("abc", 4)
    ('abc…', 'abc')
    """
    if width(text) <= columns:
        return text
    text = text[:columns]
    while width(text) >= columns and text:
        text = text[:-1]
    return text + "…"


def age(seconds: float | None) -> str:
    """A time in words, in two units at most.

    >>> [age(s) for s in (None, 0.04, 3.2, 59.9, 192, 3725, 90_000)]
    ['-', '0.0s', '3.2s', '59s', '3min 12s', '1h 2min', '1d 1h']
    """
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    return two_units(int(seconds))


def session_text(one: Session, environment: str, behind: int) -> str:
    """A session for somebody who decides about its end: who, since when, what."""
    who = ", ".join(filter(None, (one.user, one.application, one.client, f'database "{one.database}"')))
    if one.running:
        doing = f"runs {age(one.statement_s)} already"
    elif one.in_transaction:
        doing = f"{one.state} {age(one.transaction_s)} (idle {age(one.state_s)})"
    else:
        doing = f"{one.state} {age(one.state_s)}"
    waiting = f"\n  {behind} wait behind it" if behind else ""
    verb = "" if one.running else "last: "
    return (
        f"session {one.pid} of {environment}: {doing}; {one_line(who)}\n"
        f"  {verb}{one_line(one.statement or '?')}{waiting}"
    )


def outcome_text(one: Session, action: str, outcome: Outcome) -> str:
    """What became of a session, in a line."""
    if outcome.state is None:
        return f"{'cancelled' if action == 'cancel' else 'terminated'}: session {one.pid} is gone"
    if outcome.state == "active":
        return f"cancelled: session {one.pid} runs another statement by now"
    aborted = " until its client ends the transaction" if "transaction" in outcome.state else ""
    return f"cancelled: session {one.pid} is {outcome.state}{aborted}"
