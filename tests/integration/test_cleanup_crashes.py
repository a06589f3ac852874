"""A purge that is killed, or whose servers are, at any moment: nothing is lost, the same command finishes, and all of
it comes back. `make stress` does it 50 and 20 times with 20,000 users, the suite a few times with 3,000."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration import purge_kit as kit
from tests.integration.purge_kit import DICE, STRESS, Server, Town

USERS, KILLS, SERVER_KILLS = (20_000, 50, 20) if STRESS else (3_000, 4, 1)
SECONDS = 4.0 if STRESS else 1.5  # within which "anywhere" is
CHAIN = 8  # kills of one purge at most before it may finish
FEW = 400  # users, where their number does not matter


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with kit.own_server() as made:
        yield made


def until(town: Town, process: subprocess.Popen[bytes], seen: Callable[[bytes], bool], timeout: float = 60) -> bool:
    """Watches the journal until it says something; False where the process ended before."""
    end = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        for run in town.runs:
            journal = run / "journal.jsonl"
            if journal.exists() and seen(journal.read_bytes()):
                return True
    return False


def last_is(event: str) -> Callable[[bytes], bool]:
    """Whether the journal's last line is such an event."""
    return lambda text: f'"event": "{event}"'.encode() in text.rstrip(b"\n").rpartition(b"\n")[2]


def lines(number: int) -> Callable[[bytes], bool]:
    return lambda text: text.count(b"\n") >= number


def wait_for_moment(town: Town, process: subprocess.Popen[bytes], moment: str) -> None:
    """Until a moment comes: at any time, while it plans, in the middle of a commit, or while the cache is cleaned."""
    if moment == "planning":
        time.sleep(DICE.uniform(0.1, 0.9))
    elif moment == "anywhere":
        time.sleep(DICE.uniform(0.2, SECONDS))
    else:
        begun = sum(run.joinpath("journal.jsonl").stat().st_size for run in town.runs if any(run.glob("*.jsonl")))
        wanted = last_is("synced" if moment == "committing" else "committed")
        until(town, process, lambda text: len(text) > begun + 200 and wanted(text))


def restored(town: Town, run: str, before: dict[str, str]) -> None:
    done = town.restore(run)
    assert done.code == 0, done
    assert town.sums() == before


def test_killed_at_any_moment(server: Server, tmp_path: Path) -> None:
    """SIGKILL of the purge, and once of its restore."""
    killed, doubtful, town_number = 0, 0, 0
    while killed < KILLS:
        town_number += 1
        with kit.town(server, tmp_path / str(town_number), USERS, cache=True) as town:
            assert town.cache
            original = town.rows()
            before = kit.sums(original)
            for _ in range(CHAIN):
                moment = DICE.choice(["planning", "anywhere", "anywhere", "committing", "caching"])
                process = town.start(*town.purging)
                wait_for_moment(town, process, moment)
                ended = kit.kill(process)
                assert ended.code in (-9, 0, 5), (moment, ended)
                town.check_nothing_lost(original)
                killed += ended.code == -9
                events = [event["event"] for event in town.events()]
                doubtful += events[-1:] == ["synced"]
                if town.test_users() == 0 or killed >= KILLS:
                    break
            run = town.finish()
            town.check_nothing_lost(original)
            town.cache.check_clean(town.url)
            process = town.start("restore", run, "--confirm", "production")
            time.sleep(DICE.uniform(0.3, SECONDS))
            kit.kill(process)
            town.check_nothing_lost(original)
            restored(town, run, before)
    print(f"{killed} kills of {town_number} purges, {doubtful} of them between synced and committed")


def test_server_killed(server: Server, tmp_path: Path) -> None:
    """SIGKILL of all of the server, pg_ctl's immediate and fast stop, where the database says synchronous_commit = off;
    once in a restore too."""
    killed, town_number, hows = 0, 0, []
    while killed < SERVER_KILLS:
        town_number += 1
        with kit.town(server, tmp_path / str(town_number), USERS) as town:
            setting = DICE.choice(["off", "off", "on"])
            server.sql(f"ALTER DATABASE {town.database} SET synchronous_commit = {setting}")
            original = town.rows()
            before = kit.sums(original)
            for _ in range(CHAIN):
                process = town.start(*town.purging)
                moment = DICE.choice(["anywhere", "committing", "caching"] if killed else ["committing"])
                wait_for_moment(town, process, moment)
                how = DICE.choice(["kill", "kill", "immediate", "fast"]) if killed else "kill"
                server.kill(how)
                ended = kit.ended(process)
                assert ended.code in (0, 1, 3), (how, moment, ended.code, ended.err[-2000:])
                killed += ended.code != 0
                hows.append(f"{how} {moment}")
                server.start()
                town.check_nothing_lost(original)
                if town.test_users() == 0 or killed >= SERVER_KILLS:
                    break
            run = town.finish()
            town.check_nothing_lost(original)
            process = town.start("restore", run, "--confirm", "production")
            time.sleep(DICE.uniform(0.5, SECONDS))
            server.kill("kill")
            kit.ended(process)
            server.start()
            restored(town, run, before)
    print(f"{killed} server kills of {town_number} purges: {', '.join(hows)}")


