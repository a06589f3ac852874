"""Help and start-up: every command is documented, fits 80 columns, and costs no driver."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from gaiaops.cli.main import COMMANDS, cli
from tests.conftest import Command

HEAVY = ("psycopg", "redis", "httpx", "supabase", "tabulate", "msgspec", "starlette")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_no_driver(arguments: list[str]) -> None:
    code = (
        "import sys\nsys.argv = ['gaiaops', *sys.argv[1:]]\n"
        "from gaiaops.cli.main import Context, cli, run\n"
        "try:\n    code = run(cli, Context())\nfinally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns(gaiaops: Command, name: str) -> None:
    run = gaiaops(*filter(None, [name]), "--help", COLUMNS="80")
    assert run.code == 0
    assert max(map(len, run.out.splitlines())) <= 80


def test_every_command_has_a_summary_and_help() -> None:
    for name, (_, summary) in COMMANDS.items():
        command = cli.commands.get(name) or cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert command.name == name
        assert summary.endswith(".")
        assert command.help
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)


def test_no_arguments_shows_the_help(gaiaops: Command) -> None:
    run = gaiaops()
    assert "Commands:" in run.out + run.err
    assert run.code == 2
