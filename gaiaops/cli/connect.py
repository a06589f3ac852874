"""`gaiaops connect`: becomes the user's own shell."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import ENVIRONMENT
from gaiaops.errors import UsageError

if TYPE_CHECKING:
    from gaiaops.query.shell import Shell


@click.command("connect")
@click.argument("env", type=ENVIRONMENT)
@click.option("--write", is_flag=True, help="Open it read-write; a protected environment asks for its name.")
@click.option("--confirm", metavar="ENV", help="Confirm --write on a protected environment off a terminal.")
@click.option("--redis", is_flag=True, help="Open redis-cli on the environment's Redis; it can change data.")
@click.option("--shell", type=click.Choice(["psql", "pgcli"]), help="Which shell.  [default: pgcli, else psql]")
@click.pass_obj
def command(
    context: base.Context, /, env: str, write: bool, confirm: str | None, redis: bool, shell: str | None
) -> None:
    """Open a shell on ENV: pgcli, else psql; read-only unless --write.

    The prompt names the environment, in red where it is protected. Your ~/.psqlrc is honoured.

    \b
    Examples:
      gaiaops connect dev
      gaiaops connect prod --shell psql
      gaiaops connect staging --redis
    """
    from gaiaops.query import shell as shells

    environment = context.registry().environment(env)
    if redis:
        if environment.protected:
            base.confirm(environment, confirm, f"redis-cli on {environment.name} has no read-only mode.")
        _become(shells.redis_shell(environment, os.environ))
    if write and environment.protected:
        base.confirm(environment, confirm, f"A read-write shell on {environment.name}.")
    if environment.protected:
        base.warn(f"{environment.name} is protected; this shell is {'READ-WRITE' if write else 'read-only'}")
    _become(shells.postgres_shell(environment, write=write, wanted=shell, variables=os.environ))


def _become(shell: Shell) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        # The whole path as argv[0]: the wheel's psql finds its libraries by it.
        os.execve(shell.program, [shell.program, *shell.arguments], dict(shell.variables))  # noqa: S606
    except OSError as error:
        raise UsageError(f"cannot run {shell.program}: {error.strerror}", hint="name one with --shell") from None
