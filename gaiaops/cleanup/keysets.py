"""The temporary tables of a purge and what fills them: the plan's users, a batch's, and the key sets. Pure."""

from __future__ import annotations

from gaiaops.cleanup.conditions import ABSENT, PLAN, inherited, match, same_address
from gaiaops.cleanup.graph import Graph, KeySet, columns_sql
from gaiaops.cleanup.links import Action, Link
from gaiaops.postgres.shape import Table

BATCH = "gaiaops_batch"


def create_plan(users: Table, name: str = PLAN, on_commit: str = "PRESERVE ROWS") -> str:
    """The temporary table of the plan's users, or of a batch's: number, id and address."""
    column = users.column("id")
    assert column is not None  # noqa: S101 - graph.build checked it
    columns = f"g_n integer NOT NULL, g_id {column.type} NOT NULL, g_email text NOT NULL"
    return f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT {on_commit}"


def create_for_plan(graph: Graph) -> list[str]:
    """The temporary tables for making a plan, in one transaction. Where nothing but the plan puts users into their key
    set, that is the plan's table too: the users were read in the same snapshot."""
    keysets = create_keysets(graph, on_commit="DROP")
    if graph.sharded:
        keysets = f"{create_absent('DROP')}; {keysets}"
    if not _plan_is_keyset(graph):
        return [create_plan(graph.tables[graph.users], on_commit="DROP"), keysets]
    keyset = graph.keysets[graph.users]
    key, email = keyset.columns["id"], keyset.columns["email"]
    view = f"SELECT g_n, {key} AS g_id, {email}::text AS g_email FROM {keyset.name}"
    return [keysets, f"CREATE TEMPORARY VIEW {PLAN} AS {view}"]


def fill_plan(graph: Graph) -> str:
    """COPY of (number, id, address) into the plan's table, after create_for_plan."""
    keyset = graph.keysets[graph.users]
    key, email = keyset.columns["id"], keyset.columns["email"]
    return (
        f"COPY {keyset.name} (g_n, {key}, {email}) FROM STDIN" if _plan_is_keyset(graph) else f"COPY {PLAN} FROM STDIN"
    )


def fill_keyset(graph: Graph) -> list[str]:
    """Fills the users' key set from the plan's table; nothing to do where they are the same."""
    if _plan_is_keyset(graph):
        return []
    own = collect_users(graph, lock=False)
    return [own, collect_guests(graph, PLAN)] if graph.sharded else [own]


def empty_keysets(graph: Graph) -> list[str]:
    """Forgets what was collected, but for the users who were read into their key set."""
    kept = graph.users if _plan_is_keyset(graph) else None
    return [f"DELETE FROM {keyset.name}" for oid, keyset in graph.keysets.items() if oid != kept]


def create_absent(on_commit: str) -> str:
    """The temporary table of the names in soft references that are nobody's who stays, in any shard."""
    return f'CREATE TEMPORARY TABLE {ABSENT} (g_name text COLLATE "C" NOT NULL) ON COMMIT {on_commit}'


def fill_absent() -> str:
    """COPY of the names; `index_absent` is run after it."""
    return f"COPY {ABSENT} FROM STDIN"


def index_absent() -> str:
    return f"CREATE INDEX ON {ABSENT} (g_name); ANALYZE {ABSENT}"


def _plan_is_keyset(graph: Graph) -> bool:
    keyset = graph.keysets[graph.users]
    return set(keyset.columns) == {"id", "email"} and not many(graph, keyset)


def index_plan() -> str:
    """Run after it is filled."""
    return f"CREATE INDEX ON {PLAN} (g_id); CREATE INDEX ON {PLAN} (g_n); ANALYZE {PLAN}"


