"""`audit --fix` as it is called: the plan, the confirmation, the trail, `runs` and `restore`; and SIGKILL at any
moment, after which the same command finishes and everything comes back."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pexpect
import pytest

from gaiaops.audit import repair_run
from gaiaops.sandbox.layout import AUTH_DATABASE
from tests.conftest import GAIAOPS, Command, Run, Sandbox, clean_variables
from tests.integration.repair_kit import Kit

KINDS = "email-drift,case-drift,missing-profile,revoked-access,stale-cache"
CONFIRM = ("--confirm", "dev")
STRESS = os.environ.get("GAIAOPS_TEST_STRESS") == "1"
CHANGED = {"public.users", "public.api_keys"}


class World(Kit):
    """A clone of dev with its planted drift, the sandbox's auth side, and the command line on them."""

    def __init__(self, url: str, folder: Path, sandbox: Sandbox, gaiaops: Command) -> None:
        self.sandbox = sandbox
        self.gaiaops = gaiaops
        super().__init__(url, folder, sandbox.state.redis_url("dev")[:-1] + "8")

    def write(self, url: str, **options: Any) -> None:
        super().write(url, **options)
        state = self.sandbox.state
        text = f'url = "{state.supabase_url}"\nservice_key = "{state.service_key}"\n'
        text += f'database = "{state.postgres_url(AUTH_DATABASE)}"\n'
        self.file.write_text(f"{self.file.read_text(encoding='utf-8')}\n[supabase]\n{text}", encoding="utf-8")

    def others(self) -> dict[str, str]:
        return {name: self.sandbox.url(name) for name in ("local", "staging", "production")}

    def __call__(self, *arguments: str) -> Run:
        return self.gaiaops(*arguments, registry=self.file)

    def repair(self, *more: str, kinds: str = KINDS) -> Run:
        return self("audit", "dev", "--fix", kinds, *more)

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self("runs", "--json").out)["runs"]
        return found

    def documents(self) -> list[dict[str, Any]]:
        """As `runs`, without a process."""
        return [repair_run.document(run, run.plan(), run.state()) for run in repair_run.every()]

    def trail(self) -> list[tuple[str, str, int]]:
        file = self.folder / "state" / "gaiaops" / "trail.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [(line["command"], line["outcome"], line["rows"]) for line in lines]


@pytest.fixture
def world(sandbox: Sandbox, fresh_url: str, tmp_path: Path, gaiaops: Command) -> World:
    made = World(fresh_url, tmp_path, sandbox, gaiaops)
    with made.cache as client:
        client.flushdb()
    made.store("user:session:00000000-0000-4000-8000-00000000dead")
    return made


def test_the_planted_drift_is_repaired_and_comes_back(world: World) -> None:
    before = world.sums()
    dry = world.repair("--dry-run", "--json")
    plan = json.loads(dry.out)["repair"]
    assert (dry.code, plan["dry_run"], plan["done"], plan["left"]) == (0, True, None, [])
    assert {change["kind"] for change in plan["changes"]} == set(KINDS.split(","))
    assert world.sums() == before
    assert world.runs() == []
    assert world.trail() == []
    done = world.repair(*CONFIRM, "--json")
    assert done.code == 0, done.err
    body = json.loads(done.out)["repair"]
    assert len(body["done"]["done"]) == len(plan["changes"]) == 6
    assert world.trail()[1] == ("audit --fix", "committed", 5)
    assert {table for table, sum_ in world.sums().items() if sum_ != before[table]} == CHANGED
    again = world.repair(*CONFIRM)
    assert (again.code, again.out) == (0, "")
    assert "[dev] nothing to repair\n" in again.err
    (run,) = world.runs()
    assert (run["command"], run["state"], run["changes"], run["planned_changes"]) == ("audit --fix", "done", 6, 6)
    assert run["plan_sha256"] == body["plan_sha256"]
    assert run["id"] in world("runs").out
    assert "6 of 6 findings repaired, 5 rows written" in world("runs", run["id"]).out
    for path in (world.folder / "data" / "gaiaops").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert "5 rows" not in world("restore", run["id"], "--dry-run").out
    back = world("restore", run["id"][:15], *CONFIRM)
    assert back.code == 0, back.err
    assert "[dev] 4 rows were set back, 1 were removed again" in back.err
    assert world.sums() == before
    assert world.trail()[-1] == ("restore", "committed", 5)
    second = world("restore", run["id"], *CONFIRM)
    assert (second.code, world.sums() == before) == (0, True)
    assert "nothing was changed: all is as it was before the repair" in second.err
    old = time.time() - 31 * 86400
    for path in (world.folder / "data" / "gaiaops" / "runs" / run["id"]).rglob("*"):
        os.utime(path, (old, old))
    assert f"removed {run['id']}" in world("runs", "--expire", "30d").err


