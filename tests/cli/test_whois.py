"""`gaiaops whois`: one person everywhere, whatever state the person or the platform is in."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from tests.conftest import Command, Run, Sandbox
from tests.integration.audit_kit import P, R, World, databases, insert_record, serving

NOBODY = "postgresql://nobody@127.0.0.1:1/nowhere"
KINDS = ("shout", "fine", "banned", "deleted", "nowhere", "own", "elif", "quoted", "sso1", "sso2")


def uid() -> str:
    return str(uuid.uuid4())


# The same in every process: they are in the names of tests.
IDS = {kind: str(uuid.uuid5(uuid.NAMESPACE_DNS, kind)) for kind in (*KINDS, "gone", "twin", "orphan", "stranger")}
GONE, TWIN, ORPHAN = IDS["gone"], IDS["twin"], IDS["orphan"]


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    cache = sandbox.state.redis_url("local").removesuffix("/0") + "/9"
    with ExitStack() as stack:
        made = World(databases(sandbox.url("dev")), tmp_path_factory.mktemp("whois"), {"production": cache})
        made.fill(
            [
                R(IDS["fine"], "fine@x.org"),
                R(IDS["banned"], "banned@x.org", banned=True),
                R(IDS["deleted"], "c2hhMjU2", deleted=True),
                R(IDS["nowhere"], "nowhere@x.org"),
                R(IDS["shout"], "shout@x.org"),
                R(IDS["own"], "own@x.org"),
                R(IDS["elif"], "élif@x.org"),
                R(IDS["quoted"], '"a \x1b[31m, b"@x.org'),
                R(IDS["sso1"], "twice@x.org", sso=True),
                R(IDS["sso2"], "twice@x.org", sso=True),
                # The list's filter finds all of these for "ann@x.org".
                *(R(uid(), f"p{i:03}ann@x.org") for i in range(70)),
            ],
            {
                "production": [
                    P(IDS["fine"], "Fine@x.org", keys=2),
                    P(IDS["banned"], "banned@x.org", keys=1),
                    P(IDS["deleted"], "left@x.org", keys=1),
                    P(ORPHAN, "own@x.org"),
                    P(TWIN, "OWN@x.org"),
                    P(IDS["quoted"], '"a \x1b[31m, b"@x.org'),
                ],
                "dev": [P(IDS["fine"], "fine@x.org"), P(IDS["elif"], "élif@x.org"), P(uid(), "SHOUT@X.org")],
            },
        )
        with made.connect("auth") as connection:  # the last of the API's list, which has the newest first
            insert_record(connection, R(uid(), "ann@x.org"))
            connection.execute("UPDATE auth.users SET created_at = '2010-01-01' WHERE email = 'ann@x.org'")
        made.sql("production", f"INSERT INTO conversations (user_id, title) VALUES ('{IDS['fine']}', 't')")
        made.sql("dev", f"INSERT INTO asset_usage (user_id) VALUES ('{GONE}')") if _plain(made) else None
        client = stack.enter_context(redis.Redis.from_url(cache))
        client.flushdb()
        stack.callback(client.flushdb)
        client.set(f"user:session:{IDS['fine']}", "x", ex=500)
        client.set(f"user:session:{GONE}", "x", ex=500)
        stack.enter_context(serving(made))
        yield made


def _plain(world: World) -> bool:
    """Whether asset_usage can be filled with a user alone."""
    with world.connect("dev") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'asset_usage'::regclass AND attnotnull"
            " AND NOT atthasdef AND attnum > 0 AND attname <> 'user_id'"
        ).fetchone()
    return row is not None and row[0] == 0


@pytest.fixture
def whois(world: World, gaiaops: Command) -> Iterator[Callable[..., Run]]:
    def run(*arguments: str, **options: Any) -> Run:
        return gaiaops("whois", *arguments, registry=world.file, **options)

    yield run
    world.write()


def one(run: Run) -> dict[str, Any]:
    document = json.loads(run.out)
    assert list(document) == ["whois"] and len(document["whois"]) == 1
    person: dict[str, Any] = document["whois"][0]
    assert list(person) == ["query", "source", "auth", "environments", "findings"]
    assert [place["environment"] for place in person["environments"]] == ["local", "dev", "staging", "production"]
    return person


def place(person: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(place for place in person["environments"] if place["environment"] == name)
    return found


@pytest.mark.first(4)
@pytest.mark.parametrize("source", ["sql", "api"])
@pytest.mark.parametrize("name", ["fine@x.org", "FINE@X.ORG", IDS["fine"], IDS["fine"].upper()])
def test_somebody_by_any_name(whois: Callable[..., Run], name: str, source: str) -> None:
    run = whois(name, "--json", "--source", source)
    assert run.code == 0, run.err
    person = one(run)
    assert person["source"] == source
    assert [record["id"] for record in person["auth"]] == [IDS["fine"]]
    here = place(person, "production")["profiles"][0]
    assert (here["id"], here["address"]) == (IDS["fine"], "Fine@x.org")
    assert sorted(key["state"] for key in here["keys"]) == ["active", "active", "expired", "inactive"]
    assert all(len(key["prefix"]) == 8 for key in here["keys"])
    assert here["rows"]["conversations.user_id"] == 1 and here["rows"]["api_keys.user_id"] == 4
    (session,) = (entry for entry in here["cache"] if entry["key"].startswith("user:session:"))
    assert 400 < session["ttl_s"] <= 500
    found = {(finding["kind"], finding["environment"]) for finding in person["findings"]}
    assert found == {("case-drift", "production"), ("untagged-profile", "dev")}


@pytest.mark.parametrize("name", ["ÉLIF@x.org", "élif@X.ORG"])
def test_case_beyond_ascii(whois: Callable[..., Run], name: str) -> None:
    person = one(whois(name, "--json", "--source", "sql"))
    assert [record["id"] for record in person["auth"]] == [IDS["elif"]]
    assert place(person, "dev")["profiles"][0]["id"] == IDS["elif"]


def test_one_of_many_whose_addresses_end_alike(whois: Callable[..., Run]) -> None:
    """Seventy addresses hold the one that is looked for: it may be on any page of the API's list."""
    for source in ("sql", "api"):
        person = one(whois("ann@x.org", "--json", "--source", source))
        assert [record["address"] for record in person["auth"]] == ["ann@x.org"], source


