"""`gaiaops audit` and `whois` where environments have shards, as a user meets them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cli.cleanup_world import checksums
from tests.conftest import Command, Run, Sandbox
from tests.integration.audit_kit import P, R
from tests.integration.shard_worlds import SHARDS, ShardedWorld, sharded

NOBODY = "postgresql://nobody@127.0.0.1:1/nowhere"
COLUMNS = ["id", "kind", "severity", "environment", "subject", "address", "evidence", "command"]
ANN, BOB, GONE, EVE, TWIN = (
    str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in ("ann", "bob", "gone", "eve", "twin")
)


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardedWorld]:
    """Ann's profile is in two shards and her rows in three; eve is banned; bob's address belongs to two ids."""
    cache = sandbox.state.redis_url("local").removesuffix("/0") + "/8"
    with sharded(sandbox, tmp_path_factory.mktemp("cli-shards"), {"production": cache}) as made:
        made.write()
        ann = P(ANN, "ann@x.org", keys=1)
        made.split(
            [R(ANN, "ann@x.org"), R(BOB, "bob@x.org"), R(EVE, "eve+dev@x.org", banned=True)],
            {
                "production": {"eu": [ann, P(BOB, "bob@x.org")], "us": [ann, P(TWIN, "Bob@x.org")], "asia": []},
                "dev": {"1": [], "2": [P(EVE, "eve+dev@x.org", keys=1)]},
                "staging": {"": [P(GONE, "orphan+staging@x.org")]},
            },
        )
        for side, own, times in (("eu", ANN, 1), ("us", ANN, 2), ("asia", ANN, 3), ("asia", GONE, 1)):
            row = f"INSERT INTO asset_usage (user_id, usage_type) VALUES ('{own}', 'view');"
            made.sql(f"production/{side}", row * times)
        with redis.Redis.from_url(cache) as client:
            client.flushdb()
            client.set(f"user:session:{ANN}", "x")
            client.set(f"user:session:{GONE}", "x")
            yield made
            client.flushdb()


@pytest.fixture(autouse=True)
def usual(world: ShardedWorld) -> Iterator[None]:
    yield
    world.write()


@pytest.fixture
def ops(world: ShardedWorld, gaiaops: Command) -> Callable[..., Run]:
    def run(*arguments: str, code: int = 0) -> Run:
        told = gaiaops(*arguments, "--source", "sql", registry=world.file)
        assert told.code == code, told
        return told

    return run


SHARDS_OF = {
    "dangling-reference": ["asia"],
    "duplicate-profile": ["eu", "us"],
    "id-mismatch": ["us"],
    "stale-cache": [],
    "revoked-access": ["2"],
}


def test_findings_name_their_shards(ops: Callable[..., Run]) -> None:
    told = ops("audit", "all", "--json", code=7)
    document = json.loads(told.out)
    assert document["complete"] and {side["environment"]: side["users"] for side in document["environments"]} == {
        "local": 0, "dev": 1, "staging": 1, "production": 3,
    }  # fmt: skip
    findings = {one["kind"]: one for one in document["findings"]}
    assert {kind: one["shards"] for kind, one in findings.items() if kind in SHARDS_OF} == {
        kind: shards for kind, shards in SHARDS_OF.items() if kind in findings
    }
    assert findings.keys() >= {"dangling-reference", "duplicate-profile", "stale-cache", "revoked-access"}
    assert "shards" not in findings["orphan-profile"], "staging has none"
    assert findings["orphan-profile"]["environment"] == "staging"
    assert findings["dangling-reference"]["command"].startswith("gaiaops query production/asia 'SELECT")
    assert findings["stale-cache"]["subject"] == f"user:session:{GONE}"

    lines = [json.loads(line) for line in ops("audit", "all", "--jsonl", code=7).out.splitlines()]
    assert lines == document["findings"]
    rows = list(csv.DictReader(io.StringIO(ops("audit", "all", "--csv", code=7).out)))
    assert list(rows[0]) == [*COLUMNS[:4], "shards", *COLUMNS[4:]]
    assert [row["shards"] for row in rows] == [",".join(one.get("shards", ())) for one in document["findings"]]
    text = ops("audit", "all", code=7).out
    assert "production/asia" in text and "production/eu,us" in text and "dev/2" in text


def test_an_environment_without_shards_is_told_as_ever(ops: Callable[..., Run]) -> None:
    (finding,) = json.loads(ops("audit", "staging", "--json", code=7).out)["findings"]
    assert list(finding) == [*COLUMNS, "known"]
    header, row = ops("audit", "staging", "--csv", code=7).out.splitlines()
    assert header == ",".join(COLUMNS) and row.startswith(finding["id"])


def test_a_saved_audit_is_a_baseline(ops: Callable[..., Run], world: ShardedWorld) -> None:
    saved = str(world.folder / "known.json")
    ops("audit", "all", "--save", saved, code=7)
    again = ops("audit", "all", "--baseline", saved)
    assert "baseline: 0 new" in again.err and "0 fixed" in again.err


@pytest.mark.parametrize("shard", ["eu", "asia"])
def test_a_shard_is_down(ops: Callable[..., Run], world: ShardedWorld, shard: str) -> None:
    """Exit 6, the shard's name, and nothing of the environment; also where it is the only one that was asked for."""
    world.write(**{f"production_{shard}": NOBODY})
    for name in ("all", "production"):
        told = ops("audit", name, "--json", code=6)
        assert f"[production/{shard}] " in told.err
        assert f"not everything could be read: production/{shard}" in told.err
        document = json.loads(told.out)
        assert not document["complete"]
        assert not [one for one in document["findings"] if one["environment"] in ("production", "")]
    told = ops("audit", "dev", code=6)
    assert f"production/{shard} did not answer" in told.err


