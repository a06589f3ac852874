"""Repairs in one shard of an environment: what is right in it alone, and wrong in the sum, is never done; the other
shards keep every byte, and so does this one after `restore`."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from gaiaops import registry
from gaiaops.audit import repair, repair_look, repair_names, repair_run, repair_undo
from gaiaops.audit import run as audit_run
from gaiaops.audit.kinds import Finding
from gaiaops.audit.sources import Wanted
from gaiaops.errors import ConnectError, GaiaopsError, LostServerError, RefusedError
from gaiaops.postgres import changes
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Table
from tests.cli.cleanup_world import checksums
from tests.conftest import Sandbox
from tests.integration import shard_kit
from tests.integration.audit_kit import P, R
from tests.integration.pooler_kit import pgbouncer
from tests.integration.repair_kit import Auth, Kit, reasons
from tests.integration.shard_worlds import SHARDS, scattered, sharded
from tests.integration.test_audit_faults import NOBODY, before
from tests.integration.test_audit_worlds import a_world
from tests.waiting import soon

OLD, NEW = "old+dev@x.io", "new+dev@x.io"


class Shard(Kit):
    """One shard of dev, whose shards are eu and us; `rest` are the URLs of the others."""

    def __init__(self, name: str, urls: dict[str, str], folder: Path, redis_url: str, auth: Auth) -> None:
        self.name, self.rest = name, {one: url for one, url in urls.items() if one != name}
        super().__init__(urls[name], folder, redis_url)
        self.auth = auth

    def write(self, url: str, *, more: str = "", edit: Callable[[str], str] = lambda text: text, **rest: str) -> None:
        urls = {self.name: url, **self.rest, **rest}
        table = shard_kit.table("dev", dict(sorted(urls.items()))).partition("\n")[2].strip()
        super().write(url, more=more, edit=lambda text: edit(text.replace(f'postgres = "{url}"', table)))

    @property
    def env(self) -> Any:
        return self.registry.environment(f"dev/{self.name}")

    def finding(self, kind: str, subject: str, address: str = "", **evidence: str) -> Finding:  # type: ignore[override]
        return Finding(kind, "dev", subject, address, evidence, shards=(self.name,))


@pytest.fixture(scope="module")
def urls(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    with shard_kit.databases(sandbox, "eu", "us") as made:
        yield made


@pytest.fixture
def shards(
    sandbox: Sandbox, urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Shard, Shard]]:
    """eu and us, with nobody in them, and their one Redis."""
    for kind in ("DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    cache = sandbox.state.redis_url("dev")[:-1] + "9"
    auth = Auth()
    us = Shard("us", urls, tmp_path, cache, auth)
    eu = Shard("eu", urls, tmp_path, cache, auth)
    for one in (eu, us):
        one.sql("TRUNCATE users, kb_semantic_index_metadata CASCADE")
    with eu.cache as client:
        client.flushdb()
    yield eu, us
    with eu.cache as client:
        client.flushdb()


@contextmanager
def unchanged(*kits: Kit) -> Iterator[None]:
    """No table of these changes."""
    sums = [kit.sums() for kit in kits]
    yield
    assert [kit.sums() for kit in kits] == sums


def name_address(kit: Kit, address: str) -> None:
    """A row that names an address by a soft reference."""
    kit.sql(
        "INSERT INTO kb_semantic_index_metadata (namespace, relative_path, content_hash, chunk_count, file_mtime,"
        f" indexed_at) VALUES ('users/{address}', '{uuid.uuid4()}', 'h', 1, 1, now())"
    )


def terminate(kit: Kit) -> None:
    """Ends every session of gaiaops in a shard."""
    with psycopg.connect(kit.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'gaiaops/%'"
        )


# ---- there and back


def test_each_kind_there_and_back(shards: tuple[Shard, Shard]) -> None:
    """The other shard keeps every byte, and after the undoing this one too; Redis is the environment's."""
    eu, us = shards
    drifted, cased = eu.person(OLD, NEW), eu.person("Case+dev@x.io", "case+dev@x.io")
    banned = eu.person("ex+dev@x.io", "ex+dev@x.io", "b")
    _, digest = eu.key(banned)
    us.key(us.person("ann+dev@x.io", "ann+dev@x.io"))
    name_address(us, "ann+dev@x.io")
    entry = f"gaia:auth:apikey:v1:{digest[:32]}"
    eu.store(entry)
    first = eu.sums()
    with unchanged(us):
        done = eu.fix(("email-drift", drifted), ("case-drift", cased), ("revoked-access", banned))
        assert (done.rows, done.cache_removed, eu.cached(entry)) == (3, 1, [False])
        assert "-dev-eu-" in done.run and (done.run, done.archive) == (eu.run(done).id, str(eu.run(done).folder))
        assert eu.run(done).plan().environment == "dev/eu"
        assert (eu.address(drifted), eu.address(cased), eu.active(banned)) == (NEW, "case+dev@x.io", [])
        assert {table for table, sum_ in eu.sums().items() if sum_ != first[table]} == {
            "public.users", "public.api_keys",
        }  # fmt: skip
        back = eu.undo(done.run)
    assert (back.set_back, back.not_undone) == ({"users": 2, "api_keys": 1}, [])
    assert any("Redis" in lost for lost in back.lost)
    assert eu.sums() == first


