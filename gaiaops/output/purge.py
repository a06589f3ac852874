"""A plan, a run and a restore as text and as documents with stable field names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gaiaops.output.cells import label
from gaiaops.output.report import table

SHOWN_USERS = 20
_SHOWN_COLUMNS = 12
_ACTIONS = {"default": "set default", "null": "set null"}


def plan_text(document: Mapping[str, Any], users: Sequence[Mapping[str, Any]]) -> str:
    """What a plan says, for people: `users` are its first ones."""
    count, in_all = document["users"], document["users_in_all"]
    tags = ", ".join(document["tags"]) or "none"
    head = f"plan {document['id']}: {count} of {in_all} users of {document['environment']}, tagged {tags}"
    if document["older_than"]:
        head += f", older than {document['older_than']}"
    parts = [head, f"server {document['server']}, made {document['made']}, good until {document['until']}"]
    if count:
        rows = [(label(user["address"]), user["id"], user["rule"]) for user in users]
        parts.append("\n" + table(["address", "id", "rule"], rows))
        if count > len(users):
            parts.append(f"… and {count - len(users)} more (--json or --save-plan FILE has all)")
        parts.append("\n" + tables_text(document["tables"]))
        if document["cache_keys"]:
            keys = ", ".join(f"{key} {number}" for key, number in document["cache_keys"].items())
            parts.append(f"\nRedis keys, where they are there: {keys}")
    parts += remarks(document)
    return "\n".join(parts)


def tables_text(tables: Iterable[Mapping[str, Any]]) -> str:
    """What happens to which rows, and why."""
    rows = []
    for entry in tables:
        why = "; ".join(f"{_short(r['reference'], entry['table'])} {r['why']} {r['rows']}" for r in entry["reasons"])
        action = _ACTIONS.get(entry["action"], entry["action"])
        rows.append((entry["table"], entry["rows"], action, entry["collateral"] or "", why))
    return table(["table", "rows", "action", "of others", "why"], rows, right=[1, 3])


def _short(reference: str, name: str) -> str:
    return "" if reference == name else reference.removeprefix(f"{name}.")


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What else one should know of a plan."""
    parts = []
    for entry in document["collateral"]:
        who = label(entry["owner"]) or "nobody in particular"
        parts.append(
            f"\ncollateral: {entry['rows']} rows of {who} in {entry['table']}, with {label(', '.join(entry['users']))}"
        )
    for name, what in (("ambiguous", "two environment tags, not taken"), ("protected", "protected, not taken")):
        if document[name]:
            parts.append(f"{what}: {label(', '.join(document[name]))}")
    if document["keep"]:
        parts.append(f"kept: {label(', '.join(document['keep']))}")
    if document["younger"]:
        parts.append(f"{document['younger']} users are younger, not taken")
    columns = document["unclassified"]
    if columns:
        more = f" and {len(columns) - _SHOWN_COLUMNS} more" if len(columns) > _SHOWN_COLUMNS else ""
        parts.append(f"unclassified, left alone: {', '.join(columns[:_SHOWN_COLUMNS])}{more}")
    if document["absent"]:
        parts.append(f"declared in [references], not in this database: {', '.join(document['absent'])}")
    parts += [f"warning: {warning}" for warning in document["warnings"]]
    return parts


def run_document(run: str, plan: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """The stable field names of `runs --json`."""
    return {
        "id": run,
        "command": "cleanup",
        "environment": plan["environment"],
        "server": plan["server"],
        "started": plan["made"],
        "tags": list(plan["tags"]),
        "planned": plan["users"],
        **state,
    }


def runs_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """The list of runs; an id holds the environment's name."""
    rows = [(run["id"], run["started"], f"{run['users']}/{run['planned']}", run["rows"], run["state"]) for run in runs]
    return table(["run", "started", "users", "rows", "state"], rows, right=[2, 3])


def run_text(run: Mapping[str, Any]) -> str:
    """One run in full."""
    lines = [
        f"run {run['id']}: {run['state']}",
        f"{run['environment']} ({run['server']}), started {run['started']}, tags {', '.join(run['tags'])}",
        f"{run['users']} of {run['planned']} users purged, {run['rows']} rows deleted, {run['set']} changed,"
        f" {run['segments']} segments",
        f"archive: {run['archive']}",
    ]
    if run["tables"]:
        rows = [(name, counts["deleted"], counts["changed"]) for name, counts in run["tables"].items()]
        lines.append("\n" + table(["table", "deleted", "changed"], rows, right=[1, 2]))
    lines += [f"skipped: {label(address)}: {why}" for address, why in run["skipped"].items()]
    for outcome, number in run["auth"].items():
        lines.append(f"Supabase Auth: {number} {outcome}")
    if run["cache_outstanding"]:
        lines.append(f"Redis entries of {run['cache_outstanding']} users are still to go: repeat the clean-up")
    return "\n".join(lines)


def restore_text(done: Mapping[str, Any]) -> str:
    """What a restore did, per table."""
    kinds = ("inserted", "set_back", "present", "differ", "conflicting", "orphaned")
    names = dict.fromkeys(name for kind in kinds for name in done[kind])
    heads = ["table", "restored", "set back", "there already", "there otherwise", "unique conflict", "no parent"]
    rows = [[name, *(done[kind].get(name, "") for kind in kinds)] for name in names]
    used = [0, *(i + 1 for i, kind in enumerate(kinds) if done[kind] or kind == "inserted")]
    text = table([heads[i] for i in used], [[row[i] for i in used] for row in rows], right=range(1, len(used)))
    lines = [text] if rows else []
    for name, keys in done["differing"].items():
        lines.append(f"{name}: there otherwise, left as they are: {label(', '.join(keys))}")
    lines += [f"cannot come back: {what}" for what in done["lost"]]
    return "\n".join(lines)
