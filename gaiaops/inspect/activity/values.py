"""What one look at a server gives: sessions, waits, prepared transactions. Pure."""

from __future__ import annotations

import msgspec

from gaiaops.postgres.secrets import masked

CLIENT, AUTOVACUUM = "client backend", "autovacuum worker"
UNKNOWN = "?"
_RUNNING = ("active", "fastpath function call")


class Session(msgspec.Struct, frozen=True):
    """A process of the server, as activity_look.sql gives it."""

    pid: int
    leader: int
    database: str | None
    user: str | None
    application: str
    client: str | None
    kind: str | None
    state: str | None
    wait_type: str | None
    wait_event: str | None
    query: str | None
    backend_start: str | None
    xact_start: str | None
    query_start: str | None
    state_change: str | None
    session_s: float | None
    transaction_s: float | None
    statement_s: float | None
    state_s: float | None

    @property
    def hidden(self) -> bool:
        """Whether our role may not see what it does: NULL then means nothing."""
        return self.kind is None

    @property
    def shown_state(self) -> str | None:
        """Its state; `?` where it is not known, None for a process that has none."""
        known = None if self.kind not in (None, CLIENT) else UNKNOWN
        return self.state or known

    @property
    def running(self) -> bool:
        return self.state in _RUNNING

    @property
    def in_transaction(self) -> bool:
        """Idle in a transaction, a failed one too."""
        return self.state is not None and self.state.startswith("idle in transaction")

    @property
    def statement(self) -> str | None:
        """What it runs or ran last, without passwords; None where that is not known."""
        return masked(self.query) if self.query else None


class Held(msgspec.Struct, frozen=True):
    """A prepared transaction that holds a lock in a mode."""

    gid: str
    mode: str


class Wait(msgspec.Struct, frozen=True):
    """A session that waits, who blocks it, and for what it waits; see activity_look.sql."""

    pid: int
    blockers: tuple[int, ...]
    mode: str
    locktype: str
    waiting_s: float | None = None
    database: str | None = None
    relation: str | None = None
    page: int | None = None
    item: int | None = None
    virtualxid: str | None = None
    transactionid: str | None = None
    catalog: str | None = None
    classid: int | None = None
    objid: int | None = None
    objsubid: int | None = None
    row_of: str | None = None
    prepared: tuple[Held, ...] = ()

    @property
    def target(self) -> str:
        """What is locked, in words.

        >>> Wait(1, (), "ShareLock", "transactionid", transactionid="755", row_of="public.users").target
        'transaction 755 (a row of public.users)'
        """
        words = {
            "relation": f"{self.relation}",
            "extend": f"the end of {self.relation}",
            "page": f"page {self.page} of {self.relation}",
            "tuple": f"row ({self.page},{self.item}) of {self.relation}",
            "transactionid": f"transaction {self.transactionid}",
            "virtualxid": f"transaction {self.virtualxid}",
            "advisory": f"advisory lock {self._advisory()}",
            "object": f"object {self.objid} of {self.catalog or self.classid}",
            "safe snapshot": "a safe snapshot",
        }.get(self.locktype, self.locktype)
        return f"{words} (a row of {self.row_of})" if self.row_of else words

    @property
    def lock(self) -> str:
        """`ShareLock on public.users`."""
        return f"{self.mode} on {self.target}" if self.mode else self.target

    def _advisory(self) -> str:
        """The key as it was given: one bigint, or two integers (manual 53.12, pg_locks)."""
        high, low = self.classid or 0, self.objid or 0
        if self.objsubid == 1:
            key = high << 32 | low
            return str(key - (1 << 64) if key >> 63 else key)
        return ", ".join(str(part - (1 << 32) if part >> 31 else part) for part in (high, low))


class Prepared(msgspec.Struct, frozen=True):
    """A prepared transaction, and the tables of our database that it has locked."""

    gid: str
    user: str | None
    database: str | None
    transaction_s: float | None
    tables: tuple[str, ...]


class Look(msgspec.Struct, frozen=True):
    """One look at a server; see activity_look.sql."""

    now: str
    own: int
    role: str
    database: str
    max_connections: int
    sessions: tuple[Session, ...]
    waits: tuple[Wait, ...]
    prepared: tuple[Prepared, ...]
    unknown: str = ""  # what this server does not tell of who waits for whom, in a line
    blind: bool = False  # … and that is everything

    def session(self, pid: int) -> Session | None:
        """The process of this id, None where there is none."""
        return next((one for one in self.sessions if one.pid == pid), None)