@pytest.mark.first(3)
@pytest.mark.parametrize(
    ("name", "state", "kinds"),
    [
        ("banned@x.org", "banned until", {"revoked-access"}),
        ("left@x.org", "soft-deleted", {"revoked-access"}),
        ("nowhere@x.org", "no profile", {"unprovisioned"}),
        ("own@x.org", "own@x.org", {"duplicate-profile"}),
        ("shout@x.org", "SHOUT@X.org", {"missing-profile", "id-mismatch", "untagged-profile"}),
        ("twice@x.org", "single sign-on", set()),
    ],
)
def test_states(whois: Callable[..., Run], name: str, state: str, kinds: set[str]) -> None:
    text = whois(name, "--source", "sql")
    assert text.code == 0 and state in text.out
    person = one(whois(name, "--json", "--source", "sql"))
    assert {finding["kind"] for finding in person["findings"]} == kinds
    if name.startswith("own"):
        assert {p["id"] for p in place(person, "production")["profiles"]} == {ORPHAN, TWIN}
    if name.startswith("twice"):
        assert {record["id"] for record in person["auth"]} == {IDS["sso1"], IDS["sso2"]}


@pytest.mark.parametrize("name", [IDS["stranger"], "stranger@x.org"])
def test_somebody_whom_nobody_knows(whois: Callable[..., Run], name: str) -> None:
    run = whois(name, "--source", "sql")
    assert run.code == 0 and "no auth record" in run.out and run.out.count("no profile") == 4
    assert one(whois(name, "--json"))["findings"] == []


def test_what_is_left_of_somebody_who_is_gone(whois: Callable[..., Run]) -> None:
    person = one(whois(GONE, "--json", "--source", "sql"))
    assert ("stale-cache", "production") in {(f["kind"], f["environment"]) for f in person["findings"]}


def test_hard_addresses_are_shown_safely(whois: Callable[..., Run]) -> None:
    run = whois(IDS["quoted"], "--source", "sql")
    assert run.code == 0 and "\x1b" not in run.out and "\\x1b[31m" in run.out


@pytest.mark.parametrize("name", ["ann", "", "12345", "7a1e5f5a-0000-4000-8000"])
def test_neither_address_nor_uuid(whois: Callable[..., Run], name: str) -> None:
    run = whois(name)
    assert run.code == 2 and "neither an e-mail address nor a UUID" in run.err and run.out == ""


def test_an_environment_is_down(world: World, whois: Callable[..., Run]) -> None:
    world.write(dev=NOBODY)
    run = whois("fine@x.org", "--json", "--source", "sql")
    assert run.code == 6 and "[dev] connection refused" in run.err
    person = one(run)
    assert place(person, "dev")["errors"] and place(person, "production")["profiles"]
    assert one(whois("nowhere@x.org", "--json", "--source", "sql"))["findings"] == []


def test_redis_is_down(world: World, whois: Callable[..., Run]) -> None:
    kept = world.redis
    world.redis = {"production": "redis://127.0.0.1:1/0"}
    world.write()
    try:
        run = whois("fine@x.org", "--json", "--source", "sql")
    finally:
        world.redis = kept
    assert run.code == 6 and "[production] Redis" in run.err
    assert place(one(run), "production")["profiles"] and place(one(run), "production")["errors"]


def test_an_orphan_by_the_api(whois: Callable[..., Run]) -> None:
    """Either the server's word that nobody has the address, or none at all; never a traceback, nobody else's error."""
    run = whois("own@x.org", "--json", "--source", "api")
    kinds = {finding["kind"] for finding in one(run)["findings"]}
    assert run.code in (0, 6) and kinds == {"duplicate-profile"}
    lonely = whois(GONE, "--json", "--source", "api")
    assert {finding["kind"] for finding in one(lonely)["findings"]} == {"stale-cache"}


def test_supabase_is_down(world: World, whois: Callable[..., Run]) -> None:
    world.write(auth=NOBODY)
    run = whois("own@x.org", "--json", "--source", "sql")
    assert run.code == 6 and "[supabase] connection refused" in run.err
    person = one(run)
    assert person["source"] == "" and place(person, "production")["profiles"]
    assert {finding["kind"] for finding in person["findings"]} == {"duplicate-profile"}


def test_what_counts_as_agreement_is_no_finding(world: World, whois: Callable[..., Run]) -> None:
    agree = 'agree = ["case-drift"]'
    world.write(lambda text: text.replace("[environments.production]", f"[environments.production]\n{agree}"))
    person = one(whois("fine@x.org", "--json", "--source", "sql"))
    assert {finding["kind"] for finding in person["findings"]} == {"untagged-profile"}
