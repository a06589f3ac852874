"""The audit on real databases: the seeded drift and nothing besides, and random worlds held against the naive audit,
by SQL and by the API."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaiaops.sandbox.drift import ENVIRONMENTS, known_drift
from tests.conftest import SANDBOX_USERS, Sandbox
from tests.integration.audit_kit import NIL, P, R, World, databases, insert_record, naive, serving

STRESS = os.environ.get("GAIAOPS_TEST_STRESS") == "1"
WORLDS = 40 if STRESS else 6


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Five databases with tables and nobody in them, and a stand-in on the auth one."""
    with serving(World(databases(sandbox.url("dev")), tmp_path_factory.mktemp("audit"))) as served:
        yield served


@pytest.mark.parametrize("source", ["sql", "api"])
def test_the_seeded_drift_and_nothing_besides(sandbox: Sandbox, source: str, tmp_path: Path) -> None:
    from gaiaops import registry
    from gaiaops.audit import run, sources

    loaded = registry.load(str(sandbox.layout.registry))
    with run.audit(loaded, loaded.environments, sources.Wanted(source), lambda *_: None) as done:
        found = [(f.kind, f.environment, f.subject) for f in done.report.findings()]
        assert not done.report.partial
        assert done.report.source == source
        assert done.report.vanished == 0
    assert sorted(found) == sorted((d.kind, d.environment, d.subject) for d in known_drift(SANDBOX_USERS))


SPELLINGS = [
    ("ada", "Ada", "ADA"),
    ("kim", "\u212aim", "KIM"),
    ("strasse", "straße", "STRASSE"),
    ("élif", "ÉLIF", "e\u0301lif"),
    ("ilker", "İlker", "\u0131lker", "ILKER"),
    ('"a b+dev"', '"A b+dev"'),
    ("x\ty\nz\x1b[31m", "X\ty\nz\x1b[31m"),
    ("\\n%_'", "\\N%_'"),
    ("l" * 230, "L" * 230),
]
TAGS = ["", "", "+dev", "+DEV", "+Staging", "+alice", "+dev+staging", "+local", "+\u017ftaging"]


def an_address(chance: random.Random) -> str:
    local = chance.choice(chance.choice(SPELLINGS[: chance.choice([3, len(SPELLINGS)])]))
    return f"{local}{chance.choice(TAGS)}@{chance.choice(['x.org', 'x.org', 'X.org'])}"


def a_world(seed: int, *, api: bool) -> tuple[list[R], dict[str, list[P]]]:
    """A few dozen people whose ids, addresses and states clash. What the API cannot show is not in its worlds."""
    chance = random.Random(seed)  # noqa: S311
    ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(24)]
    records, taken = list[R](), set[str]()
    for own in chance.sample(ids, 18):
        sso = chance.random() < 0.15
        address = chance.choice([an_address(chance)] * 9 + [""])
        if chance.random() < 0.06:
            address = "A" + uuid.UUID(int=chance.getrandbits(128)).hex  # what a soft deletion leaves
        if address and address in taken and not sso:
            continue
        taken |= {address} if not sso else set()
        states = {
            name: chance.random() < share
            for name, share in [("banned", 0.1), ("deleted", 0.1), ("anonymous", 0.08), ("unconfirmed", 0.2),
                                ("young", 0.1), ("invisible", 0.0 if api else 0.08)]
        }  # fmt: skip
        records.append(R(own, address, sso=sso, **states))
    environments = {}
    for name in ENVIRONMENTS:
        profiles: dict[str, P] = {}
        for _ in range(chance.randrange(0, 12)):
            record = chance.choice(records)
            own = chance.choice([record.id, record.id, chance.choice(ids)])
            address = chance.choice([record.address, record.address, record.address.swapcase(), an_address(chance)])
            clash = any(p.address == address for p in profiles.values())
            if own not in profiles and not clash and len(address) <= 255:
                profiles[own] = P(own, address, young=chance.random() < 0.1, keys=chance.choice([0, 1, 2]))
        environments[name] = list(profiles.values())
    return records, environments


@pytest.mark.parametrize("seed", range(WORLDS))
def test_random_worlds_by_sql(world: World, seed: int) -> None:
    records, environments = a_world(seed, api=False)
    world.fill(records, environments)
    done = world.audit()
    assert done.found == naive(records, environments)
    assert not done.partial
    for name, profiles in environments.items():
        assert done.report.sides[name].tally.users == len(profiles)
    assert done.report.auth.users == len(records)


