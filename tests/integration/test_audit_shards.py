"""The audit where environments have shards: random worlds scattered over them are held against the naive audit of the
sum, and a shard that cannot be read makes nobody absent."""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from gaiaops.audit import run as audit_run
from tests.conftest import Sandbox
from tests.integration.audit_kit import P, R, Triple
from tests.integration.shard_worlds import (
    SHARDS,
    ShardedWorld,
    Split,
    move,
    naive_of,
    places,
    scattered,
    sharded,
    terminate,
    together,
)
from tests.integration.test_audit_faults import NOBODY, STEPS, before
from tests.integration.test_audit_worlds import a_world
from tests.waiting import soon

STRESS = os.environ.get("GAIAOPS_TEST_STRESS") == "1"
WORLDS = 40 if STRESS else 4


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardedWorld]:
    with sharded(sandbox, tmp_path_factory.mktemp("shards")) as made:
        yield made


@pytest.fixture(autouse=True)
def usual(world: ShardedWorld) -> Iterator[None]:
    yield
    world.redis = {}
    world.write()


def uid() -> str:
    return str(uuid.uuid4())


@pytest.mark.parametrize("seed", range(WORLDS))
def test_random_worlds(world: ShardedWorld, seed: int) -> None:
    """The findings are those of the sum, and each says in which shards the profile is."""
    records, environments = a_world(seed, api=False)
    split = scattered(random.Random(seed), environments)  # noqa: S311
    world.split(records, split)
    done = world.audit()
    assert done.found == naive_of(records, split)
    assert not done.partial and done.vanished == 0
    for name, parts in split.items():
        assert done.report.sides[name].tally.users == len(together(parts))
    for one in done.findings:
        own = one.kind not in ("missing-profile", "unprovisioned", "duplicate-profile")
        if own and one.environment in SHARDS:
            assert set(one.shards) == places(split, one.environment, one.subject), one
        elif not own and one.kind != "duplicate-profile":
            assert one.shards == ()


def test_duplicates_say_where_they_are(world: ShardedWorld) -> None:
    """Equal addresses with two ids, and one id with two addresses, are duplicates; one row in two shards is not."""
    twins, forked, copied = ([uid(), uid()], uid(), uid())
    world.split(
        [R(twins[0], "Two@x.org"), R(forked, "old@x.org"), R(copied, "same@x.org")],
        {
            "production": {
                "eu": [P(twins[0], "Two@x.org"), P(copied, "same@x.org")],
                "us": [P(twins[1], "two@x.org"), P(forked, "old@x.org")],
                "asia": [P(forked, "new@x.org"), P(copied, "same@x.org")],
            }
        },
    )
    done = world.audit()
    assert done.found == {
        ("duplicate-profile", "production", "two@x.org"),
        ("duplicate-profile", "production", forked),
        ("email-drift", "production", forked),
    }
    told = {one.subject: one for one in done.findings if one.kind == "duplicate-profile"}
    ids = sorted(twins)
    spelled = {twins[0]: f"Two@x.org ({twins[0]}, production/eu)", twins[1]: f"two@x.org ({twins[1]}, production/us)"}
    assert told["two@x.org"].evidence == {"profiles": f"{spelled[ids[0]]}, {spelled[ids[1]]}"}
    assert set(told["two@x.org"].shards) == {"eu", "us"}
    where = f"new@x.org ({forked}, production/asia), old@x.org ({forked}, production/us)"
    assert told[forked].evidence == {"profiles": where}
    assert done.report.sides["production"].tally.users == 5


def test_copies_are_met_whatever_their_order(world: ShardedWorld) -> None:
    """Several profiles with one key lie in another order in each shard: each is still one profile."""
    low, high = sorted((uid(), uid()))
    both = [P(high, "Two@x.org"), P(low, "two@x.org")]
    world.split([R(low, "two@x.org")], {"production": {"eu": both, "us": both[::-1]}})
    done = world.audit()
    assert done.report.sides["production"].tally.users == 2
    assert ("duplicate-profile", "production", "two@x.org") in done.found


# ------------------------------------------------------------------------------- references and cache


def refer(world: ShardedWorld, side: str, *, ids: list[str], addresses: list[str]) -> None:
    """Rows that name users by id and by address."""
    with world.connect(side) as connection:
        for own in ids:
            connection.execute("INSERT INTO asset_usage (user_id, usage_type) VALUES (%s, 'view')", [own])
        for address in addresses:
            connection.execute(
                "INSERT INTO kb_semantic_index_metadata (namespace, relative_path) VALUES (%s, %s)",
                [f"users/{address}", uid()],
            )


