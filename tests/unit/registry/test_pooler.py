"""What the registry says of a pooler."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaiaops import registry
from gaiaops.errors import UsageError


def load(folder: Path, line: str) -> registry.Registry:
    file = folder / "environments.toml"
    file.write_text(f'[environments.dev]\npostgres = "postgresql://u@pooler:6543/d"\n{line}\n', encoding="utf-8")
    return registry.load(str(file))


@pytest.mark.parametrize("mode", ["transaction", "session", "none"])
def test_it_goes_with_the_connection_string(mode: str, tmp_path: Path) -> None:
    assert load(tmp_path, f'pooler = "{mode}"').environment("dev").postgres_url().pooler == mode


def test_nothing_is_said(tmp_path: Path) -> None:
    assert load(tmp_path, "").environment("dev").postgres_url().pooler == ""


def test_another_word(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"environments\.dev\.pooler: .*'statement'"):
        load(tmp_path, 'pooler = "statement"')