def test_an_unfinished_repair_is_finished(shards: tuple[Shard, Shard]) -> None:
    """By the next repair of this shard, not of the other one; in the environment's Redis."""
    eu, us = shards
    banned = eu.person("ex+dev@x.io", "ex+dev@x.io", "b")
    _, digest = eu.key(banned)
    entry = f"gaia:auth:apikey:v1:{digest[:32]}"
    eu.store(entry)

    def crash(word: str, rows: int) -> None:
        if word == "committed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair.apply(eu.registry, eu.env, eu.plan(("revoked-access", banned)), eu.auth.again, repair.Hooks(crash))
    eu.settle()
    assert (eu.active(banned), eu.cached(entry)) == ([], [True])
    assert list(repair.finish(us.registry, us.env)) == [] and eu.cached(entry) == [True]
    (done,) = repair.finish(eu.registry, eu.env)
    assert (done.rows, done.cache_removed, eu.cached(entry)) == (1, 1, [False])
    assert eu.undo(done.run).set_back == {"api_keys": 1}


def test_what_is_not_of_this_shard_alone(shards: tuple[Shard, Shard]) -> None:
    eu, us = shards
    mine, theirs, both, missing = (str(uuid.uuid4()) for _ in range(4))
    for kit, own in ((eu, mine), (us, theirs), (eu, both), (us, both)):
        kit.profile(f"{own[:8]}+dev@x.io", own)
        eu.auth.add(f"{own[:8]}.new+dev@x.io", own=own)
    eu.auth.add("nu+dev@x.io", own=missing)
    with unchanged(eu, us):
        plan = eu.plan(
            Finding("email-drift", "dev", theirs, shards=("us",)),
            Finding("email-drift", "dev", both, shards=("eu", "us")),
            Finding("missing-profile", "dev", missing),
            Finding("stale-cache", "dev", "user:session:x"),
            Finding("email-drift", "production", mine),
            eu.finding("email-drift", mine),
        )
    assert [(change.subject, change.table) for change in plan.changes] == [(mine, "users")]
    assert {left.subject: left.why for left in plan.left} == {
        both: "dev/us has a profile of this id too",
        missing: "in which shard the profile belongs is for somebody to say",
        "user:session:x": "the Redis is the whole environment's",
    }


# ---- what the other shard has, or gets


def copy(us: Shard, own: str) -> None:
    us.profile("copy+dev@x.io", own)


