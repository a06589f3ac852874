"""One look at a server's sessions, and what of it is shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gaiaops.errors import GaiaopsError
from gaiaops.inspect.activity import tree
from gaiaops.inspect.activity.values import AUTOVACUUM, CLIENT, Look, Prepared, Session
from gaiaops.postgres import features, queries
from gaiaops.postgres.guard import SERVER
from gaiaops.postgres.probe import Probe

COMMAND = "activity"
STATEMENT_MS = 3_000  # for one look; pg_blocking_pids stops the lock manager for each one who waits
_QUERY = "activity_look"
_BLOCKING = re.compile(r"\bpg_(?:safe_snapshot_)?blocking_pids\([\w.]+\)")


class Activity(msgspec.Struct, frozen=True):
    """What is shown of a look.

    `counts` are the server's client sessions by state, `hidden` those of other users that our role may not see,
    `elsewhere` what runs or idles in a transaction in other databases and is left out; `workers` are parallel workers
    by leader.
    """

    look: Look
    running: tuple[Session, ...]
    idle: tuple[Session, ...]
    prepared: tuple[Prepared, ...]
    forest: tuple[tree.Node, ...]
    blocked_by: Mapping[int, tuple[tree.Key, ...]]
    counts: Mapping[str, int]
    workers: Mapping[int, int]
    hidden: int
    elsewhere: int

    def behind(self, pid: int) -> int:
        """How many wait for a session, over others too."""
        todo = list(self.forest)
        while todo:
            node = todo.pop()
            if node.key == pid:
                return node.behind
            todo += node.blocks
        return 0


def take(probe: Probe, now: str | None = None) -> Look:
    """One look, in one statement; `now` stands for the server's clock. Where the server cannot say who blocks whom, its
    sessions alone, from then on. Raises the error tree's errors."""
    document, *who = _asked(probe, {"now": now})
    probe.server = features.of(who)
    features.check_sessions(probe.server)
    # Statements are as long as the sessions' encodings make them, cut in the middle of a character too.
    look = msgspec.json.decode(bytes(document).decode("utf-8", "replace"), type=Look)
    unknown, blind = features.blocking(probe.server, probe.lacks.get(_QUERY, ""))
    return msgspec.structs.replace(look, unknown=unknown, blind=blind, waits=() if blind else look.waits)


def _asked(probe: Probe, values: Mapping[str, object]) -> Sequence[Any]:
    features.check_sessions(probe.server)
    sql = queries.load(_QUERY)
    if _QUERY not in probe.lacks:
        try:
            return probe.ask(sql, values)[0]
        except GaiaopsError as error:
            if not (lacking := features.missing(error)):
                raise
            probe.lacks[_QUERY] = lacking
            features.check_sessions(features.of(probe.ask(f"SELECT {SERVER}")[0]))
    return probe.ask(_BLOCKING.sub("'{}'::int[]", sql), values)[0]


def arranged(look: Look, *, all_databases: bool = False) -> Activity:
    """The sessions of our own database, or of all, and everybody who blocks or is blocked. Pure."""
    part = tree.members(look.waits)
    chosen = [one for one in look.sessions if one.kind in (None, CLIENT, AUTOVACUUM) or one.pid in part]
    near = {one.pid for one in chosen if all_databases or one.database == look.database or one.pid in part}
    shown = [one for one in chosen if one.pid in near]
    clients = [one for one in look.sessions if _is_client(one)]
    prepared = [one for one in look.prepared if all_databases or one.database == look.database or one.gid in part]
    left = [one for one in chosen if one.pid not in near]
    return Activity(
        look=look,
        running=tuple(sorted(filter(_runs, shown), key=lambda one: (-(one.statement_s or 0), one.pid))),
        idle=tuple(sorted(filter(_idles, shown), key=lambda one: (-(one.transaction_s or 0), one.pid))),
        prepared=tuple(sorted(prepared, key=lambda one: -(one.transaction_s or 0))),
        forest=tree.forest(look.waits),
        blocked_by={wait.pid: tree.blockers(wait) for wait in look.waits},
        counts=Counter(_state(one) for one in clients),
        workers=Counter(one.leader for one in look.sessions if one.leader != one.pid),
        hidden=sum(one.hidden for one in clients),
        elsewhere=sum(_runs(one) or _idles(one) for one in left),
    )


def _runs(one: Session) -> bool:
    return one.running


def _idles(one: Session) -> bool:
    return one.in_transaction


def _is_client(one: Session) -> bool:
    """A session of a user; of one that is hidden only its user and its database are known."""
    return one.kind == CLIENT or (one.hidden and one.user is not None and one.database is not None)


def _state(one: Session) -> str:
    return "idle in transaction" if one.in_transaction else "active" if one.running else one.state or "unknown"


def entry_hint(message: str) -> str:
    """What helps where the server lets nobody in any more, by what it said (manual 19.3.1). Pure.

    >>> entry_hint("too many connections: sorry, too many clients already (db:5432)")
    'every slot is taken, the reserved ones too: only the end of a session lets somebody in'
    """
    if "pg_use_reserved_connections" in message:
        return "a role with pg_use_reserved_connections still gets in, and a superuser: connect with one of them"
    if "SUPERUSER attribute" in message or "superuser connections" in message:
        return "the slots that are left (superuser_reserved_connections) are for superusers: connect as one"
    if re.search(r"connections for (?:role|database)", message):
        return (
            "a limit of the role or the database, which binds no superuser: connect as one, or ALTER … CONNECTION LIMIT"
        )
    if "too many clients" in message:
        return "every slot is taken, the reserved ones too: only the end of a session lets somebody in"
    return "try again, or connect to the server itself where a pooler stands before it"
