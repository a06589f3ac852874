"""What an audit says when its servers fail: the others are reported, nobody is called absent who only could not be
read, and no environment is blamed for another's failure."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from gaiaops.audit import run as audit_run
from gaiaops.audit.look import profiles as look_at_profiles
from gaiaops.audit.platform import Platform
from gaiaops.auth.sql_source import SqlSource
from gaiaops.errors import LostServerError, PartialError, StatementError
from gaiaops.sandbox.drift import ENVIRONMENTS
from tests.conftest import Sandbox
from tests.integration.audit_kit import P, R, Triple, World, databases, naive, serving

NOBODY = "postgresql://nobody@127.0.0.1:1/nowhere"
NEEDS_AUTH = {"revoked-access", "orphan-profile", "email-drift", "case-drift", "id-mismatch", "unconfirmed-profile",
              "missing-profile", "unprovisioned"}  # fmt: skip


def uid() -> str:
    return str(uuid.uuid4())


def the_people() -> tuple[list[R], dict[str, list[P]]]:
    """Somebody for every kind in every environment, and some who are in order."""
    records, environments = [], {}
    for name in ENVIRONMENTS:
        tag = "" if name == "production" else f"+{name}"
        fine = [R(uid(), f"fine{i}{tag}@x.org") for i in range(5)]
        banned, moved, spelled = (R(uid(), f"{who}{tag}@x.org", banned=who == "b") for who in ("b", "m", "s"))
        nowhere = R(uid(), f"nowhere{tag}@x.org")
        elsewhere = R(uid(), f"elsewhere-of-{name}+{'dev' if name != 'dev' else 'staging'}@x.org")
        records += [*fine, banned, moved, spelled, nowhere, elsewhere]
        environments[name] = [
            *(P(r.id, r.address) for r in fine),
            P(banned.id, banned.address, keys=1),
            P(moved.id, f"moved{tag}@x.org"),
            P(spelled.id, spelled.address.upper().replace(tag.upper(), tag)),
            P(uid(), f"orphan{tag}@x.org", keys=1),
            P(elsewhere.id, elsewhere.address),
            P(uid(), f"twin{tag}@x.org"),
            P(uid(), f"TWIN{tag}@x.org"),
        ]
    return records, environments


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(databases(sandbox.url("dev")), tmp_path_factory.mktemp("faults"))
    made.truth = the_people()  # type: ignore[attr-defined]
    made.fill(*made.truth)  # type: ignore[attr-defined]
    return made


@pytest.fixture(autouse=True)
def usual(world: World) -> Iterator[None]:
    yield
    world.extra, world.redis = "", {}
    world.write()


def truth(world: World) -> set[Triple]:
    return naive(*world.truth)  # type: ignore[attr-defined]


def of(found: set[Triple], *names: str) -> set[Triple]:
    return {triple for triple in found if triple[1] in names}


def without(world: World, *gone: str, readable: bool = True) -> set[Triple]:
    """What may be said where environments cannot be read: nothing of them, of who is in none, or of who is missed
    because only they have him."""
    records, environments = world.truth  # type: ignore[attr-defined]
    left = {name: people for name, people in environments.items() if name not in gone}
    return {t for t in naive(records, left) if t[1] in left}


def terminate(world: World, side: str) -> int:
    """Ends the audit's sessions on a side; gives how many there were."""
    with world.connect("local") as connection:
        return connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name LIKE 'gaiaops/%%'",
            [world.urls[side].rpartition("/")[2]],
        ).fetchone()[0]  # type: ignore[index]


def test_the_people_are_as_planned(world: World) -> None:
    assert world.audit().found == truth(world)
    assert {kind for kind, _, _ in truth(world)} >= NEEDS_AUTH - {"unconfirmed-profile", "id-mismatch"}


# ------------------------------------------------------------------------------- at the start


@pytest.mark.parametrize("gone", [("dev",), ("production", "local"), ("local", "dev", "staging")])
def test_environments_that_refuse(world: World, gone: tuple[str, ...]) -> None:
    world.write(**dict.fromkeys(gone, NOBODY))
    done = world.audit()
    assert set(done.errors) == set(gone)
    assert done.partial
    assert done.found == without(world, *gone)
    assert not of(done.found, "", *gone)
    for kind in ("unprovisioned", "missing-profile"):
        assert all(kind not in kinds for kinds in done.report.looked_for.values())


