"""Rows of auth.users that no API would make, and the certainty that they go away again."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

NIL = "00000000-0000-0000-0000-000000000000"
# Later than any row somebody else may have: with the newest first, the rows of a test come first.
FUTURE = datetime(2190, 1, 1, tzinfo=UTC)


class Rows:
    """Inserts users by SQL and deletes them, and whatever else was handed to `forget`, at the end."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.domain = f"{uuid.uuid4().hex[:12]}.example"
        self._ids: list[str] = []

    def email(self, name: str) -> str:
        """An address nobody else has."""
        return f"{name}@{self.domain}"

    def insert(self, **columns: Any) -> str:
        """Insert one user as the server would have written it, with these columns instead. Returns its id."""
        user_id = str(columns.pop("id", uuid.uuid4()))
        values: dict[str, Any] = {
            "instance_id": NIL,
            "id": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": self.email(f"u{user_id[:8]}"),
            "confirmation_token": "",
            "recovery_token": "",
            "email_change": "",
            "email_change_token_new": "",
            "is_super_admin": False,
            "raw_app_meta_data": Jsonb({"provider": "email", "providers": ["email"]}),
            "raw_user_meta_data": Jsonb({}),
            "created_at": FUTURE + timedelta(seconds=len(self._ids)),
            "updated_at": FUTURE,
            **columns,
        }
        statement = sql.SQL("INSERT INTO auth.users ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
        )
        self.connection.execute(statement, values)
        return self.forget(user_id)

    def insert_many(self, count: int, created_at: str) -> None:
        """Insert `count` users in one go; `created_at` is an SQL expression over `i`, 1 to `count`."""
        inserted = self.connection.execute(
            f"""
            INSERT INTO auth.users (instance_id, id, aud, role, email, confirmation_token, recovery_token,
                email_change, email_change_token_new, is_super_admin, raw_app_meta_data, raw_user_meta_data,
                created_at, updated_at)
            SELECT %(nil)s, gen_random_uuid(), 'authenticated', 'authenticated',
                'bulk-' || i || '-' || gen_random_uuid() || '@' || %(domain)s, '', '', '', '', false,
                '{{}}', '{{}}',
                {created_at}, now()
            FROM generate_series(1, %(count)s) AS i RETURNING id::text
            """,
            {"nil": NIL, "domain": self.domain, "count": count},
        )
        self._ids += [row[0] for row in inserted]

    def forget(self, user_id: str) -> str:
        """Delete this user at the end, whoever made it."""
        self._ids.append(user_id)
        return user_id

    def fetch(self, user_id: str) -> dict[str, Any]:
        """The row as the database has it."""
        cursor = self.connection.execute("SELECT * FROM auth.users WHERE id = %s", (user_id,))
        row = cursor.fetchone()
        assert row is not None
        return dict(zip((column.name for column in cursor.description or ()), row, strict=True))

    def clean(self) -> None:
        """Delete everything, also what a failed test left under the domain."""
        gone = "DELETE FROM auth.users WHERE id = ANY(%s::uuid[]) OR email LIKE %s"
        self.connection.execute(gone, (self._ids, f"%@{self.domain}"))
