"""A cache is counted as it is, in small steps, with whatever the user may do; every way it can fail has its line."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from gaiaops.cache import lane as lanes
from gaiaops.cache import survey as surveys
from gaiaops.cache import values
from gaiaops.cache.connect import connect
from gaiaops.errors import DeadlineError
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import REDIS_SCHEMES, parse_url
from tests.integration.redis_kit import (
    Cache,
    Server,
    answering,
    certificate,
    fill,
    free_port,
    listening,
    server,
    tls_in_front,
)

FAMILIES = (("session", "user:session:*"), ("list", "personas:list:*"), ("persona", "persona*"), ("one", "just:one"))
PASSWORD = "p@ss/w%rd #1?&:é"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("redis")) as here:
        yield here


@pytest.fixture
def client(redis_server: Server) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def cache(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Cache(tmp_path, capsys)


def look(url: str, budget_s: float = 60, shown: int = 20) -> tuple[surveys.Survey, dict[str, str]]:
    with connect(parse_url(url, REDIS_SCHEMES), Timeouts()) as client:
        lane = lanes.Lane(client)
        found = surveys.survey(lane, FAMILIES, budget_s, shown=shown, hear=lambda seen: None)
        return found, lane.missing


def by_name(found: surveys.Survey) -> dict[str, surveys.Group]:
    return {group.name: group for group in (*found.families, *found.other)}


def test_everything_is_counted_once(redis_server: Server, client: redis.Redis) -> None:
    """Several SCANs' worth of keys, each kind of life, a family whose pattern begins another's."""
    commands: list[tuple[object, ...]] = []
    for i in range(6_000):
        commands.append(("SET", f"user:session:{i}", "x" * (i % 300), *(() if i % 3 else ("PX", 50_000))))
    commands += [("RPUSH", f"personas:list:{i}", *range(50)) for i in range(300)]
    commands += [("SET", f"persona:{i}", "x", "EX", seconds) for i, seconds in enumerate((61, 3_599, 3_700, 90_000))]
    commands += [("SET", "just:one", 1), ("SET", "just:one:more", 1), ("SET", b"\xff:1", 1), ("SET", "plain", 1)]
    commands += [("SADD", f"tmp:{i}", 1) for i in range(2_000)]
    fill(client, commands)
    found, missing = look(redis_server.url)
    groups = by_name(found)
    assert missing == {} and found.complete and found.scanned == client.dbsize()
    assert {name: group.keys for name, group in groups.items()} == {
        "session": 6_000, "list": 300, "persona": 4, "one": 1,
        "tmp:*": 2_000, "just:*": 1, "\\xff:*": 1, "(no prefix)": 1,
    }  # fmt: skip
    assert groups["session"].ttl == {**dict.fromkeys(surveys.TTLS, 0), "none": 4_000, "under_1min": 2_000}
    assert groups["persona"].ttl == {
        "none": 0, "under_1min": 0, "under_1h": 2, "under_1day": 1, "more": 1, "unknown": 0
    }  # fmt: skip
    assert list(groups["list"].types) == ["list"] and list(groups["tmp:*"].types) == ["set"]
    # All of a small family is measured, a sample of a large one; the estimate is as good as it says.
    measured = sum(client.memory_usage(f"personas:list:{i}", samples=10) for i in range(300))
    assert (groups["list"].memory, groups["list"].error, groups["list"].sampled) == (measured, 0, 300)
    exact = sum(client.memory_usage(f"user:session:{i}") for i in range(6_000))
    session = groups["session"]
    assert session.memory is not None and session.error
    assert session.sampled < 2_100
    assert abs(session.memory - exact) < 4 * session.error < 0.2 * exact


def test_prefixes_without_end_are_bounded(redis_server: Server, client: redis.Redis) -> None:
    fill(client, [("SET", f"{i:04}:x", i) for i in range(3_000)] + [("SET", f"many:{i}", i) for i in range(3_000)])
    found, _ = look(redis_server.url, shown=5)
    assert found.other[0].name == "many:*"
    assert len(found.other) == 6 and found.other[-1].name == surveys.OTHERS
    assert sum(group.keys for group in found.other) == 6_000
    assert found.other[0].keys == 3_000
    # 256 have a place of their own, of which 251 are summed up; and as many more are counted as memory is spent on.
    assert (found.prefixes, found.more_prefixes) == (251 + 2_560, True)


def test_when_the_time_is_up_the_numbers_are_lower_bounds(
    redis_server: Server, client: redis.Redis, cache: Cache
) -> None:
    fill(client, [("SET", f"user:session:{i}", i) for i in range(5_000)])
    found, _ = look(redis_server.url, budget_s=0)
    assert not found.complete and 0 < found.scanned < 5_000
    assert by_name(found)["session"].keys == found.scanned
    cache.register({"dev": redis_server.url})
    run = cache("dev", "--budget", "0ms", "--json")
    (one,) = json.loads(run.out)["cache"]
    assert run.code == 0 and "the time was up" in run.err and "of 5,000" in run.err
    assert one["complete"] is False and one["keys"] == 5_000 and one["scanned"] < 5_000


def test_the_server_is_asked_in_small_steps_and_never_for_keys(redis_server: Server, client: redis.Redis) -> None:
    fill(client, [("SET", f"user:session:{i}", i) for i in range(3_000)])
    client.config_resetstat()
    look(redis_server.url)
    stats = client.info("commandstats")
    used = {name.removeprefix("cmdstat_").partition("|")[0] for name in stats}  # 7 has them by subcommand
    assert used <= {"scan", "pttl", "type", "memory", "client", "config", "info"}
    assert stats["cmdstat_scan"]["calls"] >= 3 and stats["cmdstat_pttl"]["calls"] == 3_000


def test_no_connection_stays(redis_server: Server, client: redis.Redis, cache: Cache) -> None:
    """Not after a look, nor after Ctrl-C in the middle of one."""
    fill(client, [("SET", f"user:session:{i}", i) for i in range(3_000)])
    cache.register({"dev": redis_server.url})
    own = len(redis_server.names())

    def interrupt(seen: int) -> None:
        assert "gaiaops" in redis_server.names()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), connect(parse_url(redis_server.url, REDIS_SCHEMES), Timeouts()) as one:
        surveys.survey(lanes.Lane(one), FAMILIES, 60, shown=1, hear=interrupt)
    for arguments in (("dev",), ("dev", "keys"), ("dev", "get", "user:session:1"), ("dev", "get", "nope")):
        cache(*arguments)
    assert len(redis_server.names()) == own


class TestPermissions:
    """What an ACL user may not run is said; the rest still works."""

    @pytest.fixture
    def limited(self, redis_server: Server, client: redis.Redis) -> Iterator[object]:
        fill(client, [("SET", f"user:session:{i}", "x", "EX", 100) for i in range(20)] + [("SET", "secret:1", "y")])

        def make(*rules: str) -> str:
            client.execute_command("ACL", "SETUSER", "ops", "reset", "on", ">pw", *rules)
            return f"redis://ops:pw@127.0.0.1:{redis_server.port}/0"

        yield make
        client.execute_command("ACL", "DELUSER", "ops")

    @pytest.mark.parametrize(
        ("rule", "said"),
        [("-info", "needs +info"), ("-pttl", "needs +pttl"), ("-memory", "needs +memory|usage"),
         ("-dbsize", "needs +dbsize"), ("-type", "needs +type"), ("-client", ""), ("-ping", "")],
    )  # fmt: skip
    def test_one_command_less(self, limited: object, cache: Cache, rule: str, said: str) -> None:
        cache.register({"dev": limited("~*", "+@all", rule)})  # type: ignore[operator]
        run = cache("dev", "--json")
        assert run.code == 0 and said in run.err, run.err
        (one,) = json.loads(run.out)["cache"]
        session = next(group for group in one["families"] if group["family"] == "session")
        assert session["keys"] == 20
        assert session["ttl"]["under_1h"] == (0 if rule == "-pttl" else 20)
        assert session["ttl"]["unknown"] == (20 if rule == "-pttl" else 0)
        assert (session["memory_bytes"] is None) == (rule == "-memory")
        assert cache("dev").code == 0  # and the text knows the gaps

    def test_the_least(self, limited: object, cache: Cache) -> None:
        cache.register({"dev": limited("~*", "+scan")})  # type: ignore[operator]
        run = cache("dev")
        assert run.code == 0 and "session" in run.out
        assert all(f"needs +{name}" in run.err for name in ("info", "dbsize", "pttl", "memory|usage"))
        assert cache("dev", "keys", "-l").code == 0

    def test_without_scan_there_is_nothing_to_tell(self, limited: object, cache: Cache) -> None:
        cache.register({"dev": limited("~*", "+@all", "-scan")})  # type: ignore[operator]
        run = cache("dev")
        assert run.code == 1 and 'the user "ops" needs +scan' in run.err and run.out == ""

    def test_keys_out_of_reach(self, limited: object, cache: Cache) -> None:
        cache.register({"dev": limited("~user:*", "+@all")})  # type: ignore[operator]
        run = cache("dev", "--json")
        groups = {one["family"]: one for one in json.loads(run.out)["cache"][0]["families"]}
        assert groups["session"]["ttl"]["under_1h"] == 20 and groups["secret:*"]["ttl"]["unknown"] == 1
        assert "1 keys may not be read" in run.err
        run = cache("dev", "get", "secret:1")
        assert run.code == 1 and "needs access to the key" in run.err


class TestFailures:
    """Each has a line of its own and its exit code."""

    def test_passwords_may_hold_anything(self, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        with server(tmp_path) as here:
            with here.client() as admin:
                admin.execute_command("ACL", "SETUSER", "o@ps", "on", f">{PASSWORD}", "~*", "+@all")
                admin.config_set("requirepass", "other")
            place = f"127.0.0.1:{here.port}/0"
            cache.register({"dev": f"redis://o%40ps:{quote(PASSWORD, safe='')}@{place}"})
            assert cache("dev").code == 0
            monkeypatch.setenv("REDIS_PW", PASSWORD)
            cache.register({"dev": f"redis://o%40ps:${{REDIS_PW}}@{place}"})
            assert cache("dev").code == 0
            for url, said in (
                (f"redis://o%40ps:wr0ng-one@{place}", 'refused the password of the user "o@ps"'),
                (f"redis://:wr0ng-one@{place}", "refused the password"),
                (f"redis://{place}", "asks for a password"),
            ):
                cache.register({"dev": url})
                run = cache("dev")
                assert run.code == 3 and said in run.err and "wr0ng-one" not in run.err, run.err

    def test_a_server_that_loads(self, tmp_path: Path, cache: Cache) -> None:
        """Real: it reads a dump with a pause after each key."""
        with server(tmp_path) as here, here.client() as admin:
            admin.config_set("rdbcompression", "no")
            fill(admin, [("SET", f"k{i}", "x" * 2_200_000) for i in range(25)])
            admin.save()
            for dump in tmp_path.glob("redis-*/dump.rdb"):
                dump.rename(tmp_path / "dump.rdb")
        # It answers once in 2 MB (Redis, rdb.c): after each key.
        with server(tmp_path, "key-load-delay 120000", ready=False) as here:
            cache.register({"dev": here.url})
            for arguments in (("dev",), ("dev", "keys"), ("dev", "get", "k1"),
                              ("dev", "invalidate", "--key", "k1", "--confirm", "dev")):  # fmt: skip
                run = cache(*arguments)
                assert run.code == 3 and "Redis is loading its data" in run.err, run.err

    def test_a_server_that_never_answers(self, cache: Cache) -> None:
        with listening() as silent:
            cache.register({"dev": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"})
            for arguments in (("dev",), ("dev", "get", "x")):
                run = cache(*arguments, "--timeout", "200ms")
                assert run.code == 4 and "no answer from Redis within 200ms" in run.err, run.err

    def test_a_server_that_stops_in_the_middle(self, tmp_path: Path) -> None:
        """It answers, then is stopped: the deadline holds for each answer."""
        with (
            server(tmp_path) as here,
            pytest.raises(DeadlineError, match="no answer from Redis within 200ms"),
            connect(parse_url(here.url, REDIS_SCHEMES), Timeouts(connect=5_000, statement=200)) as one,
        ):
            lane = lanes.Lane(one)
            assert lane.must(b"PING") == b"PONG"
            here.process.send_signal(signal.SIGSTOP)
            lane.must(b"SCAN", b"0")

    @pytest.mark.parametrize("text", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b""])
    def test_what_is_no_redis(self, cache: Cache, text: bytes) -> None:
        for port in answering(text):
            cache.register({"dev": f"redis://127.0.0.1:{port}/0"})
            run = cache("dev")
            assert run.code == 3, run.err
            assert ("what answers there is no Redis" if text else "closed the connection") in run.err

    def test_nobody_there_nothing_declared_and_no_number(self, cache: Cache) -> None:
        cases = (
            (f"redis://127.0.0.1:{free_port()}/0", 3, "connection refused"),
            ("redis://no-such-host.invalid:6379/0", 3, "unknown host name"),
            (None, 2, "dev has no redis in the registry"),
            ("redis://127.0.0.1:6379/sessions", 2, "is no database of Redis"),
        )
        for url, code, said in cases:
            cache.register({"dev": url})
            run = cache("dev")
            assert run.code == code and said in run.err, run.err

    def test_a_cluster_node_is_told(self, tmp_path: Path, cache: Cache) -> None:
        with server(tmp_path, "cluster-enabled yes") as here:
            cache.register({"dev": here.url})
            run = cache("dev")
            assert run.code == 0 and "node of a cluster" in run.err
            run = cache("dev", "get", "x")
            assert run.code == 1 and "cluster" in run.err

    def test_maxmemory_does_not_concern_reading(self, tmp_path: Path, cache: Cache) -> None:
        with server(tmp_path) as here, here.client() as admin:
            admin.set("user:session:1", "x")
            admin.config_set("maxmemory", 1)
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                admin.set("k", "v")
            cache.register({"dev": here.url})
            assert cache("dev").code == 0 and "of 1 B used" in cache("dev").out
            assert cache("dev", "get", "user:session:1").code == 0
            assert cache("dev", "invalidate", "--key", "user:session:1", "--confirm", "dev").code == 0


class TestTls:
    """`rediss://`, through a proxy that takes TLS: the wheel's server has none of its own."""

    def test_certificates(self, redis_server: Server, client: redis.Redis, tmp_path: Path, cache: Cache) -> None:
        client.set("user:session:1", "x")
        old = ("-not_before", "20200101000000Z", "-not_after", "20200102000000Z")
        modern = b"-not_after" in subprocess.run(["openssl", "req", "-help"], capture_output=True, check=False).stderr
        with certificate(tmp_path) as (chain, key), certificate(tmp_path, name="elsewhere") as (other, other_key):
            with tls_in_front(redis_server.port, chain, key) as port:
                place, trusted = f"rediss://localhost:{port}/0", f"ssl_ca_certs={chain}"
                for url, code, said in (
                    (f"{place}?{trusted}", 0, ""),
                    (f"{place}?ssl_cert_reqs=none", 0, ""),
                    (place, 3, "self-signed, and not trusted"),
                    (f"{place}?ssl_ca_certs={other}", 3, "TLS failed"),
                    (f"rediss://127.0.0.1:{port}/0?{trusted}", 3, "for another host name"),
                    (f"rediss://127.0.0.1:{port}/0?{trusted}&ssl_check_hostname=false", 0, ""),
                    (f"redis://localhost:{port}/0", 3, "closed the connection"),
                    (f"rediss://127.0.0.1:{redis_server.port}/0?{trusted}", 4, "does it speak TLS?"),
                    (f"{place}?ssl_ca_certs=/nowhere/ca.pem", 2, "/nowhere/ca.pem"),
                ):
                    cache.register({"dev": url})
                    run = cache("dev", "--timeout", "500ms")
                    assert run.code == code and said in run.err, (url, run.err)
            with tls_in_front(redis_server.port, other, other_key) as port:
                cache.register({"dev": f"rediss://localhost:{port}/0?ssl_ca_certs={other}"})
                assert "for another host name" in cache("dev").err
        if modern:
            with certificate(tmp_path, *old, name="localhost") as (chain, key):
                _expired(redis_server, cache, chain, key)
        else:
            _expired(redis_server, cache, *_made_by_hand(tmp_path))


