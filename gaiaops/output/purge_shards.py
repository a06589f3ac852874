"""A plan over shards as text, and what a run says of its shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaiaops.output import purge
from gaiaops.output.cells import label
from gaiaops.output.report import table


def plan_text(document: Mapping[str, Any], users: Sequence[Mapping[str, Any]]) -> str:
    """What a plan says, for people: all shards together, then each one's rows; `users` are the first ones."""
    count, in_all = document["users"], document["users_in_all"]
    shards = document["shards"]
    tags = ", ".join(document["tags"]) or "none"
    head = f"plan {document['id']}: {count} of {in_all} users of {document['environment']}, tagged {tags}"
    if document["older_than"]:
        head += f", older than {document['older_than']}"
    parts = [head, f"{len(shards)} shards, made {document['made']}, good until {document['until']}"]
    if users:
        rows = [(user["shard"], label(user["address"]), user["id"], user["rule"]) for user in users]
        parts.append("\n" + table(["shard", "address", "id", "rule"], rows))
        listed = sum(shard["users"] for shard in shards)
        if listed > len(users):
            parts.append(f"… and {listed - len(users)} more (--json or --save-plan FILE has all)")
    parts += [f"stays in all shards: {label(who)}" for who in document["conflicting"]]
    parts += [part for shard in shards for part in _shard(shard)]
    if document["keep"]:
        parts.append(f"\nkept: {label(', '.join(document['keep']))}")
    return "\n".join(parts)


def _shard(plan: Mapping[str, Any]) -> list[str]:
    parts = [f"\n{plan['environment']}: {plan['users']} of {plan['users_in_all']} users, server {plan['server']}"]
    if plan["tables"]:
        parts.append(purge.tables_text(plan["tables"]))
    if plan["cache_keys"]:
        keys = ", ".join(f"{key} {number}" for key, number in plan["cache_keys"].items())
        parts.append(f"Redis keys, where they are there: {keys}")
    return parts + purge.remarks({**plan, "keep": []})


def shards_text(run: Mapping[str, Any]) -> str:
    """The shards of one run."""
    rows = [(one["shard"], f"{one['users']}/{one['planned']}", one["rows"], one["set"], one["state"])
            for one in run["shards"]]  # fmt: skip
    return table(["shard", "users", "rows", "changed", "state"], rows, right=[1, 2, 3])
