"""Memory does not grow with the number of users: ten times as many people, the same peak."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import GAIAOPS, Sandbox, clean_variables
from tests.integration.audit_kit import World, databases

# Runs a command and tells the peak of its memory in kB.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
STRESS = os.environ.get("GAIAOPS_TEST_STRESS") == "1"
FEW, MANY = (20_000, 200_000) if STRESS else (10_000, 60_000)

AUTH = """
TRUNCATE auth.users CASCADE;
INSERT INTO auth.users (id, instance_id, aud, email, email_confirmed_at, created_at)
SELECT md5('p' || i)::uuid, '00000000-0000-0000-0000-000000000000', 'authenticated',
    CASE WHEN i % 10 = 9 THEN NULL ELSE 'person' || i || '@example.com' END, now(), '2020-01-01'
FROM generate_series(1, {people}) AS i"""
PRODUCTION = """
TRUNCATE users CASCADE;
INSERT INTO users (id, email, created_at)
SELECT md5('p' || i)::uuid, 'person' || i || '@example.com', '2020-01-01'
FROM generate_series(1, {people}) AS i WHERE i % 10 NOT IN {absent}"""


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(databases(sandbox.url("dev")), tmp_path_factory.mktemp("memory"))
    made.fill([], {})
    return made


def peak(world: World, *options: str) -> float:
    """MB at the most in one audit by SQL."""
    audit = [*GAIAOPS, "--registry", str(world.file), "audit", "all", "--source", "sql", *options]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *audit],
        capture_output=True, env=clean_variables(world.folder), check=True, timeout=600,
    )  # fmt: skip
    code, kilobytes = done.stdout.split()
    assert code == b"0"
    return int(kilobytes) / 1024


# All in order but a tenth without an address; and 30 % in no environment, shown in every way.
CASES = [("(6, 7, 8, 9)", [("--json",), *([()] if STRESS else [])]), ("(9)", [()])]


@pytest.mark.first(1)
@pytest.mark.parametrize(("absent", "shapes"), CASES, ids=["unprovisioned", "in order"])
def test_the_peak_does_not_grow(world: World, absent: str, shapes: list[tuple[str, ...]]) -> None:
    peaks: dict[tuple[str, ...], list[float]] = {shape: [] for shape in shapes}
    for people in (FEW, MANY):
        world.sql("auth", AUTH.format(people=people))
        world.sql("production", PRODUCTION.format(people=people, absent=absent))
        for shape in shapes:
            peaks[shape].append(peak(world, *shape))
    for shape, (few, many) in peaks.items():
        assert many < few + 12, f"{shape}: {few:.0f} MB for {FEW:,} people, {many:.0f} MB for {MANY:,}"
        assert many < 120