def test_a_shard_alone_is_not_audited(ops: Callable[..., Run]) -> None:
    told = ops("audit", "production/eu", code=2)
    assert "production/eu is a shard, and an audit judges whole environments" in told.err
    assert "gaiaops audit production" in told.err


def test_all_shards_are_down(ops: Callable[..., Run], world: ShardedWorld) -> None:
    world.write(**{f"production_{shard}": f"{NOBODY}_{shard}" for shard in SHARDS["production"]})
    assert "[production] no shard answers: [production/eu] " in ops("audit", "production", code=3).err


def test_one_shard_is_repaired_at_a_time(ops: Callable[..., Run]) -> None:
    """All of them are refused before anything is contacted, with what to do, and so is what is no shard's; a finding
    names its shard's repair as its next command."""
    told = ops("audit", "dev", "--fix", "revoked-access", "--dry-run", code=5)
    assert "[dev] refused: it has 2 shards" in told.err
    assert "gaiaops audit dev/1 --fix revoked-access or gaiaops audit dev/2 --fix revoked-access" in told.err
    told = ops("audit", "production/eu", "--fix", "email-drift,stale-cache", "--dry-run", code=5)
    assert "gaiaops cache production invalidate --key" in told.err and told.out == ""
    findings = json.loads(ops("audit", "all", "--json", code=7).out)["findings"]
    commands = {one["kind"]: one["command"] for one in findings if one["environment"] in ("production", "dev")}
    assert commands["stale-cache"] == f"gaiaops cache production invalidate --key user:session:{GONE}"
    assert commands["revoked-access"] == "gaiaops audit dev/2 --fix revoked-access"


def test_a_shard_is_repaired_and_restored(
    ops: Callable[..., Run], world: ShardedWorld, gaiaops: Command, tmp_path: Path
) -> None:
    """One plan, one confirmation, one run, one line of the trail, all under the shard's name."""
    sums = {side: checksums(url) for side, url in world.urls.items() if side != "auth"}
    fix = ("--fix", "revoked-access,missing-profile")
    other = ops("audit", "dev/1", *fix, "--dry-run")
    assert "[dev/2] 1 findings are not in dev/1: gaiaops audit dev/2 --fix revoked-access" in other.err
    assert "nothing to repair" in other.err and "--confirm dev/2" in ops("audit", "dev/2", *fix, code=5).err
    ops("audit", "dev/2", *fix, "--confirm", "dev", code=5)
    dry = json.loads(ops("audit", "dev/2", *fix, "--dry-run", "--json").out)["repair"]
    (change,) = dry["changes"]
    assert (dry["environment"], change["subject"], change["action"]) == ("dev/2", EVE, "deactivate")
    assert {side: checksums(world.urls[side]) for side in sums} == sums

    done = ops("audit", "dev/2", *fix, "--confirm", "dev/2")
    assert "[dev/2] repaired 1 of 1 findings: 1 rows written" in done.err
    now = {side: checksums(world.urls[side]) for side in sums}
    changed = {(side, table) for side in sums for table in now[side] if now[side][table] != sums[side][table]}
    assert changed == {("dev/2", "public.api_keys")}
    assert "nothing to repair" in ops("audit", "dev/2", *fix, "--confirm", "dev/2").err
    (run,) = json.loads(gaiaops("runs", "--json", registry=world.file).out)["runs"]
    assert (run["environment"], run["state"], run["rows"]) == ("dev/2", "done", 1)
    assert run["id"] in gaiaops("runs", registry=world.file).out and "-dev-2-" in run["id"]
    back = gaiaops("restore", run["id"], "--confirm", "dev/2", registry=world.file)
    assert (back.code, "[dev/2] 1 rows were set back" in back.err) == (0, True), back
    assert {side: checksums(world.urls[side]) for side in sums} == sums
    # What was repaired before there were shards is nothing of one of them.
    folder = Path(run["archive"])
    older = folder.with_name(f"{run['id']}-older")
    shutil.copytree(folder, older)
    plan = (older / "repair.json").read_text(encoding="utf-8")
    (older / "repair.json").write_text(plan.replace('"dev/2"', '"dev"'), encoding="utf-8")
    told = gaiaops("restore", older.name, "--confirm", "dev", registry=world.file)
    assert (told.code, "it has shards now" in told.err) == (5, True), told

    trail = [json.loads(line) for line in (tmp_path / "state" / "gaiaops" / "trail.jsonl").read_text().splitlines()]
    assert [(line["environment"], line["command"], line["outcome"], line["rows"]) for line in trail] == [
        ("dev/2", "audit --fix", "started", 0), ("dev/2", "audit --fix", "committed", 1),
        ("dev/2", "restore", "started", 0), ("dev/2", "restore", "committed", 1),
    ]  # fmt: skip