@pytest.mark.parametrize("name", ["dev", "production"])
def test_one_environment_while_the_others_are_down(world: World, name: str) -> None:
    others = [other for other in ENVIRONMENTS if other != name]
    world.write(**dict.fromkeys(others, NOBODY))
    done = world.audit(name)
    assert done.errors == {} and done.partial
    assert any("did not answer" in problem for problem in done.problems)
    assert done.found == without(world, *others)
    assert "missing-profile" not in done.report.looked_for[name]
    assert "orphan-profile" in done.report.looked_for[name]


def test_an_environment_without_the_table(world: World, sandbox: Sandbox) -> None:
    world.write(staging=sandbox.url("dev").rpartition("/")[0] + "/postgres")
    done = world.audit()
    assert "there is no table users" in done.errors["staging"]
    assert done.found == without(world, "staging")


def test_an_environment_without_api_keys(world: World, sandbox: Sandbox) -> None:
    world.redis = {"dev": sandbox.state.redis_url("dev")}
    world.write()
    world.sql("dev", "ALTER TABLE api_keys RENAME TO kept_keys")
    try:
        done = world.audit()
    finally:
        world.sql("dev", "ALTER TABLE kept_keys RENAME TO api_keys")
    assert done.errors == {}
    assert done.found == {t for t in truth(world) if t[:2] != ("revoked-access", "dev")}
    assert done.partial and any("[dev] there is no table api_keys" in problem for problem in done.problems)
    assert "stale-cache" not in done.report.looked_for["dev"]


def test_a_statement_timeout_ends_one_environment(world: World) -> None:
    """A table that is locked: the others are reported."""
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with psycopg.connect(world.urls["dev"]) as connection:
            connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            locked.set()
            release.wait(30)

    world.write(lambda text: text.replace("[environments.dev]", "[environments.dev]\ntimeouts = { lock = '200ms' }"))
    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(10)
    try:
        done = world.audit()
    finally:
        release.set()
        thread.join()
    assert set(done.errors) == {"dev"}
    assert done.found == without(world, "dev")


# ------------------------------------------------------------------------------- Redis


@pytest.mark.parametrize("down", [("dev",), ENVIRONMENTS])
def test_redis_is_down(world: World, sandbox: Sandbox, down: tuple[str, ...]) -> None:
    """What PostgreSQL says is still true; only what Redis holds is not known."""
    here = dict.fromkeys(down, "redis://127.0.0.1:1/0")
    world.redis = here
    world.write()
    done = world.audit()
    assert done.errors == {}
    assert done.partial
    assert done.found == truth(world)
    assert len([problem for problem in done.problems if "Redis" in problem]) == len(down)
    for name in ENVIRONMENTS:
        assert "stale-cache" not in done.report.looked_for[name]