@pytest.mark.parametrize("seed", range(1000, 1000 + WORLDS // 2))
def test_random_worlds_by_the_api_and_by_sql_alike(world: World, seed: int) -> None:
    records, environments = a_world(seed, api=True)
    world.fill(records, environments)
    by_api = world.audit(source="api")
    assert by_api.found == naive(records, environments)
    assert not by_api.partial and by_api.source == "api"
    assert world.audit().found == by_api.found


def test_rows_that_the_server_does_not_see(world: World) -> None:
    """Another aud, another instance_id, or NULL in either: nobody can log in with them."""
    people = [R(str(uuid.uuid4()), f"p{i}@x.org", invisible=True) for i in range(3)]
    world.fill([], {"production": [P(r.id, r.address, keys=1) for r in people]})
    with world.connect("auth") as connection:
        insert_record(connection, people[0], instance_id=str(uuid.uuid4()), aud="authenticated")
        insert_record(connection, people[1], instance_id=None, aud="authenticated")
        insert_record(connection, people[2], instance_id=NIL, aud=None)
    orphans = {(kind, "production", r.id) for r in people for kind in ("orphan-profile", "revoked-access")}
    assert world.audit().found == orphans


def test_records_without_times_are_old(world: World) -> None:
    """Rows inserted by SQL may have no created_at; they are judged, and never young."""
    record = R(str(uuid.uuid4()), "Old+dev@x.org")
    world.fill([record], {"dev": [P(record.id, "old+dev@x.org")]})
    world.sql("auth", "UPDATE auth.users SET created_at = NULL, updated_at = NULL")
    world.sql("dev", "UPDATE users SET created_at = NULL")
    assert world.audit().found == {("case-drift", "dev", record.id)}


def test_what_is_young_is_not_judged_and_later_is(world: World) -> None:
    record = R(str(uuid.uuid4()), "new@x.org", young=True)
    orphan = P(str(uuid.uuid4()), "lost@x.org", young=True, keys=1)
    world.fill([record], {"production": [orphan]})
    assert world.audit().found == set()
    world.grace = "1s"
    world.write()
    expected = {("unprovisioned", "", record.id)}
    expected |= {(kind, "production", orphan.id) for kind in ("orphan-profile", "revoked-access")}
    try:
        assert world.audit().found == expected
    finally:
        world.grace = "10min"
        world.write()


@pytest.mark.parametrize("source", ["sql", "api"])
def test_a_time_far_ahead_is_not_young(world: World, source: str) -> None:
    """A wrong clock or a bad import must not hide a row for ever; a few hours ahead may be a time zone."""
    record, orphan = R(str(uuid.uuid4()), "ahead@x.org"), P(str(uuid.uuid4()), "lost@x.org")
    world.fill([record], {"production": [orphan]})
    world.sql("auth", "UPDATE auth.users SET created_at = now() + interval '2 days'")
    world.sql("production", "UPDATE users SET created_at = now() + interval '2 days'")
    expected = {("unprovisioned", "", record.id), ("orphan-profile", "production", orphan.id)}
    assert world.audit(source=source).found == expected
    world.sql("auth", "UPDATE auth.users SET created_at = now() + interval '5 hours'")
    world.sql("production", "UPDATE users SET created_at = now() + interval '5 hours'")
    assert world.audit(source=source).found == set()


def test_people_swap_their_addresses(world: World) -> None:
    one, two = (R(str(uuid.uuid4()), f"{name}@x.org") for name in ("one", "two"))
    world.fill([one, two], {"production": [P(one.id, two.address), P(two.id, one.address)]})
    assert world.audit().found == {("email-drift", "production", r.id) for r in (one, two)}


def test_one_environment_says_nothing_of_who_is_nowhere(world: World) -> None:
    nowhere, elsewhere = R(str(uuid.uuid4()), "no@x.org"), R(str(uuid.uuid4()), "dev+dev@x.org")
    world.fill([nowhere, elsewhere], {"production": [P(elsewhere.id, elsewhere.address)]})
    assert world.audit("dev").found == {("missing-profile", "dev", elsewhere.id)}
    assert world.audit("staging").found == set()
    assert world.audit("production").found == {("foreign-profile", "production", elsewhere.id)}


def test_many_people_without_an_address(world: World) -> None:
    """Anonymous users share the empty address: they are counted, missed nowhere, and nobody's twins."""
    world.fill([], {"production": [P(str(uuid.uuid4()), "", keys=1)], "dev": [P(str(uuid.uuid4()), "")]})
    world.sql(
        "auth",
        "INSERT INTO auth.users (id, instance_id, aud, is_anonymous, created_at, raw_app_meta_data)"
        f" SELECT gen_random_uuid(), '{NIL}', 'authenticated', true, now() - interval '1 day', '{{}}'"
        " FROM generate_series(1, 20000)",
    )
    done = world.audit()
    assert done.counts == {"orphan-profile": 2, "revoked-access": 1, "untagged-profile": 1}
    assert done.report.auth.users == 20000
