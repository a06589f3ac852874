"""A repair's plan, its run and its undoing as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaiaops.output.cells import label
from gaiaops.output.report import table

SHOWN = 50


def plan_text(document: Mapping[str, Any]) -> str:
    """What a plan says, for people."""
    changes, left = document["changes"], document["left"]
    lines = [
        f"repair {document['id']}: {len(changes)} of {len(changes) + len(left)} findings of {document['environment']}"
        f" ({', '.join(document['kinds']) or 'none'})",
        f"server {document['server']}, made {document['made']}",
    ]
    if changes:
        rows = [
            (change["kind"], "" if change["action"] == "unlink" else _who(change), change_text(change))
            for change in changes[:SHOWN]
        ]
        lines.append("\n" + table(["kind", "who", "change"], rows))
        if len(changes) > SHOWN:
            lines.append(f"… and {len(changes) - SHOWN} more (--dry-run --json has all)")
        lines.append("")
    lines += left_lines(left, "left as it is")
    lines += [f"warning: {warning}" for warning in document["warnings"]]
    return "\n".join(lines).rstrip()


def left_lines(left: Sequence[Mapping[str, Any]], word: str) -> list[str]:
    """A line for each finding that is not repaired."""
    lines = [f"{word}: {one['kind']} {_who(one)}: {label(one['why'])}" for one in left[:SHOWN]]
    return lines + ([f"… and {len(left) - SHOWN} more"] if len(left) > SHOWN else [])


def change_text(change: Mapping[str, Any]) -> str:
    """What happens to what.

    >>> change_text({"action": "update", "table": "users", "column": "email", "before": "a@x", "after": "b@x"})
    'users.email: a@x → b@x'
    """
    if change["action"] == "update":
        before, after = (label(change[side] or "") for side in ("before", "after"))
        return f"{change['table']}.{change['column']}: {before} → {after}"
    if change["action"] == "insert":
        return (
            f"{change['table']}: a row, {label(', '.join(f'{name} {value}' for name, value in change['row'].items()))}"
        )
    if change["action"] == "deactivate":
        prefixes = ", ".join(key["prefix"] + "…" for key in change["keys"])
        entries = f"; {_entries(len(change['cache_keys']))}" if change["cache_keys"] else ""
        return f"{change['table']}: off: {label(prefixes)}{entries}"
    return f"Redis: {label(', '.join(change['cache_keys']))} goes"


def _entries(number: int) -> str:
    return f"{number} Redis {'entry goes' if number == 1 else 'entries go'}"


def _who(entry: Mapping[str, Any]) -> str:
    return label(entry["address"] or entry["subject"])


def runs_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """The list of runs, repairs among them; an id holds the environment's name."""
    rows = [
        (
            run["id"],
            run["command"],
            run["started"],
            f"{run['changes']}/{run['planned_changes']}" if "changes" in run else f"{run['users']}/{run['planned']}",
            run["rows"],
            run["state"],
        )
        for run in runs
    ]
    return table(["run", "command", "started", "done", "rows", "state"], rows, right=[3, 4])


def run_text(run: Mapping[str, Any]) -> str:
    """One repair in full."""
    lines = [
        f"run {run['id']}: {run['state']}",
        f"{run['environment']} ({run['server']}), started {run['started']}, audit --fix {','.join(run['kinds'])}",
        f"{run['changes']} of {run['planned_changes']} findings repaired, {run['rows']} rows written,"
        f" {run['cache_removed']} Redis entries removed",
        f"archive: {run['archive']}",
    ]
    if run["tables"]:
        rows = [(name, counts["inserted"], counts["changed"]) for name, counts in run["tables"].items()]
        lines.append("\n" + table(["table", "inserted", "changed"], rows, right=[1, 2]))
    lines += [f"skipped: {label(who)}: {label(why)}" for who, why in run["skipped"].items()]
    if run["doubtful_segments"]:
        lines.append("it is not known whether it was committed: the next audit --fix, or restore, finds out")
    if run["cache_outstanding"]:
        lines.append(f"{run['cache_outstanding']} Redis entries are still to go: repeat the repair")
    return "\n".join(lines)


def restore_text(done: Mapping[str, Any]) -> str:
    """What an undoing did, per table, and what it left."""
    kinds = ("set_back", "removed", "present")
    names = dict.fromkeys(name for kind in kinds for name in done[kind])
    rows = [(name, *(done[kind].get(name, "") for kind in kinds)) for name in names]
    heads = ["table", "set back", "removed again", "there already"]
    lines = [table(heads, rows, right=[1, 2, 3])] if rows else []
    for one in done["not_undone"]:
        lines.append(f"left as it is: {one['table']} {label(one['address'] or one['id'])}: {label(one['why'])}")
    lines += [f"cannot come back: {what}" for what in done["lost"]]
    return "\n".join(lines)