def test_redis_dies_before_the_second_look(world: World, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    url = sandbox.state.redis_url("staging").removesuffix("/0") + "/7"
    world.redis = {"dev": url}
    world.write()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        client.set("user:session:00000000-0000-4000-8000-000000000000", "x")
        client.set(b"user:session:\xff\xfe\x1b[31m", "x")
        try:
            found = of(world.audit().found, "dev") - of(truth(world), "dev")
            assert {kind for kind, _, _ in found} == {"stale-cache"}
            assert len(found) == 2
            before = audit_run._Audit._second_look

            def later(self: Any) -> None:
                one = self.platform.sides["dev"].env
                monkeypatch.setattr(type(one), "redis_url", lambda env: _bad_redis())
                before(self)

            monkeypatch.setattr(audit_run._Audit, "_second_look", later)
            done = world.audit()
        finally:
            client.flushdb()
    assert done.found == truth(world)
    assert done.partial and done.vanished == 0
    assert "stale-cache" not in done.report.looked_for["dev"]


def _bad_redis() -> Any:
    from gaiaops.registry.urls import REDIS_SCHEMES, parse_url

    return parse_url("redis://127.0.0.1:1/0", REDIS_SCHEMES)


# ------------------------------------------------------------------------------- in the middle


@contextmanager
def before(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, what: Callable[[], object]) -> Iterator[None]:
    """Does something once, right before a step of the audit."""
    step, done = getattr(owner, name), []

    def first(self: Any, *arguments: Any, **options: Any) -> Any:
        if not done:
            done.append(what())
        return step(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, first)
        yield


STEPS = ["_compare", "_first_look", "_second_look"]


@pytest.mark.first(2)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("side", ["production", "dev"])
def test_an_environment_dies(world: World, monkeypatch: pytest.MonkeyPatch, step: str, side: str) -> None:
    with before(monkeypatch, audit_run._Audit, step, lambda: terminate(world, side)):
        done = world.audit()
    assert set(done.errors) == {side}
    assert done.partial
    assert done.source_error == ""
    assert done.vanished == 0, "what could not be looked at has not vanished"
    assert done.found <= truth(world)
    left = [name for name in ENVIRONMENTS if name != side]
    assert of(done.found, *left) >= {t for t in without(world, side) if t[0] != "missing-profile"}
    assert not of(done.found, "", side)


@pytest.mark.first(2)
@pytest.mark.parametrize("step", STEPS)
def test_another_environment_dies_in_the_audit_of_one(world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    with before(monkeypatch, audit_run._Audit, step, lambda: terminate(world, "production")):
        done = world.audit("dev")
    assert done.errors == {} and done.partial and done.vanished == 0
    wanted = of(truth(world), "dev")
    assert done.found <= wanted
    assert {t for t in wanted if t[0] != "missing-profile"} <= done.found


@pytest.mark.parametrize("step", STEPS)
def test_the_auth_database_dies(world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """No environment is blamed; what needs no auth record is reported, and nothing false."""
    with before(monkeypatch, audit_run._Audit, step, lambda: terminate(world, "auth")):
        done = world.audit()
    assert done.errors == {}
    assert done.source_error.startswith("[supabase]")
    assert done.partial and not done.report.complete
    assert done.vanished == 0
    assert done.found == {t for t in truth(world) if t[0] not in NEEDS_AUTH}
    assert done.report.looked_for["dev"] and not done.report.looked_for["dev"] & NEEDS_AUTH
    assert not done.report.looked_for[""]


def test_the_auth_database_refuses(world: World) -> None:
    world.write(auth=NOBODY)
    done = world.audit()
    assert done.errors == {} and done.source_error
    assert done.found == {t for t in truth(world) if t[0] not in NEEDS_AUTH}


@pytest.mark.first(2)
@pytest.mark.parametrize("step", STEPS)
def test_the_source_says_it_does_not_know(world: World, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A partial answer at the second look: what needs it is left out, and not called gone."""

    def untold(*_: Any) -> list[Any]:
        raise PartialError("Supabase Auth: 3 of 4 users could not be asked for")

    def break_it() -> None:
        monkeypatch.setattr(SqlSource, "find", untold)

    with before(monkeypatch, audit_run._Audit, step, break_it):
        done = world.audit()
    assert done.errors == {} and done.partial and done.vanished == 0
    assert done.found == {t for t in truth(world) if t[0] not in NEEDS_AUTH}
    assert not done.report.looked_for["dev"] & NEEDS_AUTH


@pytest.mark.first(3)
@pytest.mark.parametrize("seed", range(60))
def test_any_server_dies_at_any_moment(world: World, seed: int) -> None:
    """Backends are terminated at random moments: whatever is said is true, and what is not said is excused."""
    chance = random.Random(seed)  # noqa: S311
    side, delay = chance.choice(["auth", *ENVIRONMENTS]), chance.uniform(0, 0.12)
    world.recheck = "50ms"
    world.write()

    def kill() -> None:
        time.sleep(delay)
        terminate(world, side)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        done = world.audit()
    except (LostServerError, StatementError):  # after everything was said, at the good-bye
        pytest.fail("an error at the end of an audit that was done")
    finally:
        thread.join()
        world.recheck = "30ms"
    assert done.found <= truth(world)
    if not done.partial:
        assert done.found == truth(world)
    assert set(done.errors) <= {side}


# ------------------------------------------------------------------------------- auto


def test_auto_falls_back_to_the_api(world: World) -> None:
    with serving(world):
        world.write(auth=NOBODY)
        done = world.audit(source="auto")
        assert done.source == "api" and not done.partial
        assert done.found == truth(world)
        assert any("read by the API" in note for note in done.report.notes)


def test_auto_falls_back_where_the_password_is_missing(world: World) -> None:
    with serving(world):
        world.write(lambda text: text.replace(world.urls["auth"], "postgresql://postgres:${NO_SUCH_SECRET}@h/db"))
        done = world.audit(source="auto")
        assert done.source == "api" and not done.partial
        assert any("NO_SUCH_SECRET" in note for note in done.report.notes)


def test_platform_and_look_are_what_this_file_thinks() -> None:
    assert callable(look_at_profiles) and hasattr(Platform, "surviving")