def test_doubtful_commits(server: Server, tmp_path: Path) -> None:
    """A commit waits for a replica that never comes, and the purge is killed; it happens without it, later on."""
    with kit.town(server, tmp_path, FEW) as town:
        original = town.rows()
        before = kit.sums(original)
        server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        server.sql("SELECT pg_reload_conf()")
        try:
            process = town.start(*town.purging)
            assert until(town, process, last_is("synced"))
            time.sleep(0.3)
            assert last_is("synced")((town.runs[0] / "journal.jsonl").read_bytes())
            kit.kill(process)
            town.check_nothing_lost(original)
            again = town.start(*town.purging)
            time.sleep(0.5)  # it cannot know what becomes of the transaction, and waits
        finally:
            server.sql("ALTER SYSTEM RESET synchronous_standby_names")
            server.sql("SELECT pg_reload_conf()")
        done = kit.ended(again)
        assert done.code in (0, 5), done  # 5: the server still worked for the one that was killed
        town.check_nothing_lost(original)
        run = town.finish() if done.code else town.runs[0].name
        assert town.test_users() == 0
        restored(town, run, before)


@pytest.mark.skipif(not STRESS, reason="takes longer than the statement timeout, which is a minute")
def test_commit_without_an_answer(server: Server, tmp_path: Path) -> None:
    """A commit that waits for a replica for so long that the purge gives up happens all the same, later."""
    with kit.town(server, tmp_path, FEW) as town:
        original = town.rows()
        before = kit.sums(original)
        server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        server.sql("SELECT pg_reload_conf()")
        try:
            done = town.run(*town.purging)
        finally:
            server.sql("ALTER SYSTEM RESET synchronous_standby_names")
            server.sql("SELECT pg_reload_conf()")
        assert done.code in (1, 4), done
        time.sleep(1)
        town.check_nothing_lost(original)
        restored(town, town.finish(), before)


def test_what_a_power_failure_leaves(server: Server, tmp_path: Path) -> None:
    """A journal cut in or before its last line or in a line that never was whole, segments without a line, a draft."""
    with kit.town(server, tmp_path, FEW) as town:
        original = town.rows()
        before = kit.sums(original)
        draft = town.home / "data" / "gaiaops" / "runs" / ".20260101-000000-production-aaaa.1"
        (draft / "segments").mkdir(parents=True)
        (draft / "users.copy").write_bytes(b"1\t")
        for cut in ("in its last line", "before its last line", "in the middle of synced"):
            begun = sum(event["event"] == "committed" for event in town.events())
            process = town.start(*town.purging)
            assert until(town, process, lambda text, begun=begun: text.count(b'"committed"') > begun + 1)  # type: ignore[misc]
            kit.kill(process)
            journal = town.runs[0] / "journal.jsonl"
            whole = journal.read_bytes()
            if cut == "in the middle of synced":  # its commit was never sent
                journal.write_bytes(whole + b'{"at": "2026-01-01T00:00:00Z", "event": "synced", "of": {"number": 9')
            else:  # its commit was, and what the journal says of it is lost
                end = whole.rindex(b'"event": "committed"')
                start = whole.rindex(b"\n", 0, end) + 1
                journal.write_bytes(whole[: start if cut == "before its last line" else end])
            last = max(event["of"]["number"] for event in town.events() if event["event"] == "synced")
            for number in (last + 1, last + 2, last + 500):
                (town.runs[0] / "segments" / f"{number:06}.copy").write_bytes(b"x\n" * 5000)
            town.check_nothing_lost(original)
        restored(town, town.finish(), before)


def test_disk_full(server: Server, tmp_path: Path) -> None:
    """A write fails in the middle of a segment: the batch is rolled back, the error says so, room finishes it."""
    with kit.town(server, tmp_path, FEW) as town:
        original = town.rows()
        before = kit.sums(original)
        limit = 100_000  # bytes a file: the plan's users fit, a large batch does not

        def small() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = town.run(*town.purging, preexec_fn=small)
        town.check_nothing_lost(original)
        assert done.code == 1, done
        assert "cannot write" in done.err, done
        assert 0 < town.test_users() < FEW
        whole = {f"{event['of']['number']:06}.copy" for event in town.events() if event["event"] == "synced"}
        assert {path.name for path in (town.runs[0] / "segments").iterdir()} == whole
        restored(town, town.finish(), before)


def test_redis_killed(server: Server, tmp_path: Path) -> None:
    """The rows go on going; the entries that could not are remembered, and go when Redis is back."""
    with kit.town(server, tmp_path, FEW, cache=True) as town:
        assert town.cache
        before = town.sums()
        process = town.start(*town.purging)
        until(town, process, last_is("cached"))
        town.cache.stop()
        done = kit.ended(process)
        assert done.code == 1, done
        assert "Redis entries of" in done.err, done
        assert town.test_users() == 0
        if STRESS:
            assert town.run(*town.purging).code == 1  # it is still down
        town.cache.start()
        town.cache.fill(town.url)  # it has forgotten everything; what was taken out before stays out in real life
        outstanding = {event["of"]["number"] for event in town.events() if event["event"] == "synced"}
        outstanding -= {event["segment"] for event in town.events() if event["event"] == "cached"}
        people = town.gone_with(outstanding)
        assert people
        assert people <= town.cache.sessions()
        run = town.finish()
        assert not people & town.cache.sessions()
        restored(town, run, before)
