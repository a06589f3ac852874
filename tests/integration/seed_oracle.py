"""Seeded platforms, and a naive audit of them in memory: the oracle `drift.py` is held against.

It knows the address convention and the kinds of findings from `drift.MEANINGS` and the design alone; it
shares no rule with gaiaops's own audit.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gaiaops.sandbox import drift, seed
from gaiaops.sandbox.drift_model import SOFT_COLUMNS, api_key_entry
from gaiaops.sandbox.seed_cache import CacheEntry, cache_entries, read_cache_rows

Conn = psycopg.Connection[Any]
Finding = tuple[str, str, str]
ANCHOR = datetime(2026, 11, 1, tzinfo=UTC)
TAGS = {"local", "dev", "staging"}


@dataclass(frozen=True)
class Platform:
    """Five seeded databases."""

    users: int
    auth: Conn
    environments: dict[str, Conn]


@contextmanager
def seeded_platform(url: str, users: int, options: str = "") -> Iterator[Platform]:
    """Create, seed and in the end drop five databases; `options` are settings of the seeding sessions."""
    sides = ("auth", *drift.ENVIRONMENTS)
    names = {side: f"seed_{uuid4().hex}" for side in sides}

    def build(side: str) -> None:
        with psycopg.connect(make_conninfo(url, dbname=names[side], options=options), autocommit=True) as conn:
            if side == "auth":
                seed.create_auth_schema(conn)
                seed.seed_auth(conn, users)
            else:
                seed.create_platform_schema(conn)
                seed.seed_environment(conn, side, users)

    with psycopg.connect(url, autocommit=True) as admin, ExitStack() as stack:
        for name in names.values():
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            stack.callback(admin.execute, drop)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(build, sides))
        conns = {
            side: stack.enter_context(psycopg.connect(make_conninfo(url, dbname=name), autocommit=True))
            for side, name in names.items()
        }
        yield Platform(users, conns.pop("auth"), conns)


@dataclass(frozen=True)
class Record:
    """An auth record, as the comparison needs it."""

    id: str
    email: str | None
    confirmed: bool
    old: bool
    banned: bool
    deleted: bool
    special: bool

    @property
    def folded(self) -> str | None:
        return None if self.email is None or self.deleted else self.email.casefold()


def read_records(conn: Conn) -> list[Record]:
    query = (
        "SELECT id::text, email, email_confirmed_at IS NOT NULL, created_at < %(anchor)s - interval '7 days',"
        " coalesce(banned_until > %(anchor)s, false), deleted_at IS NOT NULL, is_sso_user OR is_anonymous"
        " FROM auth.users"
    )
    return [Record(*row) for row in conn.execute(query, {"anchor": ANCHOR})]


def environment_of(address: str) -> str:
    """The environment an address names, "" for two tags: the convention once more, independently."""
    tags = [part.casefold() for part in address.rpartition("@")[0].split("+")[1:]]
    if not tags or tags[-1] not in TAGS:
        return "production"
    return tags[-1] if sum(tag in TAGS for tag in tags) == 1 else ""


def profile_findings(environment: str, conn: Conn, records: list[Record]) -> Iterator[Finding]:
    """What is wrong with the profiles of one environment."""
    by_id = {r.id: r for r in records}
    by_address = {r.folded: r for r in records if r.folded and not r.special}
    working = {
        row[0]
        for row in conn.execute(
            "SELECT user_id::text FROM api_keys WHERE is_active AND (expires_at IS NULL OR expires_at > %s)",
            (ANCHOR.replace(tzinfo=None),),
        )
    }
    profiles = conn.execute("SELECT id::text, email FROM users").fetchall()
    folded = [email.casefold() for _, email in profiles]
    twice = {address for address in set(folded) if folded.count(address) > 1}
    yield from (("duplicate-profile", environment, address) for address in twice)
    for id_, email in profiles:
        same, fold = by_id.get(id_), email.casefold()
        record = same or by_address.get(fold)
        named = environment_of(email)
        if id_ in working and (record is None or record.banned or record.deleted):
            yield "revoked-access", environment, id_
        if record is None:
            yield "orphan-profile", environment, id_
        elif same is None and fold not in twice:
            yield "id-mismatch", environment, id_
        if same and same.folded and same.email != email:
            yield "case-drift" if same.folded == fold else "email-drift", environment, id_
        if record and record.folded and not record.confirmed and record.old:
            yield "unconfirmed-profile", environment, id_
        if not named:
            yield "ambiguous-address", environment, id_
        elif named != environment:
            yield "untagged-profile" if named == "production" else "foreign-profile", environment, id_


def record_findings(records: list[Record], environments: dict[str, Conn]) -> Iterator[Finding]:
    """Records that lack a profile where they belong, or anywhere."""
    known = {
        name: {v for id_, email in conn.execute("SELECT id::text, email FROM users") for v in (id_, email.casefold())}
        for name, conn in environments.items()
    }
    for record in records:
        if not record.folded or record.email is None:
            continue
        present = {name for name, values in known.items() if {record.id, record.folded} & values}
        home = environment_of(record.email)
        if not present and not record.special:
            yield "unprovisioned", "", record.id
        elif present and home and home not in present:
            yield "missing-profile", home, record.id


SOFT_REFERENCES = {
    **{table: (column, "true") for table, column in SOFT_COLUMNS.items()},
    "asset_modifications": ("user_id", "true"),
    "personas": ("created_by", "true"),
    "kb_documents": ("locked_by", "true"),
    "kb_document_history": ("changed_by", "changed_by <> 'system'"),
    "kb_permissions": ("principal_id", "principal_type = 'user'"),
    "kb_activity_log": ("actor_id", "actor_type = 'user'"),
    "kb_semantic_index_metadata": ("namespace", "namespace LIKE 'users/%'"),
}


def dangling_references(environment: str, conn: Conn) -> Iterator[Finding]:
    for table, (column, condition) in SOFT_REFERENCES.items():
        query = (
            f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL AND {condition}"
            f" AND {column} NOT IN (SELECT id::text FROM users UNION ALL SELECT 'users/' || email FROM users)"
        )
        for (value,) in conn.execute(query.encode()):
            yield "dangling-reference", environment, f"{table}.{column}={value}"
    granted = "SELECT granted_by FROM kb_permissions WHERE granted_by NOT IN (SELECT id::text FROM users)"
    assert conn.execute(granted.encode()).fetchall() == []


def stale_entries(environment: str, conn: Conn, entries: list[CacheEntry]) -> Iterator[Finding]:
    valid = {
        api_key_entry(row[0])
        for row in conn.execute(
            "SELECT key_hash FROM api_keys WHERE is_active AND (expires_at IS NULL OR expires_at > %s)",
            (ANCHOR.replace(tzinfo=None),),
        )
    } | {f"user:session:{row[0]}" for row in conn.execute("SELECT id::text FROM users")}
    for entry in entries:
        if entry.key.startswith(("gaia:auth:apikey:", "user:session:")) and entry.key not in valid:
            yield "stale-cache", environment, entry.key


def all_findings(platform: Platform, entries: dict[str, list[CacheEntry]] | None = None) -> list[Finding]:
    """Every finding; the caches are the `entries` given, else what the environments would have in theirs."""
    records = read_records(platform.auth)
    found = [*record_findings(records, platform.environments)]
    for environment, conn in platform.environments.items():
        found += profile_findings(environment, conn, records)
        found += dangling_references(environment, conn)
        cached = entries[environment] if entries else [*cache_entries(environment, read_cache_rows(conn))]
        found += stale_entries(environment, conn, cached)
    return found
