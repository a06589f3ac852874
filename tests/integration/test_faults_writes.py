"""Small changes behind a network that goes wrong: a write, an invalidation, a signal. What was done is what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.conftest import Sandbox
from tests.integration.fault_kit import Cut, HalfClose, Network, Reset, To
from tests.integration.fault_place import KINDS, exchange, place
from tests.integration.fault_world import left_behind
from tests.integration.purge_kit import STRESS
from tests.waiting import soon

WRITE = "UPDATE users SET name = 'changed' WHERE email LIKE '%+dev@%'"

pytestmark = pytest.mark.timeout(7200)


def test_a_write_whose_answer_is_lost_is_asked_about(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    """The answer to COMMIT does not come: the server is asked on another connection, and the truth is said."""
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", WRITE, "--write")
        clean, attempt = here.do(*words)
        assert clean.code == 0
        passed = attempt.proxies["postgres"].passed[To.CLIENT]
        for kind in (Cut, Reset, HalfClose):
            here.run_sql("UPDATE users SET name = 'before'")
            run, attempt = here.do(*words, fault=kind(passed - 5, again=True))
            assert run.code == 0, run
            assert "the answer to COMMIT was lost; asked again, the server says that it was committed" in run.err
            assert here.number("SELECT count(*) FROM users WHERE name = 'changed'") > 100
            assert here.trail()[-1] == "committed"
            assert not left_behind([attempt])


def test_a_write_whose_commit_never_arrived_is_not_made(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", WRITE, "--write")
        passed = here.do(*words)[1].proxies["postgres"].passed[To.SERVER]
        here.run_sql("UPDATE users SET name = 'before'")
        # The last words are COMMIT, 12 bytes, of which the first goes through, and the good-bye, 5 (manual 54.7).
        run, attempt = here.do(*words, fault=Cut(passed - 5 - 12 + 1, To.SERVER, again=True))
        assert run.code == 1, run
        assert "it was not committed" in run.err
        assert here.number("SELECT count(*) FROM users WHERE name = 'changed'") == 0
        assert here.trail()[-1].startswith("failed")
        here.check(run, attempt)


def test_a_write_that_nobody_can_ask_about_is_unknown(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", WRITE, "--write")
        passed = here.do(*words)[1].proxies["postgres"].passed[To.CLIENT]
        run, attempt = here.do(*words, fault=Cut(passed - 5))
        assert run.code == 1, run
        assert "the change may have been made: look before you repeat it" in run.err
        assert here.trail()[-1].startswith("unknown")
        here.check(run, attempt)


def test_a_write_is_made_whole_or_not_at_all(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", f"{WRITE} RETURNING id", "--write", "--csv")
        total = here.number("SELECT count(*) FROM users WHERE email LIKE '%+dev@%'")
        attempt = here.do(*words)[1]
        for fault in exchange(attempt.proxies["postgres"].passed, Reset):
            here.run_sql("UPDATE users SET name = 'before'")
            run, attempt = here.do(*words, fault=fault)
            assert not left_behind([attempt])
            changed = here.number("SELECT count(*) FROM users WHERE name = 'changed'")
            outcome = here.trail()[-1] if here.trail()[-1] != "started" else "failed"
            if run.code:
                here.check(run, attempt)
                assert changed == 0 or (changed == total and outcome.startswith("unknown")), (fault, run)
            else:
                assert (changed, outcome) == (total, "committed"), (fault, run)


@pytest.mark.first(2)
@pytest.mark.parametrize("kind", KINDS)
def test_invalidating_is_whole_after_a_second_try(sandbox: Sandbox, net: Network, tmp_path: Path, kind: Any) -> None:
    words = ("cache", "dev", "invalidate", "--family", "session", "--confirm", "dev")
    with place(sandbox, net, tmp_path) as here, redis.Redis.from_url(here.urls["redis"]) as client:
        entries = {f"user:session:{i}": "x" for i in range(3000)} | {"persona:7": "x"}
        client.mset(entries)
        attempt = here.do(*words)[1]
        passed = attempt.proxies["redis"].passed[To.CLIENT]
        for part in (0, 0.3, 0.6, 0.95) if STRESS else (0.3, 0.95):
            client.mset(entries)
            run, attempt = here.do(*words, at="redis", fault=kind(int(passed * part)))
            here.check(run, attempt, "redis")
            assert client.exists("persona:7")
            assert here.do(*words)[0].code == 0
            assert set(client.scan_iter()) == {b"persona:7"}


@pytest.mark.first(2)
@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_says_what_became_of_it(sandbox: Sandbox, net: Network, tmp_path: Path, kind: Any) -> None:
    """The statement is cancelled, or runs on; where the command does not know it does not say that it did."""
    with place(sandbox, net, tmp_path) as here, psycopg.connect(here.url, autocommit=True) as asking:
        passed = 0
        for part in (1.0, 0.0, 0.4, 0.9) if STRESS else (1.0, 0.4):
            victim = psycopg.connect(here.url, autocommit=True)
            pid = victim.info.backend_pid
            victim.pgconn.send_query(b"SELECT pg_sleep(100)")
            words = ("activity", "dev", "--cancel", str(pid), "--confirm", "dev")
            fault = kind(int(passed * part)) if passed else None
            running = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
            assert soon(lambda: here.number(running))  # noqa: B023
            run, attempt = here.do(*words, fault=fault)
            passed = passed or attempt.proxies["postgres"].passed[To.CLIENT]
            if run.code == 0:
                assert not here.number(running), fault
            else:
                here.check(run, attempt)
                assert "cancelled:" not in run.err + run.out
            victim.close()  # which cancels nothing
            asking.execute("SELECT pg_terminate_backend(%s)", [pid])
