"""The seed says what `drift.py` declares and nothing else: both sides are compared in full."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg import sql

from gaiaops.sandbox import drift, seed
from gaiaops.sandbox.drift_model import SOFT_COLUMNS, seed_uuid
from gaiaops.sandbox.seed_cache import cache_entries, read_cache_rows

from .seed_oracle import ANCHOR, Platform, all_findings, seeded_platform


@pytest.fixture(scope="module")
def default(postgres_url: str) -> Iterator[Platform]:
    with seeded_platform(postgres_url, seed.DEFAULT_USERS) as platform:
        yield platform


# ---------------------------------------------------------------- the drift


@pytest.mark.first(3)
@pytest.mark.parametrize("users", [0, 300, seed.DEFAULT_USERS, 5000])
def test_every_discrepancy_is_declared_and_every_declared_one_is_there(postgres_url: str, users: int) -> None:
    with seeded_platform(postgres_url, users) as platform:
        found = all_findings(platform)
    declared = {(f.kind, f.environment, f.subject) for f in drift.known_drift(users)}
    assert {*found} - declared == set()
    assert declared - {*found} == set()
    assert len(found) == len({*found})


@pytest.mark.parametrize(
    ("side", "change", "kinds"),
    [
        (
            "production",
            "UPDATE users SET email = 'x' || email WHERE id = %s",
            {"email-drift", "dangling-reference"},
        ),
        (
            "production",
            "UPDATE users SET email = upper(email) WHERE id = %s",
            {"case-drift", "dangling-reference"},
        ),
        ("production", "UPDATE api_keys SET is_active = false WHERE user_id = %s", {"stale-cache"}),
        ("auth", "UPDATE auth.users SET banned_until = 'infinity' WHERE id = %s", {"revoked-access"}),
        ("auth", "DELETE FROM auth.users WHERE id = %s", {"orphan-profile", "revoked-access"}),
        ("auth", "UPDATE auth.users SET email_confirmed_at = NULL WHERE id = %s", {"unconfirmed-profile"}),
    ],
)
def test_the_comparison_notices_one_changed_row(default: Platform, side: str, change: str, kinds: set[str]) -> None:
    """The oracle has teeth: it sees one row changed by hand (whose address some soft references hold)."""
    conn = default.auth if side == "auth" else default.environments[side]
    entries = {e: [*cache_entries(e, read_cache_rows(c))] for e, c in default.environments.items()}
    declared = {(f.kind, f.environment, f.subject) for f in drift.known_drift(default.users)}
    with conn.transaction(force_rollback=True):
        conn.execute(change.encode(), (seed_uuid("user:0"),))
        extra = {*all_findings(default, entries)} - declared
    assert {kind for kind, *_ in extra} == kinds


# ---------------------------------------------------------------- the rest of what the seed promises


def checksums(platform: Platform) -> dict[str, str]:
    """A checksum of every row of every table."""
    tables = "SELECT schemaname, relname FROM pg_stat_user_tables ORDER BY 1, 2"
    sums = {}
    for side, conn in {"auth": platform.auth, **platform.environments}.items():
        for schema, table in conn.execute(tables).fetchall():
            query = sql.SQL("""SELECT md5(string_agg(t::text, ' ' ORDER BY t::text COLLATE "C")) FROM {} AS t""")
            row = conn.execute(query.format(sql.Identifier(schema, table))).fetchone()
            assert row is not None and row[0] is not None, f"{side}: {table} is empty"
            sums[f"{side}.{schema}.{table}"] = row[0]
    return sums


def test_seeding_twice_gives_the_same_bytes_whatever_the_session(postgres_url: str, default: Platform) -> None:
    options = "-c TimeZone=Asia/Kathmandu -c DateStyle=German -c lc_messages=C -c extra_float_digits=0"
    with seeded_platform(postgres_url, default.users, options) as again:
        assert checksums(again) == checksums(default)
    assert len(checksums(default)) == 4 + 4 * 19


def test_sql_and_python_make_the_same_people(default: Platform) -> None:
    rows = {row[0] for row in default.auth.execute("SELECT id::text FROM auth.users")}
    assert rows == {seed_uuid(f"user:{n}") for n in range(drift.ordinary_people(default.users))} | {
        account.id for account in drift.ACCOUNTS
    }


def test_traps_are_present(default: Platform) -> None:
    for trap in drift.TRAPS:
        conn = default.auth if trap.environment == "auth" else default.environments[trap.environment]
        if trap.name == "collateral":
            query = """SELECT c.user_id <> m.user_id FROM chat_messages AS m
                         JOIN conversations AS c ON c.id = m.conversation_id WHERE m.id::text = %s"""
            assert conn.execute(query, (trap.subject,)).fetchall() == [(True,)]
        elif trap.name == "soft-reference":
            assert trap.subject in {r.value for r in drift.REFERENCES}
        else:
            table = "auth.users" if trap.environment == "auth" else "users"
            query = f"SELECT email FROM {table} WHERE id::text = %s"
            assert conn.execute(query.encode(), (trap.subject,)).fetchall() == [(trap.address,)]


def test_planted_references_name_the_test_user_in_every_way(default: Platform) -> None:
    conn = default.environments["production"]
    for reference in drift.REFERENCES:
        if reference.environment == "production":
            query = f"SELECT count(*) > 0 FROM {reference.table} WHERE {SOFT_COLUMNS[reference.table]} = %s"
            assert conn.execute(query.encode(), (reference.value,)).fetchone() == (True,)


def test_auth_records_are_ones_the_server_can_list(default: Platform) -> None:
    broken = default.auth.execute(
        """SELECT id FROM auth.users WHERE instance_id IS DISTINCT FROM '00000000-0000-0000-0000-000000000000'
               OR aud IS DISTINCT FROM 'authenticated' OR role IS DISTINCT FROM 'authenticated'
               OR num_nulls(created_at, updated_at, confirmation_token, recovery_token, email_change,
                            email_change_token_new) > 0"""
    ).fetchall()
    assert broken == []
    assert default.auth.execute("SELECT count(*) FROM auth.users").fetchone() == (default.users,)


def test_only_one_small_batch_shares_its_created_at(default: Platform) -> None:
    ties = "SELECT count(*) FROM auth.users GROUP BY created_at HAVING count(*) > 1"
    assert default.auth.execute(ties).fetchall() == [(60,)]
    newest = default.auth.execute("SELECT max(created_at) FROM auth.users").fetchone()
    assert newest is not None
    assert newest[0] < ANCHOR - timedelta(days=7)


def test_nothing_temporary_stays_and_statistics_are_there(default: Platform) -> None:
    for conn in (default.auth, *default.environments.values()):
        functions = "SELECT proname FROM pg_proc WHERE proname LIKE 'seed%'"
        assert conn.execute(functions.encode()).fetchall() == []
        unknown = "SELECT relname FROM pg_stat_user_tables WHERE last_analyze IS NULL"
        assert conn.execute(unknown.encode()).fetchall() == []


def test_a_production_of_the_default_size_can_be_cleaned_without_more_words(default: Platform) -> None:
    row = default.environments["production"].execute("SELECT count(*) FROM users").fetchone()
    kinds = [(f.kind, f.environment) for f in drift.known_drift(default.users)]
    assert row is not None
    assert 20 <= kinds.count(("foreign-profile", "production")) <= 0.05 * row[0]


@pytest.mark.parametrize("environment", drift.ENVIRONMENTS)
def test_the_cache_has_every_type_and_every_span(default: Platform, environment: str) -> None:
    entries = [*cache_entries(environment, read_cache_rows(default.environments[environment]))]
    assert len({entry.key for entry in entries}) == len(entries) < 6000
    assert {entry.kind for entry in entries} == {"string", "hash", "list", "set"}
    ttls = {entry.ttl for entry in entries}
    seconds = [ttl for ttl in ttls if ttl is not None]
    assert None in ttls
    for low, high in ((0, 60), (60, 3600), (3600, 86_400), (86_400, 10**7)):
        assert any(low < ttl < high or ttl == high for ttl in seconds)


def test_an_environment_must_be_one(default: Platform) -> None:
    with pytest.raises(ValueError, match="qa"):
        seed.seed_environment(default.auth, "qa")
