"""A clean-up over shards that is killed at any moment: no row is lost, the same command finishes the same run, and all
of it comes back, also when the restore is killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.conftest import GAIAOPS, Run, clean_variables
from tests.integration import cleanup_shards_kit as model
from tests.integration import purge_kit as kit
from tests.integration.cleanup_kit import database, run
from tests.integration.cleanup_shards_kit import ShardKit
from tests.integration.purge_kit import DICE, STRESS, Server, Town
from tests.waiting import until

USERS, KILLS = (4_000, 40) if STRESS else (600, 3)
SECONDS = 4.0 if STRESS else 2.0
# Test users of this shard, with what is theirs and with what names those of the other one; every tenth is in both.
_FILL = """
INSERT INTO users SELECT md5('{home}' || i)::uuid, 't' || i || '{home}+dev@x.io', E'a\\tb', '2020-01-01'
    FROM generate_series(1, {users}) AS i;
INSERT INTO users SELECT md5('both' || i)::uuid, 'b' || i || '+dev@x.io', 'both', '2020-01-01'
    FROM generate_series(1, {users} / 10) AS i;
INSERT INTO users SELECT md5('real{home}' || i)::uuid, 'r' || i || '{home}@x.io', 'real', '2020-01-01'
    FROM generate_series(1, 50) AS i;
INSERT INTO talks SELECT i, md5('{home}' || i)::uuid FROM generate_series(1, {users}) AS i;
INSERT INTO messages SELECT i, 1 + i % {users}, md5('{home}' || 1 + i % {users})::uuid::text, 'own'
    FROM generate_series(1, 3 * {users}) AS i;
INSERT INTO messages SELECT -i, NULL, md5('{other}' || i)::uuid::text, 'of one over there'
    FROM generate_series(1, {users}) AS i;
INSERT INTO prefs SELECT md5(n || i)::uuid::text, n
    FROM generate_series(1, {users}) AS i, unnest('{{eu,us}}'::text[]) AS n;
INSERT INTO documents SELECT i, md5('{other}' || i)::uuid::text, 'system', 'x' FROM generate_series(1, {users}) AS i;
INSERT INTO walls SELECT i, 'users/t' || i || '{other}+dev@x.io' FROM generate_series(1, {users}) AS i;
INSERT INTO likes SELECT i, i, 'x' FROM generate_series(1, {users}) AS i;
"""


class Half(Town):
    """One shard, and its parts of the archive."""

    number = 0

    @property
    def runs(self) -> list[Path]:
        return sorted((self.home / "data/gaiaops/runs").glob(f"2*/shards/{self.number}-*"))


class Shards:
    """Two shards, and the command line on them."""

    def __init__(self, folder: Path, urls: dict[str, str]) -> None:
        self.kit = ShardKit(folder, urls, "protected = true")
        self.folder = folder
        self.halves = []
        for number, url in enumerate(urls.values(), start=1):
            server = cast(Server, SimpleNamespace(url=lambda _, url=url: url))
            half = Half(server, "", 0, folder)
            half.number = number
            self.halves.append(half)
        self.kit.write("protected = true")  # a Town writes one of its own

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        words = [*GAIAOPS, "--registry", str(self.kit.file), *arguments, "--confirm", "production"]
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.folder, env=clean_variables(self.folder),
        )  # fmt: skip

    def finish(self, *arguments: str) -> Run:
        """Until the server has noticed that the one before was killed."""
        done: list[Run] = []

        def ended() -> bool:
            done.append(kit.ended(self.start(*arguments)))
            return done[-1].code != 5 or "another clean-up" not in done[-1].err

        assert until(ended, 60)
        return done[-1]

    def check_nothing_lost(self, original: list[kit.Rows]) -> None:
        for half, rows in zip(self.halves, original, strict=True):
            half.check_nothing_lost(rows)


@pytest.fixture
def shards(postgres_url: str, tmp_path: Path) -> Iterator[Shards]:
    with ExitStack() as stack:
        urls = {name: stack.enter_context(database(postgres_url, model.SCHEMA)) for name in ("eu", "us")}
        for home, other in (("eu", "us"), ("us", "eu")):
            run(urls[home], _FILL.format(home=home, other=other, users=USERS))
        yield Shards(tmp_path, urls)


@pytest.mark.first(1)
def test_killed_at_any_moment(shards: Shards) -> None:
    original = [half.rows() for half in shards.halves]
    purging = ("cleanup", "production", "--max-users", str(3 * USERS))
    killed = 0
    while killed < KILLS:
        process = shards.start(*purging)
        time.sleep(DICE.uniform(0.4, SECONDS))
        ended = kit.kill(process)
        assert ended.code in (-9, 0, 5), ended
        shards.check_nothing_lost(original)
        killed += ended.code == -9
        if sum(half.test_users() for half in shards.halves) == 0 and ended.code == 0:
            break
    done = shards.finish(*purging)
    assert done.code == 0, done
    assert [half.test_users() for half in shards.halves] == [0, 0]
    shards.check_nothing_lost(original)
    for half in shards.halves:
        counts = [half.fetch(f"SELECT count(*) FROM {name}")[0][0] for name in ("messages", "prefs", "walls", "likes")]
        assert counts == [0, 0, 0, 0], "something still names somebody of the other shard"
        assert half.fetch("SELECT count(created_by) FROM documents") == [(0,)]
    (folder,) = (shards.folder / "data/gaiaops/runs").glob("2*")
    process = shards.start("restore", folder.name)
    time.sleep(DICE.uniform(0.4, SECONDS))
    kit.kill(process)
    shards.check_nothing_lost(original)
    done = shards.finish("restore", folder.name)
    assert done.code == 0, done
    assert [half.sums() for half in shards.halves] == [kit.sums(rows) for rows in original]
