"""What the documents show is what the commands print."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import Command

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"```console\n\$ gaiaops --sandbox (.*?)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S
)
# What differs from run to run: latency, sizes, cache keys that live for less than a minute; ids of plans and servers,
# and times.
VOLATILE = re.compile(
    r"\d+(?:\.\d+)? (?:ms|kB|MB|B)|(?<=MB) +\d+ |\d{8}-\d{6}-\w+-[0-9a-f]{4}|\d{19}|20\d\d-\d\d-\d\dT[\d:]{8}Z"
)


def normal(text: str) -> list[str]:
    """Lines without what differs, in any order: environments answer as they can, and streams mix."""
    return sorted(re.sub(r"\s+", " ", VOLATILE.sub(" … ", line)) for line in text.splitlines())


def test_the_readme_has_its_tour() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command[:40] for command, _ in BLOCKS])
def test_the_readme_shows_real_output(dev: Command, command: str, shown: str) -> None:
    run = dev(*shlex.split(command))
    assert normal(run.out + run.err) == normal(shown)


def test_the_command_reference_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == generate.reference(), "run make docs"


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_page_of_the_readme_is_there() -> None:
    named = set(re.findall(r"docs/([\w-]+\.md)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named == {page.name for page in (ROOT / "docs").glob("*.md")}
