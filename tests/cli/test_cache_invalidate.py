"""`cache ENV invalidate`: what is shown is what goes, and nothing else, whatever it is called."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis

from gaiaops.cache import lane as lanes
from gaiaops.cli import base
from gaiaops.inspect.cache import identity
from gaiaops.registry.model import Environment
from tests.conftest import GAIAOPS, Run, clean_variables
from tests.integration.redis_kit import PLATFORM, Cache, Server, fill, server

CONFIRM = ("--confirm", "dev")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("redis")
    with server(folder) as one, server(folder) as other:
        yield one, other


@pytest.fixture
def client(servers: tuple[Server, Server]) -> Iterator[redis.Redis]:
    """The Redis of dev; production's has one key, and it must stay."""
    with servers[0].client() as client, servers[1].client() as other:
        client.flushall()
        other.flushall()
        other.set("user:session:1", "production's own")
        yield client
        assert other.keys() == [b"user:session:1"]


@pytest.fixture
def cache(
    servers: tuple[Server, Server], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Cache:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    cache = Cache(tmp_path, capsys)
    cache.register({"dev": servers[0].url, "production": servers[1].url})
    return cache


def invalidate(cache: Cache, *arguments: str) -> Run:
    return cache("dev", "invalidate", *arguments, *CONFIRM)


def left(client: redis.Redis) -> set[str]:
    return {key.decode("utf-8", "backslashreplace") for key in client.scan_iter()}


class TestIdentity:
    """A wrong line in the registry must not clear another environment's cache."""

    def same(self, cache: Cache, here: Server, mine: str, theirs: str) -> Run:
        with here.client() as one:
            one.set("user:session:1", "x")
        cache.register({"dev": mine, "production": theirs})
        run = invalidate(cache, "--family", "session")
        with here.client() as one:
            assert one.get("user:session:1") == b"x"
        return run

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
    def test_the_same_server_behind_two_names(
        self, cache: Cache, servers: tuple[Server, Server], tmp_path: Path, host: str
    ) -> None:
        """Also by another spelling, which only the server itself tells: it is bound to every address here."""
        with server(tmp_path, "bind 127.0.0.1 127.0.0.2") as here:
            run = self.same(cache, here, here.url, here.url.replace("127.0.0.1", host))
        assert run.code == 5 and "production is the same Redis" in run.err and cache.trail == []

    def test_the_same_address_where_the_server_does_not_say(self, cache: Cache, tmp_path: Path) -> None:
        with server(tmp_path) as here, here.client() as admin:
            admin.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~*", "+@all", "-info", "-role")
            url = here.url.replace("redis://", "redis://ops:pw@")
            run = self.same(cache, here, url, here.url.replace("127.0.0.1", "localhost"))
        assert run.code == 5 and "production is the same Redis" in run.err

    def test_another_number_is_another_database(self, cache: Cache, tmp_path: Path) -> None:
        with server(tmp_path) as here, here.client(1) as one:
            one.set("user:session:1", "production's")
            with here.client(0) as mine:
                mine.set("user:session:1", "dev's")
            cache.register({"dev": here.url, "production": here.url[:-1] + "1"})
            assert invalidate(cache, "--family", "session").code == 0
            assert one.exists("user:session:1")

    def test_another_server_by_the_time_of_the_answer(
        self, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody changes the server while the question stands."""
        with server(tmp_path) as first, server(tmp_path) as second:
            for one in (first, second):
                with one.client() as admin:
                    admin.set("user:session:1", "x")
            cache.register({"dev": first.url})
            confirm = base.confirm

            def slow(*arguments: object, **options: object) -> None:
                from gaiaops.registry.urls import REDIS_SCHEMES, parse_url

                confirm(*arguments, **options)  # type: ignore[arg-type]
                monkeypatch.setattr(Environment, "needed_redis_url", lambda _: parse_url(second.url, REDIS_SCHEMES))

            monkeypatch.setattr(base, "confirm", slow)
            run = invalidate(cache, "--family", "session")
            assert run.code == 5 and "not the one that was shown" in run.err
            for one in (first, second):
                with one.client() as admin:
                    assert admin.exists("user:session:1")
            assert cache.trail[-1]["outcome"] == "failed: RefusedError" and cache.trail[-1]["rows"] == 0

    def test_nobody_answers_for_the_other_name(self, cache: Cache, client: redis.Redis, servers: object) -> None:
        client.set("user:session:7", "x")
        here: Server = servers[0]  # type: ignore[index]
        cache.register({"dev": here.url, "production": "redis://127.0.0.1:1/0", "staging": "${NOT_SET}"})
        assert invalidate(cache, "--key", "user:session:7").code == 0


class TestExactKeys:
    """--key is never a pattern."""

    def test_glob_characters(self, cache: Cache, client: redis.Redis) -> None:
        names = ["user:session:*", "user:session:1", "user:session:?", "user:session:[12]", "user:session:2", "*"]
        fill(client, [("SET", name, "x") for name in names])
        run = invalidate(cache, "--key", "user:session:*", "--key", "user:session:[12]", "--json")
        assert run.code == 0 and json.loads(run.out)["removed"] == 2
        assert left(client) == {"user:session:1", "user:session:?", "user:session:2", "*"}
        assert invalidate(cache, "--key", "*").code == 0
        assert left(client) == {"user:session:1", "user:session:?", "user:session:2"}
        run = invalidate(cache, "--key", "user:*", "--key", "user:session:")
        assert run.code == 0 and "nothing to remove" in run.err and "not there: user:*" in run.err
        assert len(left(client)) == 3

    def test_bytes_and_what_reads_like_their_spelling(self, cache: Cache, client: redis.Redis) -> None:
        client.mset({b"k:\xff": 1, b"k:\\xff": 2, b"k:\n": 3, b"k:\\x0a": 4})
        listed = cache("dev", "keys").out.splitlines()
        assert sorted(listed) == sorted([r"k:\xff", r"k:\x5cxff", r"k:\x0a", r"k:\x5cx0a"])
        assert invalidate(cache, "--key", r"k:\xff", "--key", r"k:\x0a").code == 0
        assert set(client.keys()) == {b"k:\\xff", b"k:\\x0a"}
        assert invalidate(cache, "--key", r"k:\x5cxff").code == 0
        assert client.keys() == [b"k:\\x0a"]

    def test_the_same_key_twice_is_one(self, cache: Cache, client: redis.Redis) -> None:
        client.set("k", 1)
        run = invalidate(cache, "--key", "k", "--key", "k", "--json")
        assert json.loads(run.out) == {
            "removed": 1, "environment": "dev", "selected": 1, "dry_run": False, "absent": [], "profiles": [],
            "sample": [{"key": "k", "ttl_s": None, "ttl_known": True}],
        }  # fmt: skip


class TestFamilies:
    """Only what `family_of` says is the family's."""

    def test_a_family_whose_pattern_begins_anothers(self, cache: Cache, client: redis.Redis, servers: object) -> None:
        here: Server = servers[0]  # type: ignore[index]
        families = '"special" = "user:session:admin:*"\n"broad" = "user:*"\n"exact" = "user"\n"odd" = "a[bc]?:*"\n'
        platform = PLATFORM[: PLATFORM.index("[cache.families]")] + "[cache.families]\n" + families
        cache.register({"dev": here.url}, platform=platform)
        names = ["user:session:admin:1", "user:1", "user:session:2", "user", "users:1", "a[bc]?:1", "abx:1"]
        fill(client, [("SET", name, "x") for name in names])
        assert invalidate(cache, "--family", "broad").code == 0
        assert left(client) == {"user:session:admin:1", "user", "users:1", "a[bc]?:1", "abx:1"}
        assert invalidate(cache, "--family", "exact").code == 0
        assert invalidate(cache, "--family", "odd").code == 0
        assert left(client) == {"user:session:admin:1", "users:1", "abx:1"}

    def test_of_the_platform(self, cache: Cache, client: redis.Redis) -> None:
        fill(client, [("SET", f"persona:{i}", i) for i in range(2_500)])
        fill(client, [("SET", f"personas:list:{i}", i) for i in range(10)] + [("SET", "personas", 1)])
        run = invalidate(cache, "--family", "persona")
        assert run.code == 0 and "2,500 keys removed" in run.err
        assert "… and 2,490 more" in run.err
        assert len(left(client)) == 11
        (record,) = [one for one in cache.trail if one["outcome"] == "committed"]
        assert (record["command"], record["rows"], record["environment"]) == ("cache invalidate", 2_500, "dev")
        assert str(record["server"]).startswith(client.info("server")["run_id"])

    @pytest.mark.parametrize("name", ["other", "sesion", "…others", "tmp:*", "user:session:*"])
    def test_unknown_families(self, cache: Cache, client: redis.Redis, name: str) -> None:
        client.mset({"tmp:1": 1, "user:session:1": 1})
        run = invalidate(cache, "--family", name)
        assert run.code == 2 and f'unknown family "{name}"' in run.err and len(left(client)) == 2
        assert ('did you mean "session"?' in run.err) == (name in ("sesion", "user:session:*"))
        assert cache.trail == []


class TestWhatIsShownIsWhatGoes:
    def test_keys_that_appear_meanwhile_stay(
        self, cache: Cache, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And what expires meanwhile is told apart."""
        fill(client, [("SET", f"persona:{i}", i) for i in range(5)])
        confirm = base.confirm

        def meanwhile(*arguments: object, **options: object) -> None:
            client.set("persona:new", 1)
            client.delete("persona:0")
            confirm(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(base, "confirm", meanwhile)
        run = invalidate(cache, "--family", "persona")
        assert left(client) == {"persona:new"}
        assert "4 keys removed; 1 had gone meanwhile" in run.err
        assert cache.trail[-1]["rows"] == 4

    def test_a_dry_run_changes_nothing(self, cache: Cache, client: redis.Redis) -> None:
        client.set("persona:1", 1, ex=100)
        run = cache("dev", "invalidate", "--family", "persona", "--dry-run")
        assert run.code == 0 and "persona:1" in run.out and "1min" in run.out
        assert "1 key would be removed" in run.err
        run = cache("dev", "invalidate", "--key", "persona:1", "--dry-run", "--json")
        document = json.loads(run.out)
        assert (document["removed"], document["selected"], document["dry_run"]) == (0, 1, True)
        assert left(client) == {"persona:1"} and cache.trail == []

    def test_confirmation(self, cache: Cache, client: redis.Redis) -> None:
        client.set("persona:1", 1)
        for arguments in ((), ("--confirm", "production"), ("--confirm", "de"), ("--confirm", "")):
            run = cache("dev", "invalidate", "--key", "persona:1", *arguments)
            assert run.code == 5, arguments
        assert left(client) == {"persona:1"} and cache.trail == []

    @pytest.mark.parametrize(
        ("typed", "gone"), [(["production", "1"], True), (["production", "2"], False), (["dev", "1"], False)]
    )
    def test_a_protected_environment_asks_for_the_number_too(
        self, servers: tuple[Server, Server], client: redis.Redis, cache: Cache, typed: list[str], gone: bool
    ) -> None:
        with servers[1].client() as other:
            other.set("persona:1", 1)
            code, shown = on_a_terminal(cache, ["production", "invalidate", "--key", "persona:1"], typed)
            assert bool(other.delete("persona:1")) == (not gone), shown
            assert code == (0 if gone else 5), shown
            assert ("Type the number of keys" in shown) == (typed[0] == "production")

    def test_exactly_one_kind(self, cache: Cache, client: redis.Redis) -> None:
        client.set("a", 1)
        for arguments in ((), ("--key", "a", "--family", "session"), ("--user", "a@x", "--key", "a"), ("--key", ""),
                          ("--user", "")):  # fmt: skip
            run = invalidate(cache, *arguments)
            assert run.code == 2 and left(client) == {"a"}


class TestHalfWay:
    """The trail says how many went."""

    def test_interrupted(self, cache: Cache, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(client, [("SET", f"persona:{i}", i) for i in range(3_500)])
        must = lanes.Lane.must

        def interrupting(lane: lanes.Lane, *command: bytes) -> object:
            reply = must(lane, *command)
            if command[0] == b"UNLINK":
                os.kill(os.getpid(), signal.SIGINT)
            return reply

        monkeypatch.setattr(lanes.Lane, "must", interrupting)
        run = invalidate(cache, "--family", "persona")
        assert run.code == 130 and "1,000 keys were removed, 2,500 were not asked to go" in run.err
        assert len(left(client)) == 2_500
        assert (cache.trail[-1]["rows"], cache.trail[-1]["outcome"]) == (1_000, "partly committed: InterruptedRunError")

    @pytest.mark.parametrize(("batch", "rows", "word"), [(1, 0, "unknown"), (3, 2_000, "partly committed")])
    def test_the_connection_breaks(
        self, cache: Cache, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, batch: int, rows: int, word: str
    ) -> None:
        """The batch is on its way, and its answer lost."""
        fill(client, [("SET", f"persona:{i}", i) for i in range(3_500)])
        send, batches = lanes.Lane.send, 0

        def breaking(lane: lanes.Lane, data: bytes) -> None:
            nonlocal batches
            send(lane, data)
            if b"UNLINK" in data:
                batches += 1
                if batches == batch:
                    lane._socket.close()

        monkeypatch.setattr(lanes.Lane, "send", breaking)
        run = invalidate(cache, "--family", "persona")
        assert run.code == 1 and "may be gone or not" in run.err, run.err
        assert (cache.trail[-1]["rows"], cache.trail[-1]["outcome"]) == (rows, f"{word}: LostServerError")
        monkeypatch.undo()
        assert 0 <= len(left(client)) <= 3_500 - rows

    def test_refused_half_way(self, cache: Cache, client: redis.Redis, servers: tuple[Server, Server]) -> None:
        """Keys out of the user's reach: the batch they are in stays whole."""
        client.mset({"persona:1": 1, "rate_limit:1": 1})
        client.execute_command("ACL", "SETUSER", "ops", "reset", "on", ">pw", "~persona:*", "+@all")
        cache.register({"dev": servers[0].url.replace("redis://", "redis://ops:pw@")})
        run = invalidate(cache, "--family", "rate limit")
        assert run.code == 1 and "needs access to the key" in run.err
        client.execute_command("ACL", "SETUSER", "ops", "~*", "-unlink")
        run = invalidate(cache, "--key", "persona:1")
        assert run.code == 1 and 'the user "ops" needs +unlink' in run.err
        client.execute_command("ACL", "DELUSER", "ops")
        assert len(left(client)) == 2
        assert cache.trail[-1]["outcome"] == "failed: StatementError"

    def test_nothing_stays_behind(self, cache: Cache, client: redis.Redis, servers: tuple[Server, Server]) -> None:
        fill(client, [("SET", f"persona:{i}", i) for i in range(1_500)])
        before = len(servers[0].names())
        assert invalidate(cache, "--family", "persona").code == 0
        assert len(servers[0].names()) == before


class TestReplicas:
    def test_a_replica_is_refused_before_the_question(
        self, cache: Cache, client: redis.Redis, servers: tuple[Server, Server], tmp_path: Path
    ) -> None:
        client.set("persona:1", 1)
        with server(tmp_path, f"replicaof 127.0.0.1 {servers[0].port}") as replica, replica.client() as copy:
            end = time.monotonic() + 10
            while not copy.exists("persona:1"):
                assert time.monotonic() < end
                time.sleep(0.02)
            cache.register({"dev": replica.url})
            run = invalidate(cache, "--key", "persona:1")
            assert run.code == 1 and "is a replica and refuses writes" in run.err
            assert f"127.0.0.1:{servers[0].port}" in run.err and cache.trail == []
            # A user who may ask neither INFO nor ROLE learns it from the server.
            copy.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~*", "+@all", "-info", "-role")
            cache.register({"dev": replica.url.replace("redis://", "redis://ops:pw@")})
            run = invalidate(cache, "--key", "persona:1")
            assert run.code == 1 and "is a replica and refuses writes" in run.err
            assert cache.trail[-1]["outcome"] == "failed: StatementError"
        assert client.exists("persona:1")


class TestUsers:
    """The keys of one person, and of nobody whose name is like it."""

    HASHES = ("a" * 64, "b" * 64, "c" * 31 + "1" + "d" * 32, "c" * 31 + "2" + "d" * 32)

    @pytest.fixture
    def people(
        self, fresh_url: str, cache: Cache, client: redis.Redis, servers: tuple[Server, Server]
    ) -> dict[str, str]:
        """Addresses that begin another's, that differ by case, and that are patterns to SQL."""
        addresses = [
            "ann@x.test",
            "ann@x.test.org",
            "joann@x.test",
            "Ann@x.test",
            "a_n@x.test",
            "%@x.test",
            "Éva@x.test",
        ]
        ids = {address: str(uuid.uuid4()) for address in addresses}
        with psycopg.connect(fresh_url) as connection:
            for address, own in ids.items():
                connection.execute("INSERT INTO users (id, email) VALUES (%s, %s)", [own, address])
            owners = ("ann@x.test", "joann@x.test", "ann@x.test", "joann@x.test")
            for number, (owner, digest) in enumerate(zip(owners, self.HASHES, strict=True)):
                connection.execute(
                    "INSERT INTO api_keys (user_id, key_hash, is_active) VALUES (%s, %s, %s)",
                    [ids[owner], digest, number % 2 == 0],
                )
        for own in ids.values():
            client.set(f"user:session:{own}", "x", ex=100)
            client.set(f"user:session:{own}:more", "x")
        for digest in self.HASHES:
            client.set(f"gaia:auth:apikey:v1:{digest[:32]}", "x")
            client.set(f"gaia:auth:apikey:v1:{digest}", "not the template's")
        client.set("gaia:auth:apikey:v1:", "x")
        cache.register({"dev": servers[0].url, "production": servers[1].url}, postgres=fresh_url)
        return ids

    @pytest.mark.parametrize("typed", ["ann@x.test", "ANN@X.TEST", "Ann@x.test"])
    def test_every_case_of_the_address_and_nobody_else(
        self, people: dict[str, str], cache: Cache, client: redis.Redis, typed: str
    ) -> None:
        before = left(client)
        run = invalidate(cache, "--user", typed, "--json")
        assert run.code == 0, run.err
        mine = {f"user:session:{people[address]}" for address in ("ann@x.test", "Ann@x.test")}
        mine |= {f"gaia:auth:apikey:v1:{digest[:32]}" for digest in (self.HASHES[0], self.HASHES[2])}
        assert before - left(client) == mine
        document = json.loads(run.out)
        assert document["removed"] == 4
        assert {one["email"] for one in document["profiles"]} == {"ann@x.test", "Ann@x.test"}
        assert "2 profiles have this address" in run.err

    @pytest.mark.parametrize(
        ("typed", "whose"), [("a_n@x.test", "a_n@x.test"), ("%@x.test", "%@x.test"), ("éVA@x.test", "Éva@x.test")]
    )
    def test_an_address_is_no_pattern(
        self, people: dict[str, str], cache: Cache, client: redis.Redis, typed: str, whose: str
    ) -> None:
        before = left(client)
        assert invalidate(cache, "--user", typed).code == 0
        assert before - left(client) == {f"user:session:{people[whose]}"}

    def test_an_entry_that_another_person_makes_too_stays(
        self, people: dict[str, str], cache: Cache, client: redis.Redis, fresh_url: str
    ) -> None:
        """Only 32 characters of a hash count: two may be equal so far."""
        shared = self.HASHES[0][:32] + "f" * 32
        with psycopg.connect(fresh_url) as connection:
            connection.execute(
                "INSERT INTO api_keys (user_id, key_hash) VALUES (%s, %s)", [people["joann@x.test"], shared]
            )
        run = invalidate(cache, "--user", "ann@x.test")
        assert run.code == 0 and "another person's rows make the same key" in run.err
        assert client.exists(f"gaia:auth:apikey:v1:{self.HASHES[0][:32]}")
        assert not client.exists(f"gaia:auth:apikey:v1:{self.HASHES[2][:32]}")

    @pytest.mark.parametrize(
        ("typed", "code", "said"),
        [("nobody@x.test", 5, "nobody in PostgreSQL"), ("ann", 2, "no e-mail address"), ("*", 2, "no e-mail address"),
         ("2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d", 2, "is an id"), ("@x.test", 2, "no e-mail address")],
    )  # fmt: skip
    def test_nothing_is_guessed(
        self, people: dict[str, str], cache: Cache, client: redis.Redis, typed: str, code: int, said: str
    ) -> None:
        before = left(client)
        run = invalidate(cache, "--user", typed)
        assert run.code == code and said in run.err and left(client) == before and cache.trail == []

    def test_a_template_whose_rows_are_nobodys_is_refused(
        self, people: dict[str, str], cache: Cache, client: redis.Redis, fresh_url: str, servers: tuple[Server, Server]
    ) -> None:
        before = left(client)
        for template, code, said in (
            ("x:{assets.id}", 5, "whose the rows of assets are is not known"),
            ("x:{nothing.id}", 0, "there is no nothing.id"),
            ("x:{personas.id}", 0, "nothing to remove"),  # personas.created_by is declared
        ):
            platform = PLATFORM.replace(
                PLATFORM[PLATFORM.index("user_keys = [") : PLATFORM.index("[cache.families]")],
                f'user_keys = ["{template}"]\n',
            )
            cache.register({"dev": servers[0].url}, postgres=fresh_url, platform=platform)
            run = invalidate(cache, "--user", "ann@x.test")
            assert run.code == code and said in run.err, run.err
        assert left(client) == before


def test_many_keys_need_little_memory(client: redis.Redis, tmp_path: Path, cache: Cache) -> None:
    """60 MB of keys are put aside in a file."""
    client.eval("for i = 1, 20000 do redis.call('SET', 'persona:' .. i .. string.rep('x', 3000), '') end", 0)
    # A process between, as a child's peak holds what its parent had (getrusage(2)), and pytest has a lot.
    script = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode;"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    words = [*GAIAOPS, "--registry", str(cache.file), "cache", "dev", "invalidate", "--family", "persona", *CONFIRM]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False,
        env=clean_variables(tmp_path),
    )  # fmt: skip
    code, peak = done.stderr.split()[-2:]
    assert code == "0" and "20,000 keys removed" in done.stderr, done.stderr
    assert client.dbsize() == 0
    assert int(peak) < 80_000  # kB; the keys alone are 60 MB, and what Python takes to start 40


def test_an_identity_without_info_is_no_identity() -> None:
    one, other = identity.Identity(None, "a:1", 0), identity.Identity(None, "a:1", 1)
    assert not one.is_other(one) and one.is_other(other)


def on_a_terminal(cache: Cache, arguments: list[str], typed: list[str]) -> tuple[int, str]:
    """Runs the command line on a terminal of its own, where these lines are typed; gives its code and what it shows."""
    main, side = pty.openpty()
    child = subprocess.Popen(
        [*GAIAOPS, "--registry", str(cache.file), "cache", *arguments],
        stdin=side, stdout=side, stderr=side, env=clean_variables(cache.folder), start_new_session=True,
    )  # fmt: skip
    os.close(side)
    os.write(main, "".join(f"{line}\n" for line in typed).encode())
    shown = b""
    with suppress(OSError):  # the other side is closed
        while part := os.read(main, 4096):
            shown += part
    os.close(main)
    return child.wait(), shown.decode()
