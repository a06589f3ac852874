"""Reading users: one, a page by number, a stretch by cursor."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from gaiaops.sandbox.authserver import database, paging
from gaiaops.sandbox.authserver.database import Connection, Statement
from gaiaops.sandbox.authserver.errors import SERVER_ERROR, ApiError

User = dict[str, Any]

# The server knows one instance; a row with another one, or none, does not exist for it.
OF_INSTANCE = sql.SQL("users.instance_id = '00000000-0000-0000-0000-000000000000'")
_IN_AUDIENCE = sql.SQL("instance_id = '00000000-0000-0000-0000-000000000000' AND aud = %(aud)s")
# Case matters in the address and not in the name.
_MATCHING = sql.SQL(" AND (email LIKE %(pattern)s OR raw_user_meta_data->>'full_name' ILIKE %(pattern)s)")
_ONE = database.query("users").format(source=sql.SQL("auth.users")) + sql.SQL(" WHERE ") + OF_INSTANCE
_ONE += sql.SQL(" AND users.id = %(id)s")
_IDENTITIES = database.query("identities")
_PAGE = database.query("page")
_LIST = database.query("users")


def find(connection: Connection, user_id: str) -> User | None:
    """One user with its identities, or None. Any audience will do here, unlike in a list."""
    found = _read(connection, _ONE, {"id": user_id}, "Database error loading user")
    if not found:
        return None
    user = found[0]
    user["identities"] = _read(connection, _IDENTITIES, {"id": user_id}, "Database error loading user")
    return user


def numbered(
    connection: Connection, aud: str, page: paging.NumberedPage, *, ascending: bool, containing: str
) -> tuple[list[User], int]:
    """A page of the list and how many users there are: an OFFSET and a COUNT(*) each time, like the server.

    They are two statements in no transaction, so with writes in between they need not agree.
    """
    values = {"aud": aud, "pattern": f"%{containing}%", "limit": page.size, "offset": page.offset}
    conditions = _conditions(containing)
    order = sql.SQL("created_at ASC" if ascending else "created_at DESC")
    users = _read_list(connection, conditions, order, values)
    counting = sql.SQL("SELECT count(*) FROM auth.users WHERE ") + conditions
    counted = connection.execute(counting, values).fetchone()
    return users, int(str(counted[0])) if counted else 0


def after_cursor(
    connection: Connection, aud: str, page: paging.CursorPage, *, ascending: bool, containing: str
) -> tuple[list[User], paging.Cursor | None]:
    """A stretch of the list in the order (created_at, id) and where the next one begins, if there is more."""
    values: dict[str, object] = {
        "aud": aud,
        "pattern": f"%{containing}%",
        "limit": page.limit + 1,
        "offset": 0,
    }
    conditions = _conditions(containing)
    if page.after is not None:
        values |= {"created_at": page.after.created_at, "id": page.after.id}
        sign = sql.SQL(">" if ascending else "<")
        conditions += sql.SQL(" AND (created_at, id) {} (%(created_at)s::timestamptz, %(id)s)").format(sign)
    order = sql.SQL("created_at ASC, id ASC" if ascending else "created_at DESC, id DESC")
    users = _read_list(connection, conditions, order, values)
    if len(users) <= page.limit:
        return users, None
    del users[page.limit :]
    return users, paging.Cursor(users[-1]["created_at"], users[-1]["id"])


def _conditions(containing: str) -> Statement:
    # A filter becomes a pattern as it is: a client's own % and _ are wildcards, here and on the real server.
    return _IN_AUDIENCE + _MATCHING if containing else _IN_AUDIENCE


def _read_list(connection: Connection, conditions: Statement, order: sql.SQL, values: dict[str, Any]) -> list[User]:
    statement = _LIST.format(source=_PAGE.format(conditions=conditions, order=order))
    users = _read(connection, statement, values, "Database error finding users")
    for user in users:
        user["identities"] = None  # never looked up for a list
    return users


def _read(connection: Connection, statement: Statement, values: dict[str, Any], failure: str) -> list[User]:
    """Rows as JSON objects. One row the server cannot read spoils the whole answer, as it does there."""
    cursor = connection.execute(statement, values)
    keys = [column.name for column in cursor.description or ()]
    rows = cursor.fetchall()
    if any(row[-1] for row in rows):
        raise ApiError(SERVER_ERROR, "unexpected_failure", failure)
    keys.pop()
    return [{key: value for key, value in zip(keys, row, strict=False) if value is not None} for row in rows]