IN_THE_WAY: dict[str, tuple[Callable[[Shard, str], object], str]] = {
    "address": (lambda us, own: us.profile(NEW), f"another profile has the address {NEW}: "),
    "folded": (lambda us, own: us.profile(NEW.upper()), f"another profile has the address {NEW}: "),
    "reference": (
        lambda us, own: name_address(us, OLD),
        f"1 rows of kb_semantic_index_metadata.namespace in dev/us name the address {OLD} and would dangle",
    ),
    "copy": (copy, "dev/us has a profile of this id too"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_it_is_in_the_way_already(shards: tuple[Shard, Shard], what: str) -> None:
    eu, us = shards
    own = eu.person(OLD, NEW)
    happens, why = IN_THE_WAY[what]
    happens(us, own)
    plan = eu.plan(("email-drift", own))
    assert plan.changes == () and reasons(plan)[0].startswith(why)


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_it_comes_after_the_rows_are_locked(shards: tuple[Shard, Shard], what: str) -> None:
    """The other shard is looked at later than that, so it is seen; what is not concerned is repaired."""
    eu, us = shards
    own, steady = eu.person(OLD, NEW), eu.person("s+dev@x.io", "t+dev@x.io")
    plan = eu.plan(("email-drift", own), ("email-drift", steady))
    happens, why = IN_THE_WAY[what]
    eu.auth.before_look = lambda: happens(us, own)
    done = eu.apply(plan)
    assert reasons(done)[0].startswith(why) and done.rows == 1
    assert (eu.address(own), eu.address(steady)) == (OLD, "t+dev@x.io")
    with unchanged(us):
        eu.undo(done.run)


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_it_comes_after_the_rows_are_written(
    shards: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Then nothing is committed, and no run is left."""
    eu, us = shards
    own, steady = eu.person(OLD, NEW), eu.person("s+dev@x.io", "t+dev@x.io")
    plan = eu.plan(("email-drift", steady), ("email-drift", own))
    happens, why = IN_THE_WAY[what]
    told = pytest.raises(RefusedError, match="while the rows were written, this came in between: ")
    with unchanged(eu), before(monkeypatch, repair_look.Looker, "again", lambda: happens(us, own)), told as caught:
        eu.apply(plan)
    assert why in caught.value.message and "nothing was changed" in caught.value.message
    assert repair_run.every() == [] and eu.phases == []


@pytest.mark.parametrize("same", ["owner", "hash"])
@pytest.mark.parametrize("late", [False, True])
def test_a_key_that_works_in_the_other_shard(shards: tuple[Shard, Shard], same: str, late: bool) -> None:
    """Deactivated here alone it would go on to give access, and its entry in Redis would be right."""
    eu, us = shards
    own = eu.person("ex+dev@x.io", "ex+dev@x.io", "b")
    _, digest = eu.key(own)
    entry = f"gaia:auth:apikey:v1:{digest[:32]}"
    eu.store(entry)
    other = us.profile("other+dev@x.io")
    owner, hash_ = (own, "f" * 64) if same == "owner" else (other, digest)

    def happens() -> None:
        us.sql(
            "SET LOCAL session_replication_role = replica;"
            "INSERT INTO api_keys (id, user_id, key_hash, name, is_active)"
            f" VALUES ('{uuid.uuid4()}', '{owner}', '{hash_}', 'k', true)"
        )

    if late:
        eu.auth.before_look = happens
        found = reasons(eu.apply(eu.plan(("revoked-access", own))))
    else:
        happens()
        found = reasons(eu.plan(("revoked-access", own)))
    assert found == ["API keys of the profile, or with the same hash, work in dev/us too"]
    assert len(eu.active(own)) == 1 and eu.cached(entry) == [True]
    us.sql("UPDATE api_keys SET is_active = false")
    eu.auth.before_look = lambda: None
    assert eu.fix(("revoked-access", own)).cache_removed == 1


# ---- another shard that is not there, or not what it seems


def test_a_shard_that_is_down(shards: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the plan, between it and the repair, and before the undoing: nothing is changed."""
    eu, _us = shards
    own = eu.person(OLD, NEW)
    plan = eu.plan(("email-drift", own))
    run = eu.apply(eu.plan(("email-drift", own)))
    with unchanged(eu):
        eu.write(eu.url, us=NOBODY)
        for step in (lambda: eu.plan(("email-drift", own)), lambda: eu.apply(plan), lambda: eu.undo(run.run)):
            with pytest.raises(ConnectError) as caught:
                step()
            assert caught.value.environment == "dev/us"
        assert [one.id for one in repair_run.every()] == [run.run]
        assert eu.run(run).state().word == "done"


def _fails(step: Callable[[], object]) -> None:
    """In the other shard, and so that nobody doubts what became of this one."""
    with pytest.raises(GaiaopsError) as caught:
        step()
    assert caught.value.environment == "dev/us" and not isinstance(caught.value, LostServerError)


def test_a_shard_that_dies(shards: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is looked at, or asked for the last time, nothing is changed and nothing is in doubt; after the commit
    it is needed no more."""
    eu, us = shards
    own = eu.person(OLD, NEW)
    with unchanged(eu, us):
        plan = eu.plan(("email-drift", own))
        eu.auth.before_look = lambda: terminate(us)
        _fails(lambda: eu.apply(plan))
        eu.auth.before_look = lambda: None
        plan = eu.plan(("email-drift", own))
        with before(monkeypatch, repair_look.Looker, "again", lambda: terminate(us)):
            _fails(lambda: eu.apply(plan))
        assert repair_run.every() == []
    hooks = repair.Hooks(lambda word, rows: terminate(us) if word == "committing" else None)
    done = repair.apply(eu.registry, eu.env, eu.plan(("email-drift", own)), eu.auth.again, hooks)
    assert (done.rows, eu.address(own), eu.run(done).state().word) == (1, NEW, "done")


def test_a_connection_that_breaks(shards: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that only reads leaves nothing in doubt, neither of a repair nor of an undoing."""
    eu, us = shards
    own, steady = eu.person(OLD, NEW), eu.person("s+dev@x.io", "t+dev@x.io")
    plan, run = eu.plan(("email-drift", own)), eu.fix(("email-drift", steady)).run
    asked, name = repair_names.taken, urlsplit(us.url).path[1:]

    def broken(session: Session, users: Table, addresses: Collection[str]) -> list[tuple[str, str]]:
        if session.connection.info.dbname == name:
            raise LostServerError("the server closed the connection")
        return asked(session, users, addresses)

    monkeypatch.setattr(repair_names, "taken", broken)
    with unchanged(eu, us):
        _fails(lambda: eu.apply(plan))
        _fails(lambda: eu.undo(run))
    assert [one.id for one in repair_run.every()] == [run]


def test_a_shard_that_is_another_server(shards: tuple[Shard, Shard]) -> None:
    eu, us = shards
    own = eu.person(OLD, NEW)
    plan = eu.plan(("email-drift", own))
    pinned = f'url = "{us.url}", pin = {{ database = "another" }}'
    eu.write(eu.url, edit=lambda text: text.replace(f'url = "{us.url}"', pinned))
    with unchanged(eu, us):
        for step in (lambda: eu.plan(("email-drift", own)), lambda: eu.apply(plan)):
            with pytest.raises(RefusedError, match="wrong database behind the name") as caught:
                step()
            assert caught.value.environment == "dev/us"


@pytest.fixture(params=["direct", "pooled"])
def keeps(request: pytest.FixtureRequest, sandbox: Sandbox, shards: tuple[Shard, Shard]) -> Iterator[bool]:
    """The shards as they are, or through PgBouncer, where no session can keep a place."""
    if request.param == "direct":
        yield True
        return
    with pgbouncer(sandbox.url("dev"), query_wait_timeout=20) as pooler:
        for kit in shards:
            (name, url), *_ = kit.rest.items()
            through = {one: pooler.to(urlsplit(where).path[1:]).url for one, where in ((name, url), ("", kit.url))}
            kit.write(through.pop(""), edit=lambda text: text, **through)
        yield False


def test_one_change_at_a_time_in_all_shards(
    shards: tuple[Shard, Shard], keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two repairs cannot take one address in two shards: whoever writes has the place of both."""
    monkeypatch.setattr(changes, "_LOCK_S", 0.3)
    eu, us = shards
    one, two = eu.person(OLD, NEW), us.person("elder+dev@x.io", NEW)
    plan, theirs = eu.plan(("email-drift", one)), us.plan(("email-drift", two))
    later = eu.plan(("email-drift", eu.person("s+dev@x.io", "t+dev@x.io")))
    tried: list[str] = []

    def meanwhile() -> None:
        eu.auth.before_look = lambda: None
        with pytest.raises(RefusedError, match="another clean-up or restore of this database is running"):
            repair.apply(us.registry, us.env, theirs, us.auth.again, repair.Hooks())
        with psycopg.connect(us.url) as other:  # one that does not look at eu's place
            assert other.execute(changes._LOCK).fetchone() == (not keeps,)
        tried.append("us")

    eu.auth.before_look = meanwhile
    assert eu.apply(plan).rows == 1 and tried == ["us"]
    us.settle()
    assert reasons(us.apply(theirs)) == [f"another profile has the address {NEW}: {one}"]
    with psycopg.connect(us.url, autocommit=True) as other, unchanged(eu, us):
        assert soon(lambda: other.execute(changes._LOCK).fetchone() == (True,))
        for step in (lambda: eu.apply(later), lambda: eu.undo(repair_run.every()[-1].id)):
            eu.settle()
            with pytest.raises(RefusedError, match="another clean-up or restore") as caught:
                step()
            assert caught.value.environment == "dev/us"


# ---- undoing


UNDOING: dict[str, tuple[Callable[[Shard, str], object], str]] = {
    "address": (lambda us, own: us.profile(OLD.upper()), f"another profile has the address {OLD}: "),
    "reference": (
        lambda us, own: name_address(us, NEW),
        f"1 rows of kb_semantic_index_metadata.namespace in dev/us name the address {NEW} and would dangle",
    ),
    "copy": (copy, "dev/us has a profile of this id too"),
}


def test_two_who_had_one_address(shards: tuple[Shard, Shard]) -> None:
    """What the undoing itself puts back is in nobody's way."""
    eu, _us = shards
    one, two = eu.person("twin+dev@x.io", "one+dev@x.io"), eu.person("TWIN+dev@x.io", "two+dev@x.io")
    first = eu.sums()
    run = eu.fix(("email-drift", one), ("email-drift", two)).run
    assert eu.undo(run).set_back == {"users": 2}
    assert eu.sums() == first


@pytest.mark.parametrize("what", UNDOING)
def test_what_is_in_the_way_of_the_undoing(
    shards: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """In the other shard, at first or at the last moment; once it is gone all comes back."""
    eu, us = shards
    own, steady = eu.person(OLD, NEW), eu.person("s+dev@x.io", "t+dev@x.io")
    first = eu.sums()
    run = eu.fix(("email-drift", own), ("email-drift", steady)).run
    happens, why = UNDOING[what]
    told, late = pytest.raises(RefusedError, match="this came in between: "), lambda: happens(us, own)
    with unchanged(eu), before(monkeypatch, repair_undo._Undoing, "_check_others", late), told as caught:
        eu.undo(run)
    assert why in caught.value.message
    with unchanged(us):
        back = eu.undo(run)
    assert (back.set_back, [one.id for one in back.not_undone]) == ({"users": 1}, [own])
    assert back.not_undone[0].why.startswith(why)
    us.sql("TRUNCATE users, kb_semantic_index_metadata CASCADE")
    assert eu.undo(run).set_back == {"users": 1}
    assert eu.sums() == first


# ---- everything, by what the audit itself says


# What a profile may get with its record's address, or leave behind with the one it had.
OF_THE_ADDRESS = {
    "ambiguous-address", "foreign-profile", "untagged-profile", "unprovisioned", "missing-profile", "id-mismatch",
}  # fmt: skip


@pytest.mark.first(0)  # long; what comes in the way is tried case by case above
@pytest.mark.parametrize("seed", range(20))
def test_random_worlds(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Every shard in turn: what was repaired is found no more, nothing new is but what the record's address says; the
    other shards are as they were, and the undoing gives back every byte."""
    for kind in ("DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    kinds = frozenset({"email-drift", "case-drift", "revoked-access"})
    records, environments = a_world(seed, api=False)
    split = scattered(random.Random(seed), environments)  # noqa: S311
    drifting = [P(str(uuid.uuid4()), f"drift{i}@x.org") for i in range(12)]
    for i, one in enumerate(drifting):
        split["production"][SHARDS["production"][i % 3]].append(one)
    wanted = [R(one.id, f"drift{(i + 1) % 12 if i % 2 else 100 + i}@x.org") for i, one in enumerate(drifting)]
    with sharded(sandbox, tmp_path) as world:
        file = world.write()
        world.split([*records, *wanted], split)
        loaded = registry.load(str(file))
        sides = [f"{name}/{shard}" for name, shards in SHARDS.items() for shard in shards]
        sums = {side: checksums(world.urls[side]) for side in sides}
        first = world.audit().found
        done: list[tuple[str, str]] = []
        kept: list[repair_undo.NotUndone] = []
        repaired: set[tuple[str, str, str]] = set()
        for side in sides:
            env = loaded.environment(side)
            others = {one: checksums(world.urls[one]) for one in sides if one != side}
            whole = (loaded.environment(env.whole),)
            with audit_run.audit(loaded, whole, Wanted("sql", None, None), lambda *_: None, kinds) as audited:
                findings, source = list(audited.report.findings()), audited.platform.source
                assert source is not None
                audited.platform.rest()
                plan = repair.plan(loaded, env, findings, source)
                outcome = repair.apply(loaded, env, plan, source.again, repair.Hooks()) if plan.changes else None
            assert {one: checksums(world.urls[one]) for one in others} == others
            if outcome is not None:
                assert outcome.skipped == [] and outcome.rows
                done.append((side, outcome.run))
                by_id = {finding.id: finding for finding in findings}
                mine = [by_id[own] for own in outcome.done]
                assert all(one.shards == (env.shard,) for one in mine)
                repaired |= {(one.kind, one.environment, one.subject) for one in mine}
        after = world.audit().found
        assert len(done) > 2 and len(repaired) >= 6
        assert not after & repaired
        assert {kind for kind, *_ in after - first} <= OF_THE_ADDRESS
        for side, run in reversed(done):
            found = next(one for one in repair_run.every() if one.id == run)
            kept += repair_undo.undo(loaded, loaded.environment(side), found, None, dry_run=False).not_undone
        # Nobody gets an address back that another profile has: they were duplicates.
        assert all(one.why.startswith("another profile has the address ") for one in kept)
        assert kept or {side: checksums(world.urls[side]) for side in sides} == sums
        assert kept or world.audit().found == first
