"""An environment with shards: reading commands show the sum, name the shard, and never pass a part off as the whole."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Command, Run, Sandbox
from tests.integration import shard_kit
from tests.integration.redis_kit import PLATFORM, server
from tests.integration.test_query_all import refused_url

Shards = dict[str, str]
Ops = Callable[..., Run]


@pytest.fixture(scope="module")
def shards(sandbox: Sandbox) -> Iterator[Shards]:
    """Two clones of dev that differ: eu has 200 users, us all others. Tests leave them as they are."""
    with shard_kit.databases(sandbox, "eu", "us") as urls:
        for name, keep in (("eu", "<="), ("us", ">")):
            with psycopg.connect(urls[name]) as connection:
                connection.execute("SET session_replication_role = replica")  # no triggers, no foreign keys
                middle = "(SELECT id FROM users ORDER BY id OFFSET 199 LIMIT 1)"
                opposite = ">" if keep == "<=" else "<="
                connection.execute(f"DELETE FROM users WHERE id {opposite} {middle}".encode())
        yield urls


@pytest.fixture
def ops(shards: Shards, sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> Ops:
    """The command line on production, which has these shards, and dev, which has none."""
    redis = f'redis = "{sandbox.state.redis_url("dev")}"'
    platform = PLATFORM[PLATFORM.index("[tables.core]") :]

    def run(*arguments: str, more: str = "", lost: str = "", **options: Any) -> Run:
        urls = {name: refused_url() if name == lost else url for name, url in shards.items()}
        production = shard_kit.table("production", urls, 'tag = "production"', 'aliases = ["prod"]', redis, more)
        dev = f'[environments.dev]\npostgres = "{sandbox.url("dev")}"\ntag = "dev"\n'
        return gaiaops(*arguments, registry=shard_kit.registry(tmp_path, production, dev, platform), **options)

    return run


@pytest.fixture(scope="module")
def counts(shards: Shards) -> dict[str, int]:
    found = users(shards)
    assert found["eu"] == 200 != found["us"] > 50
    return found


def users(shards: Shards) -> dict[str, int]:
    found = {}
    for name, url in shards.items():
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(*) FROM users").fetchone()
            assert row
            found[name] = int(row[0])
    return found


class TestQuery:
    def test_a_column_names_the_shard(self, ops: Ops, counts: dict[str, int]) -> None:
        run = ops("query", "production", "--csv")
        assert run.code == 0, run.err
        rows = list(csv.reader(io.StringIO(run.out)))
        assert rows[0] == ["shard", "users"]
        assert {name: int(found) for name, found in rows[1:]} == counts

    def test_all_has_both_columns(self, ops: Ops) -> None:
        run = ops("query", "all", "SELECT 1 AS shard", "--json")
        assert run.code == 0, run.err
        found = sorted(json.loads(run.out), key=str)
        assert found == [
            {"env": "dev", "shard": None, "shard_2": 1},
            {"env": "production", "shard": "eu", "shard_2": 1},
            {"env": "production", "shard": "us", "shard_2": 1},
        ]

    @pytest.mark.parametrize("style", ["table", "vertical", "tsv", "markdown", "html", "jsonl"])
    def test_every_format_has_the_shard(self, ops: Ops, style: str) -> None:
        run = ops("query", "prod", "SELECT 7 AS seven", "--format", style)
        assert run.code == 0 and "eu" in run.out and "us" in run.out and run.out.count("7") >= 2, run.err

    def test_one_of_them_is_an_environment(self, ops: Ops) -> None:
        run = ops("query", "prod/eu", "--csv")
        assert (run.code, run.out) == (0, "users\n200\n"), run.err

    def test_one_that_does_not_answer(self, ops: Ops, tmp_path: Path) -> None:
        run = ops("query", "production", "--csv", lost="us")
        assert (run.code, run.out) == (6, "shard,users\neu,200\n")
        assert "gaiaops: error: [production/us] connection refused" in run.err
        assert "error: 1 of 2 shards failed; the others are shown" in run.err

    def test_an_error_in_every_one(self, ops: Ops, tmp_path: Path) -> None:
        old = tmp_path / "rows.csv"
        old.write_text("old", encoding="utf-8")
        run = ops("query", "production", "SELECT nothing", "-o", str(old))
        assert run.code == 1 and "error: all 2 shards failed" in run.err
        assert "[production/eu] " in run.err and "[production/us] " in run.err
        assert old.read_text(encoding="utf-8") == "old"

    def test_a_write_takes_one(self, ops: Ops, shards: Shards, counts: dict[str, int]) -> None:
        run = ops("query", "production", "DELETE FROM users", "--write", "--confirm", "production")
        assert run.code == 2
        assert "production has 2 shards, and this is about one database" in run.err
        assert "hint: name one of them: production/eu, production/us" in run.err
        assert users(shards) == counts
        empty = "UPDATE users SET name = name WHERE false"
        run = ops("query", "production/eu", empty, "--write", "--confirm", "production", more="protected = true")
        assert run.code == 5 and '--confirm says "production", this is production/eu' in run.err
        run = ops("query", "production/eu", empty, "--write", "--confirm", "production/eu", more="protected = true")
        assert run.code == 0 and "committed in production/eu: UPDATE 0" in run.err, run.err

    def test_the_guard_holds_in_each(self, ops: Ops, shards: Shards, counts: dict[str, int]) -> None:
        run = ops("query", "production", "DELETE FROM users")
        assert run.code != 0 and users(shards) == counts, run.err

    def test_two_statements(self, ops: Ops) -> None:
        run = ops("query", "production", "SELECT 1; SELECT 2")
        assert run.code == 2 and "query production takes one statement: it asks several databases" in run.err
        assert "hint: run the file for each shard" in run.err


class TestView:
    def test_the_sum_and_its_parts(self, ops: Ops, sandbox: Sandbox, counts: dict[str, int]) -> None:
        run = ops("view", "production", "--json")
        assert run.code == 0, run.err
        found = json.loads(run.out)["environments"][0]
        parts = found["shards"]
        assert [part["shard"] for part in parts] == ["eu", "us"]
        assert {part["shard"]: part["users"] for part in parts} == counts and found["users"] == sum(counts.values())
        assert found["database_bytes"] == sum(part["database_bytes"] for part in parts)
        assert found["users_by_tag"] == {
            tag: sum(part["users_by_tag"][tag] for part in parts) for tag in ("production", "dev")
        }
        assert found["users_by_tag"]["dev"] > 0
        assert (found["reachable"], found["tables_found"], found["redis"]["reachable"]) == (True, 19, True)
        with psycopg.connect(sandbox.url("dev")) as connection:
            seeded = connection.execute("SELECT count(*) FROM users").fetchone()
            newest = connection.execute(
                "SELECT email FROM users ORDER BY created_at DESC NULLS LAST LIMIT 5"
            ).fetchall()
        assert (
            {table["table"]: table["rows"] for table in found["tables"]}["users"]
            == sum(counts.values())
            == (seeded or [0])[0]
        )
        assert [one["email"] for one in found["newest_users"]] == [row[0] for row in newest]

    def test_lines(self, ops: Ops, counts: dict[str, int]) -> None:
        run = ops("view")
        lines = [line.split() for line in run.out.splitlines()]
        shown = {line[0]: line[4] for line in lines[1:5]}
        assert {name: shown[name] for name in ("production", "production/eu", "production/us")} == {
            "production": str(sum(counts.values())),
            "production/eu": str(counts["eu"]),
            "production/us": str(counts["us"]),
        }

    def test_a_part_is_not_the_sum(self, ops: Ops) -> None:
        run = ops("view", "production", lost="us")
        lines = {line.split()[0]: line.split()[1:] for line in run.out.splitlines()[1:4]}
        assert run.code == 6, run.err
        assert lines["production"][0] == "partly" and "200" not in lines["production"]
        assert lines["production/us"] == ["down"] and lines["production/eu"][3] == "200"
        assert "error: [production/us] connection refused" in run.err
        document = json.loads(ops("view", "production", "--json", lost="us").out)["environments"][0]
        assert not document["reachable"] and "users" not in document
        assert [part.get("users") for part in document["shards"]] == [200, None]


class TestHealth:
    def test_every_shard_is_checked(self, ops: Ops) -> None:
        run = ops("health", "production", "--json", "--fail-on", "never")
        assert run.code == 0, run.err
        checks = json.loads(run.out)["checks"]
        reached = {
            (c["shard"], c["check"]) for c in checks if c["environment"] == "production" and "reach" in c["check"]
        }
        assert reached == {("eu", "reachable"), ("us", "reachable"), (None, "redis-reachable")}
        sizes = {c["shard"]: c["next"] for c in checks if c["check"] == "size"}
        assert sizes == {shard: f"gaiaops view production/{shard}" for shard in ("eu", "us")}

    def test_one_that_is_down(self, ops: Ops) -> None:
        run = ops("health", "production", lost="us")
        assert run.code == 6 and "not everything answered: production/us" in run.err
        heads = [line.split()[0] for line in run.out.splitlines() if line and not line.startswith(" ")]
        assert heads == ["production/eu", "production/us", "production"]
        assert "next: gaiaops envs production/us --check" in run.out
        assert ops("view", "production/us").code == 0


class TestOthers:
    def test_envs(self, ops: Ops) -> None:
        run = ops("envs")
        assert run.code == 0 and "production/eu" in run.out and "production/us" in run.out
        run = ops("envs", "production", "--json")
        found = json.loads(run.out)["environments"][0]
        assert found["host"] is None and [one["environment"] for one in found["shards"]] == [
            "production/eu",
            "production/us",
        ]
        run = ops("envs", "production")
        assert run.code == 0 and "shard eu" in run.out and "shard us pin.database" in run.out
        assert ops("envs", "production/eu").code == 0

    def test_envs_check(self, ops: Ops) -> None:
        run = ops("envs", "production", "--check", lost="us")
        assert run.code == 6
        found = {tuple(line.split()[:3]) for line in run.out.splitlines()}
        assert found == {
            ("production/eu", "postgres", "ok"), ("production/us", "postgres", "FAILED"), ("production", "redis", "ok"),
        }  # fmt: skip

    def test_schema(self, ops: Ops, sandbox: Sandbox) -> None:
        run = ops("schema", "verify", "production", "--json")
        assert run.code == 0, run.err
        found = json.loads(run.out)["schema"]
        assert [(one["environment"], one["shard"], one["deployed_found"]) for one in found] == [
            ("production", "eu", 19),
            ("production", "us", 19),
        ]
        assert ops("schema", "diff", "production/eu", "prod/us").code == 0
        run = ops("schema", "diff", "production", "dev")
        assert run.code == 2 and "name one of them: production/eu, production/us" in run.err

    @pytest.mark.parametrize(
        "command", [("activity", "production"), ("connect", "production"), ("connect", "production", "--write")]
    )
    def test_what_is_about_one_database(self, ops: Ops, command: tuple[str, ...]) -> None:
        run = ops(*command)
        assert run.code == 2, run.err
        assert "production has 2 shards, and this is about one database" in run.err
        assert "name one of them: production/eu, production/us" in run.err

    def test_activity_of_a_shard(self, ops: Ops) -> None:
        run = ops("activity", "production/eu", "--json")
        assert run.code == 0 and json.loads(run.out)["environment"] == "production/eu", run.err

    def test_a_shard_has_no_redis(self, ops: Ops) -> None:
        run = ops("cache", "production/eu")
        assert run.code == 2 and "hint: its shards share the one of production: name production" in run.err, run.err
        assert ops("cache", "production", "--json").code == 0

    def test_a_name_that_is_not_there(self, ops: Ops) -> None:
        run = ops("query", "production/ue")
        assert run.code == 2 and 'unknown environment "production/ue"' in run.err and "production/" in run.err

    def test_one_database_behind_two_shards(self, sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
        """Spelled differently, so that only the server can tell."""
        with shard_kit.databases(sandbox, "one") as made:
            url = made["one"]
            both = {"a": url, "b": url.replace("127.0.0.1", "localhost")}
            assert both["a"] != both["b"]
            file = shard_kit.registry(tmp_path, shard_kit.table("production", both))
            with psycopg.connect(url) as session:
                pid = str(session.info.backend_pid)
                run = gaiaops(
                    "activity", "production/a", "--terminate", pid, "--confirm", "production/a", registry=file
                )
                session.execute("SELECT 1")
        assert run.code == 5 and "production/b is the same database" in run.err, run.err


def test_invalidating_one_persons_entries_looks_in_all(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    """The profile is in one shard, keys of the same person in the other; somebody else's key begins the same."""
    ids = [str(uuid.uuid4()) for _ in range(2)]
    template = 'user_keys = ["user:session:{users.id}", "key:{api_keys.key_hash:4}"]'
    references = '[references]\n"api_keys.user_id" = { holds = "{id}" }'
    with (
        shard_kit.databases(sandbox, "eu", "us", template="template0") as urls,
        server(tmp_path) as here,
        here.client() as client,
    ):
        for url in urls.values():
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE users (id uuid PRIMARY KEY, email text)")
                connection.execute("CREATE TABLE api_keys (user_id text, key_hash text)")
        with psycopg.connect(urls["eu"]) as eu, psycopg.connect(urls["us"]) as us:
            eu.execute("INSERT INTO users VALUES (%s, 'me@example.com')", [ids[0]])
            us.execute("INSERT INTO users VALUES (%s, 'you@example.com')", [ids[1]])
            eu.execute("INSERT INTO api_keys VALUES (%s, 'both1'), (%s, 'mine2')", [ids[0], ids[0]])
            us.execute("INSERT INTO api_keys VALUES (%s, 'away3'), (%s, 'both9')", [ids[0], ids[1]])
        for key in (f"user:session:{ids[0]}", f"user:session:{ids[1]}", "key:both", "key:mine", "key:away"):
            client.set(key, "x")
        table = shard_kit.table("dev", urls, f'redis = "{here.url}"')
        file = shard_kit.registry(tmp_path, table, f"[cache]\n{template}", references)
        run = gaiaops("cache", "dev", "invalidate", "--user", "Me@example.com", "--confirm", "dev", registry=file)
        assert run.code == 0, run.err
        assert "another person's rows make the same key: 1 of key:" in run.err
        assert sorted(client.keys()) == [b"key:both", f"user:session:{ids[1]}".encode()]