def create_keysets(graph: Graph, *, on_commit: str) -> str:
    """The key sets; `on_commit` is DELETE ROWS where a session keeps them for its batches, DROP for one transaction."""
    statements = []
    for keyset in graph.keysets.values():
        table = graph.tables[keyset.table]
        types = {column.name: column.type for column in table.columns}
        columns = ", ".join(f"{ours} {types[name]}" for name, ours in keyset.columns.items())
        statements.append(
            f"CREATE TEMPORARY TABLE {keyset.name} (g_n integer NOT NULL, {columns},"
            f" g_foreign boolean NOT NULL DEFAULT false) ON COMMIT {on_commit}"
        )
        if many(graph, keyset):
            key = ", ".join(keyset.columns[name] for name in keyset.key)
            statements.append(f"CREATE UNIQUE INDEX ON {keyset.name} ({key})")
    return "; ".join(statements)


def collect_users(graph: Graph, *, lock: bool) -> str:
    """Fills the users' key set from the plan; with `lock`, from the batch, those that nobody else has locked.

    SKIP LOCKED: a purge never waits for a user, so it cannot be what somebody waits for in a circle.
    """
    users, keyset = graph.tables[graph.users], graph.keysets[graph.users]
    ours, theirs = ", ".join(keyset.columns.values()), columns_sql(users.pick(keyset.columns), "t")
    return (
        f"INSERT INTO {keyset.name} (g_n, {ours}, g_foreign) SELECT p.g_n, {theirs}, false"
        f" FROM {BATCH if lock else PLAN} AS p JOIN {users.sql} AS t ON t.id = p.g_id"
        f" WHERE {same_address('t', 'p')}{' FOR UPDATE OF t SKIP LOCKED' if lock else ''}"
    )


def missing_users(graph: Graph) -> str:
    """(number, reason) of those of the batch who are not in the users' key set."""
    users, keyset = graph.tables[graph.users], graph.keysets[graph.users]
    return (
        f"SELECT p.g_n, CASE WHEN u.id IS NULL THEN 'gone' WHEN {same_address('u', 'p')} THEN 'locked'"
        f" ELSE 'the address changed' END FROM {BATCH} AS p LEFT JOIN {users.sql} AS u ON u.id = p.g_id"
        f" WHERE NOT EXISTS (SELECT FROM {keyset.name} AS d WHERE d.{keyset.columns['id']} = p.g_id)"
    )


def collect_guests(graph: Graph, source: str = BATCH) -> str:
    """Fills the users' key set with people who are in other shards only, so that what names them here is found."""
    keyset = graph.keysets[graph.users]
    return (
        f"INSERT INTO {keyset.name} (g_n, {keyset.columns['id']}, {keyset.columns['email']})"
        f" SELECT p.g_n, p.g_id, p.g_email FROM {source} AS p WHERE NOT {_here(graph)}"
    )


def missing_guests(graph: Graph) -> str:
    """(number, reason) of those of the batch who have come to this shard."""
    return f"SELECT p.g_n, 'the id or the address is in use again' FROM {BATCH} AS p WHERE {_here(graph)}"


def _here(graph: Graph) -> str:
    users = graph.tables[graph.users].sql
    found = [f"EXISTS (SELECT FROM {users} AS u WHERE {same})" for same in ("u.id = p.g_id", same_address("u", "p"))]
    return f"({' OR '.join(found)})"


def collect(graph: Graph, link: Link, *, lock: bool) -> str:
    """Adds to the child's key set the rows that a link takes."""
    child, keyset = graph.tables[link.child], graph.keysets[link.child]
    ours, theirs = ", ".join(keyset.columns.values()), columns_sql(child.pick(keyset.columns), "t")
    foreign = "false" if lock else inherited(graph, link)
    return (
        f"INSERT INTO {keyset.name} (g_n, {ours}, g_foreign) SELECT d.g_n, {theirs}, {foreign}"
        f" FROM {child.sql} AS t JOIN {graph.keysets[link.parent].name} AS d ON {match(graph, link, 't', 'd')}"
        f"{' FOR UPDATE OF t' if lock else ''}{' ON CONFLICT DO NOTHING' if many(graph, keyset) else ''}"
    )


def many(graph: Graph, keyset: KeySet) -> bool:
    """Whether a row may be collected twice: several links or a circle lead to it, or any to users besides the plan."""
    if any(keyset.table in group and len(group) > 1 for group in graph.groups):
        return True
    return len(graph.out_of(keyset.table, Action.DELETE)) > (0 if keyset.table == graph.users else 1)