def test_what_cannot_be_undone_is_named(world: World) -> None:
    assert world.repair(*CONFIRM, kinds="missing-profile").code == 0
    ((own,),) = world.fetch("SELECT id::text FROM users WHERE email LIKE 'nadia.petrov%'")
    world.sql(f"INSERT INTO conversations (user_id, title) VALUES ('{own}', 't')")
    done = world("restore", world.runs()[0]["id"], *CONFIRM)
    assert done.code == 1
    assert "left as it is: users nadia.petrov+dev@example.com: 1 rows of conversations.user_id refer to it" in done.out
    assert "gaiaops: error: [dev] 1 rows could not be undone: 1 rows of conversations.user_id" in done.err
    assert "\nhint: " in done.err
    assert world.address(own)


def test_refusals(world: World) -> None:
    """Each with its line, its hint and its exit code, and nothing is changed."""
    before = world.sums()
    cases = [
        ((), 5, "[dev] a change to an environment needs its name", "add --confirm dev"),
        (("--confirm", "staging"), 5, '[dev] --confirm says "staging", this is dev', "--confirm dev"),
        (("--confirm", ""), 5, '[dev] --confirm says "", this is dev', "--confirm dev"),
    ]
    for more, code, line, hint in cases:
        done = world.repair(*more)
        assert (done.code, done.out) == (code, "")
        assert f"gaiaops: error: {line}" in done.err
        assert f"\nhint: {hint}" in done.err
    done = world.repair(*CONFIRM, kinds="email-drift,orphan-profile")
    assert done.code == 2
    assert "orphan-profile cannot be repaired by gaiaops" in done.err
    world.write(world.url, more='pin = { database = "other" }')
    assert world.repair(*CONFIRM).code == 5
    assert (world.sums(), world.runs(), world.trail()) == (before, [], [])


def test_redis_goes_down(world: World) -> None:
    world.redis_url = "redis://127.0.0.1:1/0"
    world.write(world.url)
    done = world.repair(*CONFIRM, kinds="revoked-access")
    assert done.code == 1
    assert "2 Redis entries are still there: Redis: connection refused" in done.err
    assert "hint: run the same command again" in done.err
    (run,) = world.runs()
    assert (run["state"], run["cache_outstanding"], run["rows"]) == ("unfinished", 2, 2)
    assert world.trail()[-1][:2] == ("audit --fix", "partly committed: StatementError")
    assert "2 Redis entries are still to go" in world("runs", run["id"]).out


def test_the_name_and_the_number_are_typed(world: World) -> None:
    world.write(world.url, more="protected = true\n")
    before = world.sums()
    for answers in (["staging"], ["dev", "3"], ["dev", "2"]):
        child = pexpect.spawn(
            sys.executable,
            ["-m", "gaiaops", "--registry", str(world.file), "audit", "dev", "--fix", "revoked-access"],
            env=clean_variables(world.folder), encoding="utf-8", timeout=30, dimensions=(40, 160),
        )  # fmt: skip
        child.expect("2 findings of dev are repaired: 2 rows are written and 2 Redis entries go.")
        for answer, question in zip(answers, ("the environment's name", "the number of changes"), strict=False):
            child.expect(f"Type {question} to go on: ")
            assert world.sums() == before
            child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        right = answers == ["dev", "2"]
        assert child.exitstatus == (0 if right else 5), child.before
        assert (world.sums() != before) == right