def _expired(here: Server, cache: Cache, chain: Path, key: Path) -> None:
    with tls_in_front(here.port, chain, key) as port:
        cache.register({"dev": f"rediss://localhost:{port}/0?ssl_ca_certs={chain}"})
        run = cache("dev")
        assert run.code == 3 and "certificate has expired" in run.err, run.err


def _made_by_hand(folder: Path) -> tuple[Path, Path]:
    """A certificate of the past: `openssl x509 -days` may be negative."""
    chain, key = folder / "old.pem", folder / "old.key"
    with certificate(folder, name="localhost") as (fresh, fresh_key):
        key.write_bytes(fresh_key.read_bytes())
        subprocess.run(
            ["openssl", "x509", "-in", str(fresh), "-signkey", str(key), "-days", "-1", "-out", str(chain)],
            check=True,
            capture_output=True,
        )
    return chain, key


class TestValues:
    """Collections are read in bounded steps, and whole when that is wanted."""

    @pytest.mark.parametrize("kind", ["hash", "set", "list", "zset", "stream"])
    def test_every_element_once(self, redis_server: Server, client: redis.Redis, kind: str) -> None:
        count, one = 2_500, f"x-{kind}"
        add = {
            "hash": lambda i: ("HSET", one, f"f{i}", i),
            "set": lambda i: ("SADD", one, f"m{i}"),
            "list": lambda i: ("RPUSH", one, i),
            "zset": lambda i: ("ZADD", one, i, f"m{i}"),
            "stream": lambda i: ("XADD", one, f"{i + 1}-0", "n", i),
        }[kind]
        fill(client, [add(i) for i in range(count)])
        client.config_resetstat()
        with connect(parse_url(redis_server.url, REDIS_SCHEMES), Timeouts()) as mine:
            lane = lanes.Lane(mine)
            entry = values.entry(lane, one.encode())
            assert entry is not None and (entry.type, entry.length, entry.ttl_ms) == (kind, count, -1)
            found = list(values.elements(lane, entry, None))
            assert len(found) == len(set(found)) == count
            assert len(list(values.elements(lane, entry, 10))) == 10
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert not used & {"hgetall", "hkeys", "hvals", "smembers", "keys", "sort"}

    def test_reading_is_no_use_where_the_server_can_be_told(self, redis_server: Server, client: redis.Redis) -> None:
        """Facts never count as use; the value does before Redis 7.2, and then we know."""
        client.hset("h", "a", 1)
        with connect(parse_url(redis_server.url, REDIS_SCHEMES), Timeouts()) as mine:
            lane = lanes.Lane(mine)
            version = tuple(map(int, client.info("server")["redis_version"].split(".")[:2]))
            assert values.untouched(lane) == (version >= (7, 2))
