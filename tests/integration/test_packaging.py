"""The built wheel installs and runs outside the checkout, with everything it needs in it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = (
    "gaiaops/py.typed",
    "gaiaops/query/psqlrc",
    "gaiaops/postgres/queries/overview.sql",
    "gaiaops/sandbox/sql/platform.sql",
    "gaiaops/sandbox/sql/auth.sql",
    "gaiaops/sandbox/sql/seed_auth.sql",
    "gaiaops/sandbox/authserver/queries/users.sql",
    "gaiaops/sandbox/platform.toml",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A copy of what git has: setuptools writes build folders beside the source.
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in files.stdout.splitlines():
        if name.startswith(("gaiaops/", "pyproject", "README")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_it_holds_what_it_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert set(NEEDED) <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "gaiaops",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }
    in_source = {
        str(p.relative_to(ROOT)) for p in (ROOT / "gaiaops").rglob("*") if p.suffix in (".py", ".sql", ".toml")
    }
    assert in_source <= set(names)


def test_it_runs_outside_the_checkout(wheel: Path, tmp_path: Path, variables: dict[str, str], sandbox: object) -> None:
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import gaiaops; print(gaiaops.__file__)"
    python = [sys.executable, "-P", "-c"]
    where = subprocess.run([*python, code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert where.startswith(str(target))
    registry = sandbox.layout.registry  # type: ignore[attr-defined]
    run = f"import sys; sys.path.insert(0, {str(target)!r}); from gaiaops.cli.main import main; main()"
    done = subprocess.run(
        [*python, run, "--registry", str(registry), "view", "dev"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**variables, "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "chat_messages" in done.stdout
