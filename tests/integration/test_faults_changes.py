"""Clean-ups, restores and repairs behind a network that goes wrong: what is changed is what they, the trail and `runs`
say, nothing is lost, and the same command again, or a restore, brings it to its end.

`make stress` cuts the exchange of a clean-up and of a restore at each KB; the suite at a few places.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import redis

from tests.cli.cleanup_world import checksums
from tests.conftest import Sandbox
from tests.integration.fault_kit import DRIBBLE, Cut, Fault, HalfClose, Network, Reset, Stall, To
from tests.integration.fault_place import CODES, exchange, place
from tests.integration.fault_world import PATIENT, left_behind
from tests.integration.purge_kit import STRESS

PURGE = ("cleanup", "dev", "--confirm", "dev", "--max-users", "400", "--older-than", "70w")

pytestmark = pytest.mark.timeout(7200)


@pytest.fixture(scope="module")
def measured(sandbox: Sandbox, net: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[To, int]]:
    """The bytes of a clean-up and of its restore, without a fault."""
    with place(sandbox, net, tmp_path_factory.mktemp("measured")) as here:
        purged, purge = here.do(*PURGE)
        assert purged.code == 0, purged
        restored, restore = here.do("restore", here.runs()[0]["id"], "--confirm", "dev")
        assert restored.code == 0, restored
        return {"purge": purge.proxies["postgres"].passed, "restore": restore.proxies["postgres"].passed}


def test_a_clean_up_is_cut_anywhere(
    sandbox: Sandbox, net: Network, tmp_path: Path, measured: dict[str, dict[To, int]]
) -> None:
    for fault in exchange(measured["purge"], Stall):
        with place(sandbox, net, tmp_path) as here:
            before, people = checksums(here.url), here.users()
            run, attempt = here.do(*PURGE, fault=fault)
            if run.code:
                here.check(run, attempt)
            else:  # the good-bye was cut, and nothing else
                assert not left_behind([attempt])
            gone = people - here.users()
            said = here.runs()
            assert len(said) <= 1, fault
            if said and not said[0]["doubtful_segments"]:
                assert said[0]["users"] == gone, fault
            again, _ = here.do(*PURGE)
            assert again.code == 0, (fault, again)
            runs = here.runs()
            assert sum(one["users"] for one in runs) == people - here.users() > 10, fault
            for one in runs:
                back, _ = here.do("restore", one["id"], "--confirm", "dev")
                assert back.code == 0, (fault, back)
            assert checksums(here.url) == before, fault


def test_a_restore_is_cut_anywhere(
    sandbox: Sandbox, net: Network, tmp_path: Path, measured: dict[str, dict[To, int]]
) -> None:
    for fault in exchange(measured["restore"], HalfClose):
        with place(sandbox, net, tmp_path) as here:
            before = checksums(here.url)
            purged, _ = here.do(*PURGE)
            assert purged.code == 0, purged
            restoring = ("restore", here.runs()[0]["id"], "--confirm", "dev")
            run, attempt = here.do(*restoring, fault=fault)
            if run.code:
                here.check(run, attempt)
            else:
                assert checksums(here.url) == before, fault
            again, _ = here.do(*restoring)
            assert again.code == 0, (fault, again)
            assert checksums(here.url) == before, fault


@pytest.mark.first(2)
@pytest.mark.parametrize("fault", [Cut(100), Reset(0), Stall(100)], ids=str)
def test_a_clean_up_whose_redis_goes_remembers_its_entries(
    sandbox: Sandbox, net: Network, tmp_path: Path, fault: Fault
) -> None:
    with place(sandbox, net, tmp_path) as here:
        with psycopg.connect(here.url) as connection:
            ids = [row[0] for row in connection.execute("SELECT id::text FROM users").fetchall()]
        with redis.Redis.from_url(here.urls["redis"]) as client:
            client.mset({f"user:session:{one}": "x" for one in ids})
            run, attempt = here.do(*PURGE, at="redis", fault=fault)
            assert run.code == 1, run
            assert "Redis entries of" in run.err
            assert not left_behind([attempt])
            with psycopg.connect(here.url) as connection:
                kept = {row[0] for row in connection.execute("SELECT id::text FROM users").fetchall()}
            assert 0 < len(kept) < len(ids)
            again, _ = here.do(*PURGE)
            assert again.code == 0, again
            assert {key.decode().rpartition(":")[2] for key in client.scan_iter("user:session:*")} == kept


def test_a_repair_is_cut_anywhere(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    """The same audit --fix again finishes it, and its restore gives back what was there."""
    words = ("audit", "dev", "--source", "sql", "--fix", "revoked-access", "--confirm", "dev")
    with place(sandbox, net, tmp_path) as here:
        here.tags = ("dev", "staging")
        run, attempt = here.do(*words)
        assert run.code == 0, run
        passed = attempt.proxies["postgres"].passed
    for fault in exchange(passed, Reset)[:: 7 if STRESS else 2]:
        with place(sandbox, net, tmp_path) as here:
            here.tags = ("dev", "staging")
            before = checksums(here.url)
            run, attempt = here.do(*words, fault=fault)
            assert run.code in (0, *CODES, 6), (fault, run)
            assert not left_behind([attempt])
            again, _ = here.do(*words)
            assert again.code == 0, (fault, again)
            after = checksums(here.url)
            assert after != before
            assert here.number("SELECT count(*) FROM api_keys WHERE NOT is_active") > 0
            for one in here.runs():
                back, _ = here.do("restore", one["id"], "--confirm", "dev")
                assert back.code == 0, (fault, back)
            assert checksums(here.url) == before, fault


@pytest.mark.first(0)  # a byte at a time takes a while
def test_one_byte_at_a_time(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    """A clean-up and its restore come through as ever."""
    with place(sandbox, net, tmp_path) as here:
        before = checksums(here.url)
        run, _ = here.do(*PURGE, fault=DRIBBLE, timeouts=PATIENT)
        assert run.code == 0, run
        back, _ = here.do("restore", here.runs()[0]["id"], "--confirm", "dev", fault=DRIBBLE, timeouts=PATIENT)
        assert back.code == 0, back
        assert checksums(here.url) == before
