"""Sessions and who blocks whom, as documents with stable field names."""

from __future__ import annotations

from typing import Any

import msgspec

from gaiaops.inspect.activity.look import Activity
from gaiaops.inspect.activity.stop import Outcome, remedy
from gaiaops.inspect.activity.tree import Node
from gaiaops.inspect.activity.values import Prepared, Session, Wait
from gaiaops.postgres.quoting import literal


def document(
    activity: Activity, environment: str, gaiaops: str, *, all_databases: bool, replica: tuple[int, str] = (0, "")
) -> dict[str, Any]:
    """The stable field names of `activity --json`; ages and waits are in seconds. `gaiaops` is how the command was
    called, for the commands to copy: there is none that signals a replica's session, which is another one's here."""
    look = activity.look
    number, address = replica
    server = f"replica {number} ({address})" if number else ""
    return {
        "environment": environment,
        "replica": number or None,
        "database": look.database,
        "all_databases": all_databases,
        "server_time": look.now,
        "max_connections": look.max_connections,
        "connections": sum(activity.counts.values()),
        "connections_by_state": dict(sorted(activity.counts.items())),
        "hidden": activity.hidden,
        "elsewhere": activity.elsewhere,
        "unknown": look.unknown or None,
        "activity": [_session(one, activity) for one in activity.running],
        "idle_in_transaction": [_session(one, activity) for one in activity.idle],
        "prepared": [_prepared(one) for one in activity.prepared],
        "blocking": None
        if look.blind
        else [_node(node, activity, _Ways(gaiaops, environment, server)) for node in activity.forest],
    }


def session_document(one: Session) -> dict[str, Any]:
    """A session alone."""
    return {
        "pid": one.pid,
        "database": one.database,
        "user": one.user,
        "application": one.application,
        "client": one.client,
        "kind": one.kind,
        "state": one.shown_state,
        "wait": f"{one.wait_type}:{one.wait_event}" if one.wait_event else None,
        "statement": one.statement,
        "statement_s": _rounded(one.statement_s),
        "transaction_s": _rounded(one.transaction_s),
        "state_s": _rounded(one.state_s),
        "session_s": _rounded(one.session_s),
    }


def _session(one: Session, activity: Activity) -> dict[str, Any]:
    ahead = activity.blocked_by.get(one.pid, ())
    return {
        **session_document(one),
        "workers": activity.workers.get(one.pid, 0),
        "blocked_by": [key for key in ahead if isinstance(key, int)],
        "blocked_by_prepared": [key for key in ahead if isinstance(key, str)],
    }


def _prepared(one: Prepared) -> dict[str, Any]:
    return {
        "gid": one.gid,
        "database": one.database,
        "user": one.user,
        "transaction_s": _rounded(one.transaction_s),
        "tables": list(one.tables),
    }


class _Ways(msgspec.Struct, frozen=True):
    """How a session is signalled, and a prepared transaction ended: by a command, or by hand on a replica."""

    gaiaops: str
    environment: str
    replica: str

    def signal(self, action: str, key: int, option: str) -> str:
        if self.replica:
            return f"on {self.replica}: SELECT pg_{action}_backend({key});"
        return f"{self.gaiaops} activity {self.environment} --{action} {key}{option}"

    def settle(self, gid: str) -> str:
        if self.replica:
            return ""
        begin = f"{self.gaiaops} connect {self.environment} --write"
        return f"{begin}, then ROLLBACK PREPARED {literal(gid)}; (or COMMIT PREPARED)"


def _node(node: Node, activity: Activity, ways: _Ways) -> dict[str, Any]:
    look = activity.look
    result: dict[str, Any]
    if node.again:  # in a queue of a thousand there are half a million of them
        return {"pid": node.key, "prepared": None, "again": True, "blocks": []}
    if isinstance(node.key, str):
        held = next((one for one in look.prepared if one.gid == node.key), None)
        found = _prepared(held) if held else {"gid": node.key or None}
        how = ways.settle(node.key) if node.key else ""
        why = f'in database "{held.database}"' if held and held.database != look.database else ""
        result = {"pid": None, "prepared": node.key, **{k: v for k, v in found.items() if k != "gid"}}
    else:
        one = look.session(node.key)
        action, why = remedy(one)
        other = " --all-databases" if one is not None and one.database != look.database else ""
        how = ways.signal(action, node.key, other) if action else ""
        result = {"pid": node.key, "prepared": None, **(_session(one, activity) if one else {"state": "?"})}
    return {
        **result,
        "waits_for": _wait(node.wait) if node.wait else None,
        "again": node.again,
        "circle": node.circle,
        "behind": node.behind,
        "frees": node.frees,
        "command": how if node.behind else "",
        "why": why if node.behind else "",
        "blocks": [_node(below, activity, ways) for below in node.blocks],
    }


def _wait(wait: Wait) -> dict[str, Any]:
    return {"lock": wait.lock, "mode": wait.mode, "type": wait.locktype, "waiting_s": _rounded(wait.waiting_s)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def outcome_document(one: Session, outcome: Outcome) -> dict[str, Any]:
    """What a signal did."""
    return {
        "pid": one.pid,
        "ended": outcome.ended,
        "state": outcome.state,
        "waited_s": _rounded(outcome.waited_s),
        "session": session_document(one),
    }