def test_a_shard_is_not_repaired_while_another_is_down(ops: Callable[..., Run], world: ShardedWorld) -> None:
    before = checksums(world.urls["dev/2"])
    world.write(dev_1=NOBODY)
    told = ops("audit", "dev/2", "--fix", "revoked-access", "--confirm", "dev/2", code=6)
    assert "dev/1 could not be read: nothing is repaired on half the truth" in told.err
    assert checksums(world.urls["dev/2"]) == before


# ------------------------------------------------------------------------------- whois


def person(told: Run) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """(production, staging, the findings)."""
    (found,) = json.loads(told.out)["whois"]
    places = {place["environment"]: place for place in found["environments"]}
    return places["production"], places["staging"], found["findings"]


def test_somebody_in_two_shards(ops: Callable[..., Run]) -> None:
    """One profile, with its shards; rows are summed, and told by shard."""
    production, staging, findings = person(ops("whois", "ann@x.org", "--json"))
    (profile,) = production["profiles"]
    assert profile["shards"] == ["eu", "us"]
    assert sorted(key["state"] for key in profile["keys"]) == [
        "active",
        "active",
        "expired",
        "expired",
        "inactive",
        "inactive",
    ]
    assert profile["rows"] == {"api_keys.user_id": 6, "asset_usage.user_id": 6}
    assert profile["rows_by_shard"] == {
        "eu": {"api_keys.user_id": 3, "asset_usage.user_id": 1},
        "us": {"api_keys.user_id": 3, "asset_usage.user_id": 2},
        "asia": {"asset_usage.user_id": 3},
    }
    assert [entry["key"] for entry in profile["cache"]] == [f"user:session:{ANN}"]
    assert list(staging) == ["environment", "profiles", "rows", "errors"]
    assert findings == []
    text = ops("whois", ANN).out
    assert f"production/eu,us: {ANN}  ann@x.org" in text
    assert "  rows in us: api_keys.user_id 3, asset_usage.user_id 2" in text


def test_duplicates_across_shards(ops: Callable[..., Run]) -> None:
    production, _, findings = person(ops("whois", "bob@x.org", "--json"))
    assert {(one["id"], *one["shards"]) for one in production["profiles"]} == {(BOB, "eu"), (TWIN, "us")}
    (told,) = findings
    assert told["kind"] == "duplicate-profile" and told["shards"] == ["eu", "us"]
    assert f"bob@x.org ({BOB}, production/eu)" in told["evidence"]["profiles"]


def test_what_is_left_of_somebody_in_a_shard(ops: Callable[..., Run]) -> None:
    production, staging, findings = person(ops("whois", GONE, "--json"))
    assert production["profiles"] == []
    assert production["rows"] == {"asset_usage.user_id": 1}
    assert production["rows_by_shard"] == {"asia": {"asset_usage.user_id": 1}}
    assert {(one["kind"], one["environment"]) for one in findings} == {
        ("dangling-reference", "production"),
        ("stale-cache", "production"),
        ("orphan-profile", "staging"),
    }
    assert "shards" not in staging["profiles"][0]
    (orphan,) = (one for one in findings if one["kind"] == "orphan-profile")
    assert "shards" not in orphan


def test_whois_while_a_shard_is_down(ops: Callable[..., Run], world: ShardedWorld) -> None:
    world.write(production_us=NOBODY)
    production, _, _ = person(told := ops("whois", "ann@x.org", "--json", code=6))
    assert "not everything answered: production/us" in told.err
    assert production["profiles"] == [] and production["errors"][0].startswith("[production/us] ")
