"""`gaiaops audit` as a user meets it: exit codes, options, formats that parse back, and a terminal that stays whole."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pexpect
import psycopg
import pytest
from wcwidth import wcswidth

from gaiaops.sandbox.drift import known_drift
from tests.conftest import GAIAOPS, SANDBOX_USERS, Command, Run, Sandbox, clean_variables
from tests.integration.audit_kit import P, R, World, databases, insert_record

NOBODY = "postgresql://nobody@127.0.0.1:1/nowhere"
SQL = ("--source", "sql")
TRUTH = sorted((d.kind, d.environment, d.subject) for d in known_drift(SANDBOX_USERS))

# Addresses from bad imports: everything that a table and a terminal do not like.
HARD = ["tab\there@x.org", "line\nbreak@x.org", "\x1b[31mred\x1b]0;title\x07@x.org", "b\x08\x08\x7f@x.org",
        "csi\x9b2J@x.org", "rtl\u202eevil@x.org", "e\u0301\u0301lif@x.org", "\u65e5\u672c\u8a9e@x.org",
        '"quoted, local\\ part"@x.org', "cr\rover@x.org", "l" * 249 + "@x.org", "=cmd|' /C calc'!A0@x.org"]  # fmt: skip


def uid() -> str:
    return str(uuid.uuid4())


@pytest.fixture(scope="module")
def served(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(databases(sandbox.url("dev")), tmp_path_factory.mktemp("cli"))


@pytest.fixture
def world(served: World) -> World:
    """A platform in which everybody is in order: one person in each environment."""
    served.extra = ""
    served.write()
    records = [R(uid(), f"ann{tag}@x.org") for tag in ("+local", "+dev", "+staging", "")]
    names = ("local", "dev", "staging", "production")
    served.fill(records, {name: [P(r.id, r.address)] for name, r in zip(names, records, strict=True)})
    return served


@pytest.fixture
def audit(world: World, gaiaops: Command) -> Callable[..., Run]:
    def run(*arguments: str, **options: Any) -> Run:
        return gaiaops("audit", *arguments, registry=world.file, **options)

    return run


def orphans(world: World, side: str, *addresses: str) -> list[str]:
    ids = [uid() for _ in addresses]
    with world.connect(side) as connection:
        for own, address in zip(ids, addresses, strict=True):
            connection.execute(
                "INSERT INTO users (id, email, created_at) VALUES (%s, %s, '2020-01-01')", [own, address]
            )
    return ids


# ------------------------------------------------------------------------------------------- formats


def triples(documents: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return sorted((d["kind"], d["environment"], d["subject"]) for d in documents)


def by_id(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(documents, key=lambda document: document["id"])


def test_every_format_holds_the_same_findings(dev: Command) -> None:
    in_json = dev("audit", "all", *SQL, "--json")
    assert in_json.code == 7
    document = json.loads(in_json.out)
    assert triples(document["findings"]) == TRUTH
    assert document["complete"] is True and document["problems"] == [] and document["source"] == "sql"
    by_kind: dict[str, int] = {}
    for side in (document["auth"], *document["environments"]):
        for kind, count in side["kinds"].items():
            by_kind[kind] = by_kind.get(kind, 0) + count
    assert sorted(by_kind.items()) == sorted({k: sum(t[0] == k for t in TRUTH) for k, _, _ in TRUTH}.items())
    lines = dev("audit", "all", *SQL, "--jsonl")
    for one, two in zip(by_id(map(json.loads, lines.out.splitlines())), by_id(document["findings"]), strict=True):
        assert {**one, "evidence": ""} == {**two, "evidence": ""}  # it tells how long a Redis entry still lives
    table = dev("audit", "all", *SQL, "--csv")
    rows = by_id(csv.DictReader(io.StringIO(table.out, newline="")))
    for row, finding in zip(rows, by_id(document["findings"]), strict=True):
        assert {name: row[name] for name in ("id", "kind", "severity", "environment", "subject", "address")} == {
            name: finding[name] for name in ("id", "kind", "severity", "environment", "subject", "address")
        }
        assert row["command"] == finding["command"]
    assert lines.code == table.code == 7


def test_the_text_shows_every_finding_off_a_terminal(dev: Command) -> None:
    run = dev("audit", "all", *SQL)
    assert run.code == 7
    for kind in {kind for kind, _, _ in TRUTH}:
        assert f": {kind} ({sum(t[0] == kind for t in TRUTH)})," in run.out
    assert "…" not in run.out and "\x1b" not in run.out


def hard_world(world: World) -> list[str]:
    return orphans(world, "production", *HARD)


def test_hard_addresses_survive_every_format(world: World, audit: Callable[..., Run]) -> None:
    ids = hard_world(world)
    document = json.loads(audit("production", *SQL, "--kind", "orphan-profile", "--json").out)
    assert {d["subject"]: d["address"] for d in document["findings"]} == dict(zip(ids, HARD, strict=True))
    rows = csv.DictReader(io.StringIO(audit("production", *SQL, "--kind", "orphan-profile", "--csv").out, newline=""))
    assert {row["subject"]: row["address"] for row in rows} == dict(zip(ids, HARD, strict=True))
    lines = audit("production", *SQL, "--kind", "orphan-profile", "--jsonl").out.splitlines()
    assert len(lines) == len(HARD)
    text = audit("production", *SQL)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text.out)


def on_a_terminal(world: World, sandbox: Sandbox, *arguments: str, columns: int = 80) -> str:
    """What an audit writes on a pseudo-terminal."""
    variables = {name: value for name, value in clean_variables(world.folder).items() if name != "NO_COLOR"}
    child = pexpect.spawn(
        GAIAOPS[0], [*GAIAOPS[1:], "--registry", str(world.file), "audit", *arguments],
        dimensions=(24, columns), env=variables, encoding="utf-8", timeout=60,
    )  # fmt: skip
    text = child.read()
    child.close()
    assert child.exitstatus in (0, 7)
    return str(text)


@pytest.mark.parametrize("columns", [80, 132])
def test_hard_addresses_break_no_terminal(world: World, sandbox: Sandbox, columns: int) -> None:
    hard_world(world)
    orphans(world, "production", *(f"more{i:03}@x.org" for i in range(60)))
    text = on_a_terminal(world, sandbox, "all", *SQL, columns=columns)
    lines = [line.replace("\r\x1b[K", "").rstrip("\r") for line in text.split("\n")]
    assert not [line for line in lines if re.search(r"[\x00-\x08\x0b-\x1a\x7f-\x9f\u202a-\u202e\r]", line)]
    rows = [line for line in lines if " | " in line or "-+-" in line]
    assert len(rows) > 20
    assert max(wcswidth(line) for line in rows) <= columns
    assert f"… and {len(HARD) + 60 - 20} more" in text
    borders = {tuple(i for i, char in enumerate(line) if char == "+") for line in lines if "-+-" in line}
    assert len(borders) == 2, "the matrix and one table"


def test_head_ends_quietly(dev: Command, sandbox: Sandbox, variables: dict[str, str]) -> None:
    for shape in ([], ["--csv"]):
        command = [*GAIAOPS, "--registry", str(sandbox.layout.registry), "audit", "all", *SQL, *shape]
        audit = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables)
        assert audit.stdout is not None and audit.stderr is not None
        assert audit.stdout.readline()
        audit.stdout.close()
        said = audit.stderr.read().decode()
        audit.wait(30)
        assert "Traceback" not in said and "Broken" not in said and "a bug" not in said, said


# ------------------------------------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("more", "code"),
    [((), 0), (("--fail-on", "warning"), 0), (("--fail-on", "notice"), 7), (("--fail-on", "never"), 0)],
)
def test_what_fails_and_what_does_not(
    world: World, audit: Callable[..., Run], more: tuple[str, ...], code: int
) -> None:
    """One notice: an untagged address in dev."""
    world.sql("auth", "UPDATE auth.users SET email = 'ann2@x.org' WHERE email = 'ann+dev@x.org'")
    world.sql("dev", "UPDATE users SET email = 'ann2@x.org'")
    run = audit("dev", *SQL, *more)
    assert run.code == code, run.err
    assert "untagged-profile" in run.out


def test_what_is_not_shown_still_fails(world: World, audit: Callable[..., Run]) -> None:
    orphans(world, "dev", "gone+dev@x.org")
    run = audit("all", *SQL, "--min-severity", "critical")
    assert run.code == 7 and "1 findings at error or worse" in run.err
    assert "orphan" not in run.out
    assert audit("all", *SQL, "--min-severity", "critical", "--fail-on", "critical").code == 0


def test_nothing_is_wrong(audit: Callable[..., Run]) -> None:
    run = audit("all", *SQL)
    assert run.code == 0 and run.err == ""
    assert json.loads(audit("all", *SQL, "--json").out)["findings"] == []


def test_incomplete_goes_before_found(world: World, audit: Callable[..., Run]) -> None:
    orphans(world, "production", "gone@x.org")
    world.write(dev=NOBODY)
    run = audit("all", *SQL, "--json")
    assert run.code == 6
    assert "[dev] connection refused" in run.err and "not everything could be read: dev" in run.err
    document = json.loads(run.out)
    assert document["complete"] is False
    assert triples(document["findings"])[0][:2] == ("orphan-profile", "production")
    sides = {side["environment"]: side for side in document["environments"]}
    assert sides["dev"]["error"] and sides["dev"]["users"] == 0 and sides["dev"]["kinds"] == {}
    assert "Traceback" not in run.err


@pytest.mark.parametrize("env", ["all", "dev"])
def test_all_that_was_asked_for_is_down(world: World, audit: Callable[..., Run], env: str) -> None:
    world.write(**dict.fromkeys(("local", "dev", "staging", "production"), NOBODY))
    run = audit(env, *SQL)
    assert run.code == 3 and run.out == ""
    assert run.err.count("connection refused") == (4 if env == "all" else 1)


def test_a_wrong_password(world: World, audit: Callable[..., Run]) -> None:
    world.write(dev=re.sub(r":[^:@]+@", ":wrong@", world.urls["dev"]))
    run = audit("all", *SQL)
    assert run.code in (0, 6)  # `trust` asks nobody for a password
    assert "wrong@" not in run.out + run.err


def test_supabase_is_down(world: World, audit: Callable[..., Run]) -> None:
    orphans(world, "dev", "twin+dev@x.org", "TWIN+dev@x.org")
    world.write(auth=NOBODY)
    run = audit("all", *SQL)
    assert run.code == 6
    assert "[supabase] connection refused" in run.err and "not everything could be read: supabase" in run.err
    assert "duplicate-profile" in run.out and "orphan-profile" not in run.out and "unprovisioned" not in run.out
    users = next(line for line in run.out.splitlines() if line.startswith(" users"))
    assert users.split("|")[1].strip() == "-"


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["all", "--kind", "orphan-profiles"], 2, 'did you mean "orphan-profile"?'),
        (["all", "--kind", "zzz"], 2, "kinds: revoked-access"),
        (["all", "--kind", ","], 2, "no kind of finding"),
        (["all", "--baseline", "absent.json"], 2, "cannot read the baseline absent.json"),
        (["all", "--baseline", "."], 2, "Is a directory"),
        (["all", "--fix", "case-drift"], 2, "one environment at a time"),
        (["dev", "--fix", "orphan-profile"], 2, "orphan-profile"),
        (["dev", "--fix", "case-drift", "--save", "x"], 2, "--save and --fix do not go together"),
        (["dev", "--confirm", "dev"], 2, "belong to --fix"),
        (["dev", "--dry-run"], 2, "belong to --fix"),
        (["dev", "--fix", "case-drift"], 5, "--confirm dev"),
        (["nowhere"], 2, "unknown environment"),
        (["all", "--fail-on", "bad"], 2, "--fail-on"),
        (["all", "--page-size", "0"], 2, "--page-size"),
        (["all", "--timeout", "soon"], 2, "--timeout"),
    ],
)
def test_bad_input_is_refused(audit: Callable[..., Run], arguments: list[str], code: int, words: str) -> None:
    run = audit(*arguments, *SQL)
    assert (run.code, run.out) == (code, ""), run.err
    assert words in run.err and "hint:" in run.err


REGISTRY = [
    ('\n[audit]\nagree = ["case-drifts"]\n', "case-drifts"),
    ('\n[audit]\ngrace = "often"\n', "audit.grace"),
    ('\n[audit]\nrecheck_after = "-1s"\n', "audit.recheck_after"),
    ('\n[audit]\naccess_keys = ["user:session"]\n', "audit.access_keys[0]"),
    ("\n[audit]\nagrees = []\n", "agrees"),
]


@pytest.mark.parametrize(("section", "words"), REGISTRY)
def test_a_bad_registry_is_refused(world: World, audit: Callable[..., Run], section: str, words: str) -> None:
    world.write(lambda text: text.partition("\n[audit]")[0] + section)
    run = audit("all", *SQL)
    assert run.code == 2 and words in run.err and "Traceback" not in run.err


def test_no_supabase_and_no_database(world: World, audit: Callable[..., Run]) -> None:
    world.write(lambda text: re.sub(r'\ndatabase = ".*"', "", text))
    run = audit("all", *SQL)
    assert run.code == 2 and "supabase.database" in run.err and "--source api" in run.err
    world.write(lambda text: text.replace("[supabase]", "[cache.families_of]").partition("[cache.families_of]")[0])
    run = audit("all")
    assert run.code == 2 and "[supabase]" in run.err


# ------------------------------------------------------------------------------------------- agreement, baselines


def test_kinds_that_count_as_agreement(world: World, audit: Callable[..., Run], tmp_path: Path) -> None:
    orphans(world, "dev", "seeded+dev@x.org")
    saved = tmp_path / "known.json"
    assert audit("all", *SQL, "--save", str(saved)).code == 7
    agree = '[environments.dev]\nagree = ["orphan-profile"]'
    world.write(lambda text: text.replace("[environments.dev]", agree))
    run = audit("all", *SQL, "--baseline", str(saved))
    assert run.code == 0 and "orphan" not in run.out
    assert "0 fixed" in run.err, "it was not looked for"


def test_a_baseline_knows_what_is_new_and_what_is_fixed(
    world: World, audit: Callable[..., Run], tmp_path: Path
) -> None:
    here, there = orphans(world, "dev", "one+dev@x.org", "two+dev@x.org")
    with world.connect("auth") as connection:
        insert_record(connection, R(uid(), "no@x.org"))
    saved = str(tmp_path / "known.json")
    assert audit("all", *SQL, "--save", saved).code == 7
    assert Path(saved).stat().st_mode & 0o777 == 0o600
    same = audit("all", *SQL, "--baseline", saved)
    assert same.code == 0 and "baseline: 0 new, 3 known, 0 fixed" in same.err and " known" in same.out
    # One more: it alone counts.
    orphans(world, "dev", "three+dev@x.org")
    new = audit("all", *SQL, "--baseline", saved, "--json")
    assert new.code == 7 and "1 new findings" in new.err and "baseline: 1 new, 3 known, 0 fixed" in new.err
    assert sorted(d["known"] for d in json.loads(new.out)["findings"]) == [False, True, True, True]
    # One fixed.
    world.sql("dev", f"DELETE FROM users WHERE id = '{here}' OR email LIKE 'three%'")
    fixed = audit("all", *SQL, "--baseline", saved, "--json")
    assert fixed.code == 0 and "0 new, 2 known, 1 fixed" in fixed.err
    assert "fixed: orphan-profile dev one+dev@x.org" in fixed.err
    assert [d["subject"] for d in json.loads(fixed.out)["fixed"]] == [here]
    # Other kinds were looked for, other environments, or it could not be read: it is not called fixed.
    assert "0 fixed" in audit("all", *SQL, "--baseline", saved, "--kind", "case-drift").err
    assert "0 fixed" in audit("production", *SQL, "--baseline", saved).err
    world.write(dev=NOBODY)
    assert "0 fixed" in audit("all", *SQL, "--baseline", saved).err
    world.write(auth=NOBODY)
    assert "0 fixed" in audit("all", *SQL, "--baseline", saved).err
    world.write(production=NOBODY)
    assert "1 fixed" in audit("dev", *SQL, "--baseline", saved).err, "production has no say in dev's orphans"
    assert there


def test_who_is_missed_depends_on_all_environments(world: World, audit: Callable[..., Run], tmp_path: Path) -> None:
    """A missing profile that is found only because production was read is not fixed where production is down."""
    world.sql("dev", "DELETE FROM users")
    ann = psycopg.connect(world.urls["auth"]).execute("SELECT id FROM auth.users WHERE email LIKE '%+dev@%'").fetchone()
    assert ann is not None
    world.sql(
        "production", f"INSERT INTO users (id, email, created_at) VALUES ('{ann[0]}', 'ann+dev@x.org', '2020-01-01')"
    )
    saved = str(tmp_path / "known.jsonl")
    run = audit("dev", *SQL, "--jsonl")
    assert "missing-profile" in run.out
    Path(saved).write_text(run.out)
    assert "0 new, 1 known, 0 fixed" in audit("dev", *SQL, "--baseline", saved).err
    world.write(production=NOBODY)
    down = audit("dev", *SQL, "--baseline", saved)
    assert down.code == 6 and "0 new, 0 known, 0 fixed" in down.err


def test_an_address_from_a_baseline_does_not_drive_the_terminal(
    world: World, audit: Callable[..., Run], tmp_path: Path
) -> None:
    orphans(world, "dev", "\x1b]0;owned\x07+dev@x.org")
    saved = str(tmp_path / "known.json")
    audit("dev", *SQL, "--save", saved)
    world.sql("dev", "DELETE FROM users WHERE email LIKE '%owned%'")
    run = audit("dev", *SQL, "--baseline", saved)
    assert "1 fixed" in run.err and "\x1b" not in run.err and "\x07" not in run.err


def test_a_report_that_cannot_be_saved(audit: Callable[..., Run], tmp_path: Path) -> None:
    run = audit("all", *SQL, "--save", str(tmp_path / "no" / "where.json"))
    assert run.code == 2 and "cannot write" in run.err and "Traceback" not in run.err
    run = audit("all", *SQL, "--save", str(tmp_path))
    assert run.code == 2 and "folder" in run.err


# ------------------------------------------------------------------------------------------- interruption


def test_ctrl_c_leaves_no_session_behind(world: World, variables: dict[str, str]) -> None:
    """An audit that waits for a locked table ends at once, and its sessions with it."""
    lock = "[environments.dev]\ntimeouts = { lock = '60s' }"
    world.write(lambda text: text.replace("[environments.dev]", lock))
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'gaiaops/%%' AND datname = ANY(%s)"
    names = [url.rpartition("/")[2] for url in world.urls.values()]
    with psycopg.connect(world.urls["dev"]) as holder, world.connect("local") as watcher:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")

        def sessions() -> int:
            row = watcher.execute(ours, [names]).fetchone()
            assert row is not None
            return int(row[0])

        command = [*GAIAOPS, "--registry", str(world.file), "audit", "all", *SQL]
        audit = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'gaiaops/%' AND wait_event_type = 'Lock'"
        deadline = time.monotonic() + 30
        while not watcher.execute(waiting).fetchone() and time.monotonic() < deadline:
            time.sleep(0.05)
        audit.send_signal(signal.SIGINT)
        _, said = audit.communicate(timeout=20)
        assert audit.returncode == 130
        assert b"Traceback" not in said and b"interrupted" in said
        deadline = time.monotonic() + 10
        while sessions() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sessions() == 0