# ---- SIGKILL

_KILLED = """
import os, signal, sys
import msgspec
from contextlib import contextmanager
from gaiaops import registry
from gaiaops.audit import repair
from gaiaops.audit.repair_plan import Repair
from tests.integration.repair_kit import Auth
from gaiaops.auth.interface import Record
file, moment, plan, records = sys.argv[1:]
auth = Auth()
auth.records = {one.id: one for one in msgspec.json.decode(records, type=list[Record])}
def phase(word, rows):
    if word == moment:
        os.kill(os.getpid(), signal.SIGKILL)
loaded = registry.load(file)
plan = msgspec.json.decode(plan, type=Repair)
repair.apply(loaded, loaded.environment("dev"), plan, auth.again, repair.Hooks(phase))
"""


@pytest.mark.parametrize("moment", ["committing", "committed"])
def test_killed_around_the_commit(world: World, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Between the sync and the commit nothing is changed; right after it everything is, and can be undone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(world.folder / "data"))
    drifted, banned = world.person("o+dev@x.io", "n+dev@x.io"), world.person("k+dev@x.io", "k+dev@x.io", "b")
    _, digest = world.key(banned)
    entry = f"gaia:auth:apikey:v1:{digest[:32]}"
    world.store(entry)
    before = world.sums()
    plan = world.plan(("email-drift", drifted), ("revoked-access", banned))
    records = msgspec.json.encode(list(world.auth.records.values())).decode()
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(world.file), moment, msgspec.json.encode(plan).decode(), records],
        check=False, env=clean_variables(world.folder), cwd=Path(__file__).parents[2], capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    world.settle()
    committed = moment == "committed"
    assert (world.sums() != before) == committed
    (run,) = world.documents()
    assert (run["state"], run["doubtful_segments"], run["rows"]) == ("unfinished", 1, 2)
    assert "it is not known whether it was committed" in world("runs", run["id"]).out
    assert world.repair(*CONFIRM, kinds="case-drift").code == 0  # settles what was left
    assert world.cached(entry) == [not committed]
    (*_, first) = world.documents()
    assert (first["id"] == plan.id) == committed
    if committed:
        assert first["state"] == "done"
        assert world.undo(plan.id).rows == 2
    for one in world.documents():
        world.undo(one["id"])
    assert world.sums() == before


def test_killed_at_any_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(world.folder / "data"))
    dice = random.Random(7)  # noqa: S311 - moments, not secrets
    before = world.sums()
    reference = None
    for _ in range(20 if STRESS else 2):
        child = subprocess.Popen(
            [*GAIAOPS, "--registry", str(world.file), "audit", "dev", "--fix", KINDS, *CONFIRM],
            env=clean_variables(world.folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(dice.uniform(0.4, 2.5))
        child.kill()
        child.communicate()
        world.settle()
        middle = {table: sum_ for table, sum_ in world.sums().items() if table not in CHANGED}
        assert middle == {table: sum_ for table, sum_ in before.items() if table not in CHANGED}
        done = world.repair(*CONFIRM)
        assert done.code == 0, done.err
        repaired = [tuple(row) for row in world.fetch("SELECT id::text, email FROM users ORDER BY 1")]
        assert reference in (None, repaired)
        reference = repaired
        for run in world.documents():
            if run["state"] != "restored" and run["rows"]:
                assert world.undo(run["id"]).not_undone == []
        assert world.sums() == before
        assert {run["state"] for run in world.documents()} <= {"restored", "done"}