@pytest.mark.parametrize("seed", range(20 if STRESS else 2))
def test_a_reference_dangles_where_no_shard_has_the_user(world: ShardedWorld, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    people = [P(uid(), f"p{i}%_'\\@x.org") for i in range(30)]
    shards = SHARDS["production"]
    split: Split = {"production": {shard: [] for shard in shards}}
    for one in people[:20]:
        for shard in chance.sample(shards, chance.choice([1, 1, 2])):
            split["production"][shard].append(one)
    world.split([R(one.id, one.address) for one in people[:20]], split)
    rows: dict[str, Counter[str]] = {shard: Counter() for shard in shards}
    for shard in shards:
        ids, addresses = ([chance.choice(people) for _ in range(25)] for _ in range(2))
        mine = [one.id.upper() if chance.random() < 0.2 else one.id for one in ids]
        refer(world, f"production/{shard}", ids=mine, addresses=[one.address for one in addresses])
        rows[shard].update(f"asset_usage.user_id={own}" for own in mine)
        rows[shard].update(f"kb_semantic_index_metadata.namespace=users/{one.address}" for one in addresses)
    names = {one.id for one in people[20:]} | {one.address for one in people[20:]}
    done = world.audit("production", kinds={"dangling-reference"})
    expected = {
        subject: {shard: rows[shard][subject] for shard in shards if rows[shard][subject]}
        for subject in set().union(*rows.values())
        if subject.partition("=")[2].removeprefix("users/").replace("users/", "") in names
        or subject.partition("=")[2].lower() in names
    }
    found = {one.subject: one for one in done.findings}
    assert set(found) == set(expected)
    for subject, held in expected.items():
        assert set(found[subject].shards) == set(held)
        assert f"({sum(held.values())} row" in "".join(found[subject].evidence.values())
        where = f"production/{next(iter(held))}" if len(held) == 1 else "production"
        assert found[subject].command.startswith(f"gaiaops query {where} 'SELECT")
    assert not done.partial


def test_an_entry_is_stale_where_no_shard_makes_it_valid(world: ShardedWorld, sandbox: Sandbox) -> None:
    ann, bob, gone = uid(), uid(), uid()
    both = [P(ann, "ann@x.org", keys=1), P(bob, "bob@x.org")]
    world.split([R(ann, "ann@x.org"), R(bob, "bob@x.org")], {"production": {"eu": both[:1], "us": both[1:]}})
    world.redis = {"production": sandbox.state.redis_url("staging").removesuffix("/0") + "/6"}
    world.write()
    with world.connect("production/eu") as connection:
        state = "CASE WHEN NOT is_active THEN 0 WHEN expires_at > now() THEN 2 ELSE 1 END"
        hashes = dict(connection.execute(f"SELECT {state}, key_hash FROM api_keys".encode()).fetchall())
    with redis.Redis.from_url(world.redis["production"]) as client:
        client.flushdb()
        try:
            for own in (ann, bob, gone):
                client.set(f"user:session:{own}", "x")
            for key_hash in hashes.values():
                client.set(f"gaia:auth:apikey:v1:{key_hash[:32]}", "x")
            done = world.audit("production", kinds={"stale-cache"})
        finally:
            client.flushdb()
    why = {one.subject: one.evidence["PostgreSQL"] for one in done.findings}
    assert why.pop(f"user:session:{gone}") == "no such row in users"
    assert why.pop(f"gaia:auth:apikey:v1:{hashes[0][:32]}") == "the key is inactive"
    assert why.pop(f"gaia:auth:apikey:v1:{hashes[1][:32]}").startswith("the key expired at ")
    assert why == {}


# ------------------------------------------------------------------------------- while it changes, and when it breaks


def test_a_user_who_moves_is_nowhere_once_at_most(world: ShardedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two snapshots a user may be in no shard: the second look finds the user."""
    ann, bob = uid(), uid()
    world.split([R(ann, "ann@x.org"), R(bob, "bob@x.org")], {"production": {"eu": [P(bob, "bob@x.org")]}})
    refer(world, "production/us", ids=[ann], addresses=["ann@x.org"])

    def arrive() -> None:
        world.sql(
            "production/asia",
            f"INSERT INTO users (id, email, created_at) VALUES ('{ann}', 'ann@x.org', now() - interval '30 days')",
        )
        move(world, bob, "production/eu", "production/us")

    with before(monkeypatch, audit_run._Audit, "_second_look", arrive):
        done = world.audit()
    assert done.found == set()
    assert done.vanished == 3, "two references and somebody in no environment"


@pytest.fixture
def broken(world: ShardedWorld) -> tuple[list[R], Split]:
    """Somebody in every shard, somebody nowhere, and references from one shard to users of another."""
    names = ("eu", "us", "asia", "nowhere")
    records = [R(uid(), f"{name}@x.org", banned=name == "us") for name in names]
    people = dict(zip(names, (P(one.id, one.address, keys=1) for one in records), strict=True))
    split: Split = {"production": {shard: [people[shard]] for shard in SHARDS["production"]}}
    split["dev"] = {"1": [P(uid(), "orphan+dev@x.org")], "2": [P(records[0].id, "eu@x.org")]}
    world.split(records, split)
    for shard in SHARDS["production"]:
        refer(world, f"production/{shard}", ids=[one.id for one in records], addresses=[one.address for one in records])
    return records, split


def absent(found: set[Triple]) -> set[Triple]:
    return {one for one in found if one[1] in ("production", "")}


def test_nothing_is_broken_yet(world: ShardedWorld, broken: tuple[list[R], Split]) -> None:
    records, _ = broken
    done = world.audit()
    assert naive_of(*broken) <= done.found
    more = {one[2] for one in done.found - naive_of(*broken)}
    assert more == {
        f"asset_usage.user_id={records[3].id}",
        "kb_semantic_index_metadata.namespace=users/nowhere@x.org",
    }


@pytest.mark.parametrize("shard", SHARDS["production"])
def test_a_shard_that_refuses(world: ShardedWorld, broken: tuple[list[R], Split], shard: str) -> None:
    """Nothing is said of the environment, and nobody is called missing; the line names the shard."""
    world.write(**{f"production_{shard}": NOBODY})
    done = world.audit()
    assert absent(done.found) == set()
    assert done.errors["production"].startswith(f"[production/{shard}] ")
    assert done.partial and not done.report.looked_for[""] and "production" not in done.report.looked_for
    assert {one for one in done.found if one[1] == "dev"} == {
        ("orphan-profile", "dev", broken[1]["dev"]["1"][0].id),
        ("untagged-profile", "dev", broken[0][0].id),
    }


@pytest.mark.first(2)
@pytest.mark.parametrize("step", STEPS)
def test_a_shard_dies(
    world: ShardedWorld, broken: tuple[list[R], Split], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with before(monkeypatch, audit_run._Audit, step, lambda: terminate(world, "production/us")):
        done = world.audit()
    assert absent(done.found) == set()
    assert list(done.errors) == ["production"] and done.errors["production"].startswith("[production/us] ")
    assert done.partial and done.vanished == 0
    assert {one for one in done.found if one[1] == "dev"}


def test_a_shard_without_the_tables(world: ShardedWorld, sandbox: Sandbox) -> None:
    """Without users it cannot be judged; without API keys the rest can be."""
    ann = uid()
    world.split([R(ann, "ann@x.org")], {"production": {"eu": [P(ann, "ann@x.org")]}})
    world.redis = {"production": sandbox.state.redis_url("staging").removesuffix("/0") + "/6"}
    world.write()
    try:
        world.sql("production/us", "ALTER TABLE api_keys RENAME TO hidden_keys")
        done = world.audit()
        assert done.found == set()
        assert any("[production] there is no table api_keys in production/us" in one for one in done.problems)
        world.sql("production/us", "ALTER TABLE users RENAME TO hidden")
        assert world.audit().errors == {"production": "[production/us] there is no table users"}
    finally:
        world.sql("production/us", "ALTER TABLE IF EXISTS hidden RENAME TO users")
        world.sql("production/us", "ALTER TABLE IF EXISTS hidden_keys RENAME TO api_keys")


def test_a_silent_supabase_hides_copies_that_differ(world: ShardedWorld) -> None:
    """Without records only equal addresses stand out: a known finding about one id is not called fixed."""
    own = uid()
    people = {"eu": [P(own, "a@x.org")], "us": [P(own, "b@x.org"), P(uid(), "c@x.org")], "asia": [P(uid(), "C@x.org")]}
    world.split([R(own, "a@x.org")], {"production": people})
    world.write(auth=NOBODY)
    done = world.audit()
    assert done.found == {("duplicate-profile", "production", "c@x.org")}
    assert "duplicate-profile" not in done.report.looked_for["production"]
    assert "duplicate-profile" in done.report.looked_for["staging"]


def test_no_session_is_left(world: ShardedWorld) -> None:
    world.split([], {})
    world.audit()
    names = [url.rpartition("/")[2] for url in world.urls.values()]
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'gaiaops/%%' AND datname = ANY(%s)"
    with world.connect("local") as connection:
        assert soon(lambda: connection.execute(left, [names]).fetchone() == (0,))
