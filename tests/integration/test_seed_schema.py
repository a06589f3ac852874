"""The sandbox's tables are the deployed ones: types, nullability, keys and what a delete does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gaiaops.sandbox import seed

Conn = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def platform(postgres_url: str) -> Iterator[Conn]:
    """A database with the 19 tables and the small seed of production."""
    name = f"seed_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with psycopg.connect(make_conninfo(postgres_url, dbname=name), autocommit=True) as conn:
                seed.create_platform_schema(conn)
                seed.seed_environment(conn, "production", 200)
                yield conn
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


# Columns that are NOT NULL, primary keys included.
NOT_NULL = {
    "users": {"id", "email"},
    "api_keys": {"id", "user_id", "key_hash"},
    "conversations": {"id", "user_id", "title"},
    "chat_messages": {"id", "user_id", "conversation_id", "role", "content"},
    "personas": {"id", "name", "description", "system_prompt"},
    "user_persona_preferences": {"user_id", "persona_id"},
    "asset_sources": {"id", "source_type", "source_name"},
    "assets": {"id", "category", "title", "file_url", "storage_type"},
    "asset_generations": {"id", "generation_service"},
    "asset_modifications": {"id", "modification_type"},
    "asset_usage": {"id", "usage_type"},
    "kb_documents": {"path", "document"},
    "kb_search_index": {"path", "line_number"},
    "kb_document_history": {"id", "version", "document", "change_type"},
    "kb_permissions": {
        "id",
        "resource_path",
        "resource_type",
        "principal_id",
        "principal_type",
        "permissions",
    },
    "kb_activity_log": {"id", "action"},
    "kb_context_cache": {"context_name", "file_paths"},
    "kb_semantic_index_metadata": {"namespace", "relative_path"},
    "kb_semantic_chunk_ids": {"id", "chunk_id", "chunk_index"},
}

# (table, columns) → (parent, what happens on delete: c = CASCADE, a = NO ACTION)
FOREIGN_KEYS = {
    ("api_keys", ("user_id",)): ("users", "c"),
    ("conversations", ("user_id",)): ("users", "c"),
    ("chat_messages", ("user_id",)): ("users", "a"),
    ("chat_messages", ("conversation_id",)): ("conversations", "c"),
    ("user_persona_preferences", ("persona_id",)): ("personas", "c"),
    ("assets", ("source_id",)): ("asset_sources", "a"),
    ("asset_generations", ("asset_id",)): ("assets", "c"),
    ("asset_modifications", ("original_asset_id",)): ("assets", "c"),
    ("asset_modifications", ("modified_asset_id",)): ("assets", "c"),
    ("asset_usage", ("asset_id",)): ("assets", "c"),
    ("kb_search_index", ("path",)): ("kb_documents", "c"),
    ("kb_document_history", ("path",)): ("kb_documents", "c"),
    ("kb_semantic_chunk_ids", ("namespace", "relative_path")): ("kb_semantic_index_metadata", "c"),
}

_FOREIGN_KEYS = """
    SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, k.confdeltype,
           (SELECT array_agg(a.attname::text ORDER BY u.i)
              FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, i)
              JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum) AS columns,
           EXISTS (SELECT FROM pg_index AS x WHERE x.indrelid = k.conrelid
                      AND (x.indkey::smallint[])[0:cardinality(k.conkey) - 1] = k.conkey) AS indexed
      FROM pg_constraint AS k WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
"""


def test_the_19_tables_and_their_not_null_columns(platform: Conn) -> None:
    found: dict[str, set[str]] = {}
    for table, column, nullable in platform.execute(
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = 'public'"
    ):
        found.setdefault(table, set()).update([column] if nullable == "NO" else [])
    assert found == NOT_NULL
    assert len(found) == 19


def test_what_a_delete_does_to_each_foreign_key(platform: Conn) -> None:
    found = {(row[0], tuple(row[3])): (row[1], row[2]) for row in platform.execute(_FOREIGN_KEYS)}
    assert found == FOREIGN_KEYS


def test_exactly_two_foreign_keys_lack_an_index(platform: Conn) -> None:
    bare = {(row[0], *row[3]) for row in platform.execute(_FOREIGN_KEYS) if not row[4]}
    assert bare == {("asset_modifications", "modified_asset_id"), ("user_persona_preferences", "persona_id")}


@pytest.mark.parametrize(
    ("table", "column", "type_"),
    [
        ("users", "email", "character varying(255)"),
        ("users", "created_at", "timestamp without time zone"),
        ("api_keys", "key_hash", "character varying(64)"),
        ("api_keys", "permissions", "jsonb"),
        ("personas", "created_at", "timestamp with time zone"),
        ("user_persona_preferences", "user_id", "character varying(255)"),
        ("assets", "style_tags", "text[]"),
        ("assets", "quality_score", "double precision"),
        ("assets", "source_id", "integer"),
        ("kb_search_index", "search_vector", "tsvector"),
        ("kb_permissions", "permissions", "text[]"),
        ("kb_activity_log", "ip_address", "inet"),
    ],
)
def test_types(platform: Conn, table: str, column: str, type_: str) -> None:
    query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s"
    assert platform.execute(query, (table, column)).fetchall() == [(type_,)]


def test_unique_columns(platform: Conn) -> None:
    query = (
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'u' AND connamespace = 'public'::regnamespace"
    )
    assert set(platform.execute(query)) == {
        ("users", "UNIQUE (email)"),
        ("api_keys", "UNIQUE (key_hash)"),
        ("personas", "UNIQUE (name)"),
    }


def test_the_documented_clean_up_fails(platform: Conn) -> None:
    documented = "DELETE FROM users WHERE email LIKE '%+dev@%' OR email LIKE '%+staging@%'"
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="chat_messages"), platform.transaction():
        platform.execute(documented)


def test_an_update_of_a_document_writes_its_history(platform: Conn) -> None:
    with platform.transaction(force_rollback=True):
        platform.execute("SET LOCAL gaia.user_id = 'somebody'")
        platform.execute(
            "UPDATE kb_documents SET document = jsonb_set(document, '{title}', '\"New\"')"
            " WHERE path = '/design/naming.md'"
        )
        # A lock is no new version.
        platform.execute("UPDATE kb_documents SET locked_by = 'x' WHERE path = '/design/naming.md'")
        history = platform.execute(
            "SELECT version, document ->> 'title', changed_by FROM kb_document_history"
            " WHERE path = '/design/naming.md' AND changed_by = 'somebody'"
        ).fetchall()
        version = platform.execute("SELECT version FROM kb_documents WHERE path = '/design/naming.md'").fetchone()
    assert history == [(1, "Naming", "somebody")]
    assert version == (2,)


def test_the_planned_tables_make_35(platform: Conn) -> None:
    with platform.transaction(force_rollback=True):
        platform.execute(seed.script("planned").encode())
        count = platform.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchone()
        attribution = set(
            platform.execute(
                """SELECT a.attname, k.confdeltype FROM pg_constraint AS k
                     JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
                    WHERE k.contype = 'f' AND a.attname = ANY
                          ('{created_by,granted_by,assigned_by,invited_by,shared_by,actor_id}')"""
            )
        )
        own_parent = platform.execute(
            "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND conrelid = confrelid"
        ).fetchall()
    assert count == (35,)
    assert attribution == {
        (name, "a") for name in ("created_by", "granted_by", "assigned_by", "invited_by", "shared_by", "actor_id")
    }
    assert own_parent == [("teams",)]
