"""`cache ENV`, `keys` and `get` as people and programs see them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import GAIAOPS, clean_variables
from tests.integration.redis_kit import Cache, Server, fill, server

TOKEN = "hunter2-Zq"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def client(here: Server) -> Iterator[redis.Redis]:
    with here.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def cache(here: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cache:
    cache = Cache(tmp_path, capsys)
    cache.register({"dev": here.url})
    return cache


class TestSummary:
    def test_text_fits_and_says_what_is_estimated(self, cache: Cache, client: redis.Redis) -> None:
        fill(client, [("SET", f"user:session:{i}", "x" * (i % 400), "EX", 1_000) for i in range(5_000)])
        fill(client, [("SET", "persona:1", "x"), ("SET", f"rogue\x1b[31m{'y' * 90}:1", "x")])
        run = cache("dev")
        assert run.code == 0
        head, _, *lines = run.out.splitlines()
        assert re.match(r"dev: Redis \d[\d.]+, 5,002 keys, [\d.]+ [kM]B used \(noeviction\)", head)
        row = next(line for line in lines if line.startswith(" session"))
        assert re.fullmatch(r" session +string 5,000 +>99% ~[\d.]+ [kM]B +<?\d+% +100%", row), row
        assert max(map(len, run.out.splitlines())) <= 80
        assert "\x1b" not in run.out
        assert "± its standard error" in run.err

    def test_the_document(self, cache: Cache, client: redis.Redis) -> None:
        fill(client, [("RPUSH", "personas:list:all", 1), ("SET", "tmp:1", "x", "EX", 5)])
        (one,) = json.loads(cache("dev", "--json").out)["cache"]
        assert {k: one[k] for k in ("environment", "role", "keys", "scanned", "complete", "policy")} == {
            "environment": "dev", "role": "master", "keys": 2, "scanned": 2, "complete": True, "policy": "noeviction",
        }  # fmt: skip
        groups = {group["family"]: group for group in one["families"]}
        assert groups["tmp:*"] == {
            "family": "tmp:*", "pattern": None, "known": False, "keys": 1, "share": 0.5,
            "memory_bytes": client.memory_usage("tmp:1"), "memory_error_bytes": 0, "sampled": 1,
            "ttl": {"none": 0, "under_1min": 1, "under_1h": 0, "under_1day": 0, "more": 0, "unknown": 0},
            "types": {"string": 1},
        }  # fmt: skip
        assert groups["persona list"]["types"] == {"list": 1}
        assert groups["session"]["keys"] == 0

    def test_an_empty_cache(self, cache: Cache, client: redis.Redis) -> None:
        run = cache("dev")
        assert run.code == 0 and "0 keys" in run.out and run.err == ""

    def test_options_stand_where_people_put_them(self, cache: Cache, client: redis.Redis) -> None:
        client.set("a", 1)
        for words in (("--json", "dev"), ("dev", "--json"), ("--budget=5s", "dev", "--json", "--groups", "3")):
            assert "cache" in json.loads(cache(*words).out), words
        for words in (("dev", "--json", "keys"), ("dev", "keys", "--json"), ("--json", "dev", "keys", "*")):
            assert json.loads(cache(*words).out) == {"keys": [{"key": "a"}], "complete": True}, words

    @pytest.mark.parametrize(
        ("words", "said"),
        [(("keys", "user:*"), "the environment comes first: gaiaops cache ENV keys"), (("dve",), 'did you mean "dev"'),
         (("dev", "key"), 'Did you mean "keys"'), (("dev", "--budgt", "1s"), "--budget"), ((), "ENV")],
    )  # fmt: skip
    def test_typos(self, cache: Cache, words: tuple[str, ...], said: str) -> None:
        run = cache(*words)
        assert run.code == 2 and said in run.err


class TestKeys:
    def test_patterns_limits_and_columns(self, cache: Cache, client: redis.Redis) -> None:
        fill(client, [("SET", f"a:{i}", "x") for i in range(2_500)] + [("HSET", "b:1", "f", 1), ("EXPIRE", "b:1", 75)])
        client.set(b"c:\xff\n", "x")
        run = cache("dev", "keys", "a:*")
        assert run.code == 0 and run.err == ""
        assert sorted(run.out.splitlines()) == sorted(f"a:{i}" for i in range(2_500))
        run = cache("dev", "keys", "a:*", "--limit", "7")
        assert len(run.out.splitlines()) == 7 and "there are more keys" in run.err
        run = cache("dev", "keys", "a:*", "--limit", "2500")
        assert len(run.out.splitlines()) == 2_500 and run.err == ""
        run = cache("dev", "keys", "-l", "[bc]:*", "--json")
        rows = {row["key"]: row for row in json.loads(run.out)["keys"]}
        assert rows["b:1"]["type"] == "hash" and 60 < rows["b:1"]["ttl_s"] <= 75 and rows["b:1"]["memory_bytes"] > 20
        assert rows["c:\\xff\\x0a"]["ttl_s"] is None and rows["c:\\xff\\x0a"]["ttl_known"] is True
        assert re.match(r"hash +1min \d+s +\d+ B  b:1\n", cache("dev", "keys", "-l", "b*").out)
        assert cache("dev", "keys", r"c:\xff*").out == "c:\\xff\\x0a\n"
        run = cache("dev", "keys", "nothing*")
        assert (run.code, run.out) == (0, "") and "no key fits nothing*" in run.err

    def test_head_ends_quietly(self, cache: Cache, client: redis.Redis, here: Server, tmp_path: Path) -> None:
        fill(client, [("SET", f"a:{i}:{'x' * 100}", "x") for i in range(10_000)])
        words = " ".join([*GAIAOPS, "--registry", str(cache.file), "cache", "dev", "keys"])
        done = subprocess.run(
            ["bash", "-c", f"{words} | head -n 2; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True,
            env=clean_variables(tmp_path), check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 2
        assert "gaiaops" not in here.names()


class TestGet:
    def test_every_type(self, cache: Cache, client: redis.Redis) -> None:
        fill(client, [
            ("SET", "s", '{"user": "ada", "n": [1, 2]}', "EX", 100), ("HSET", "h", "name", "ada", "n", 1),
            ("RPUSH", "l", "one", "two"), ("SADD", "m", "only"), ("ZADD", "z", 1.5, "low", 7, "high"),
            ("XADD", "x", "1-1", "what", "joined"), ("SET", "n", "42"),
        ])  # fmt: skip
        expected = {
            "s": '{"user": "ada", "n": [1, 2]}', "h": [["name", "ada"], ["n", "1"]], "l": ["one", "two"],
            "m": ["only"], "z": [["low", "1.5"], ["high", "7"]], "x": [{"id": "1-1", "fields": [["what", "joined"]]}],
            "n": "42",
        }  # fmt: skip
        for key, value in expected.items():
            run = cache("dev", "get", key, "--json")
            one = json.loads(run.out)["key"]
            assert run.code == 0 and one["value"] == value, key
            assert (one["left_out"], one["masked"], one["cut"]) == (0, False, False)
            assert one["memory_bytes"] > 0 and one["encoding"] and one["length"] > 0
            text = cache("dev", "get", key).out
            assert f"key      {key}\n" in text and "type     " in text
        text = cache("dev", "get", "s").out
        assert '  "user": "ada",' in text and re.search(r"expires  in 1min 3\ds|expires  in 1min 40s", text)
        assert "expires  never\n" in cache("dev", "get", "h").out

    def test_secrets_are_hidden_unless_shown(self, cache: Cache, client: redis.Redis) -> None:
        values = {
            "plain:1": f'{{"user": "ada", "refresh_token": "{TOKEN}"}}',
            "gaia:auth:jwt:v1:0": TOKEN,
            "cut:1": '{"pad": "' + "x" * (1 << 20) + f'", "password": "{TOKEN}"}}',
            "pickled:1": b"\x80\x04\x95token\x94\x8c" + TOKEN.encode(),
        }
        client.mset(values)
        fill(client, [
            ("HSET", "h", "name", "ada", "apiKey", TOKEN), ("XADD", "x", "*", "cookie", TOKEN, "to", "all"),
            ("RPUSH", "user:tokens:1", TOKEN), ("ZADD", "session:all", 1, TOKEN),
            ("SADD", "m", f"Bearer {TOKEN}"),
        ])  # fmt: skip
        for key in (*values, "h", "x", "user:tokens:1", "session:all", "m"):
            for more in ((), ("--full",), ("--json",))[: 1 if key == "cut:1" else 3]:
                run = cache("dev", "get", key, *more)
                assert run.code == 0 and TOKEN not in run.out + run.err, (key, more)
            if key != "cut:1":
                assert "secrets are hidden; --show shows them" in run.err, key
            assert TOKEN in cache("dev", "get", key, "--show", "--full").out, key
        assert "ada" in cache("dev", "get", "plain:1").out and "ada" in cache("dev", "get", "h").out

    def test_what_is_long_is_cut_and_counted(self, cache: Cache, client: redis.Redis) -> None:
        client.set("long", "é" * 5_000)
        client.set("huge", "x" * (1 << 20) + "yy")
        fill(client, [("SADD", "set", f"m{i}") for i in range(250)] + [("RPUSH", "list", "z" * 9_000)])
        run = cache("dev", "get", "long")
        assert "(904 characters more)" in run.out and "long values are cut" in run.err
        run = cache("dev", "get", "huge", "--json")
        assert json.loads(run.out)["key"]["left_out"] == 2 and "2 bytes more are left out" in run.err
        assert cache("dev", "get", "huge", "--full").out.endswith("xyy\n")
        run = cache("dev", "get", "set", "--limit", "10")
        assert "240 elements more are left out" in run.err
        assert json.loads(cache("dev", "get", "set", "--full", "--json").out)["key"]["left_out"] == 0
        run = cache("dev", "get", "list")
        assert "(4,904 characters more)" in run.out and "long values are cut" in run.err

    def test_bytes_and_escapes_reach_no_terminal(self, cache: Cache, client: redis.Redis) -> None:
        client.set(b"k\xff\x1b[2J", b"\x1b]0;owned\x07 and \xe2\x80\xae")
        client.hset("h", b"f\x1b[31m", b"\x9b1;\xff")
        for arguments in (("keys",), ("get", r"k\xff\x1b[2J"), ("get", "h"), ("get", "h", "--show"), ()):
            run = cache("dev", *arguments)
            assert run.code == 0, run.err
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", run.out + run.err), arguments
        assert json.loads(cache("dev", "get", r"k\xff\x1b[2J", "--json").out)["key"]["key"] == r"k\xff\x1b[2J"

    def test_what_is_not_there(self, cache: Cache, client: redis.Redis) -> None:
        for key, hint in (
            ("user:session:7", "keys 'user:session:*'"), ("plain", "keys 'pla*'"),
            ("it's:[1]:2", "keys 'it'\\''s:\\[1\\]:*'"),
        ):  # fmt: skip
            run = cache("dev", "get", key)
            assert run.code == 1 and run.out == "" and f"no such key: {key}" in run.err and hint in run.err, run.err


@pytest.mark.parametrize("words", [["dev", "keys"], ["dev", "get"], ["dev", "invalidate"]])
def test_the_help_of_subcommands(words: list[str]) -> None:
    """It fits, loads no driver, and needs no registry."""
    code = (
        "import sys\nfrom gaiaops.cli.main import Context, cli, run\ntry:\n    run(cli, Context())\nfinally:\n"
        "    print([n for n in ('redis', 'hiredis', 'psycopg', 'msgspec', 'tabulate') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "cache", *words, "--help"], capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "80"}, cwd="/",
    )  # fmt: skip
    *shown, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert max(map(len, shown)) <= 80 and f"Usage: gaiaops cache ENV {words[1]}" in shown[0]
