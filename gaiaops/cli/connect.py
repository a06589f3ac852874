"""`gaiaops connect`: becomes the user's own shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gaiaops.cli import base, replicas
from gaiaops.cli.arguments import ENVIRONMENT
from gaiaops.errors import UsageError, located

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gaiaops.query.shell import Shell
    from gaiaops.registry.model import Environment
    from gaiaops.registry.urls import Url
    from gaiaops.tunnels import Place


_POSTGRES, _REDIS = ("pgcli", "psql"), ("iredis", "redis-cli")


@click.command("connect")
@click.argument("env", type=ENVIRONMENT)
@click.option("--write", is_flag=True, help="Open it read-write; a protected environment asks for its name.")
@click.option("--confirm", metavar="ENV", help="Confirm --write on a protected environment off a terminal.")
@click.option("--redis", is_flag=True, help="Open iredis, else redis-cli, on the environment's Redis.")
@click.option("--shell", type=click.Choice([*_POSTGRES, *_REDIS]), metavar="NAME",
              help="pgcli, psql, iredis or redis-cli.  [default: the first that is installed]")  # fmt: skip
@replicas.option
@click.pass_obj
def command(
    context: base.Context,
    /,
    env: str,
    write: bool,
    confirm: str | None,
    redis: bool,
    shell: str | None,
    replica: bool | None,
) -> int:
    """Open a shell on ENV: pgcli, else psql; with --redis iredis, else redis-cli.

    It is read-only unless --write. The prompt names the environment and says which, in red where it is protected. Your
    own ~/.psqlrc and the like are honoured.

    \b
    Examples:
      gaiaops connect dev
      gaiaops connect prod --shell psql
      gaiaops connect staging --redis
    """
    from gaiaops.query import read_only
    from gaiaops.query import shell as shells

    if write or redis:
        replicas.refuse(
            replica,
            "a Redis has no replicas here" if redis else "a read-write shell is for the primary, not for a replica",
        )
    if shell is not None and (shell in _REDIS) is not redis:
        raise UsageError(
            f"{shell} is a shell for {'Redis' if shell in _REDIS else 'PostgreSQL'}",
            hint=f"gaiaops connect {env} {'--redis ' if shell in _REDIS else ''}--shell {shell}",
        )
    environment = context.registry().environment(env)
    if redis:
        return _on_redis(environment, write, confirm, shell)
    if write and environment.protected:
        base.confirm(environment, confirm, f"A read-write shell on {environment.name}.")
    if not write:
        environment = replicas.source(context, [environment], replica).of(environment)
    access = read_only.Access.WRITE if write else read_only.reading(environment)
    _say_what_it_is(environment, write)
    return _open(
        environment,
        environment.postgres_url(),
        lambda place: shells.postgres_shell(environment, access, wanted=shell, variables=os.environ, place=place),
    )


def _on_redis(env: Environment, write: bool, confirm: str | None, wanted: str | None) -> int:
    """Runs a shell on the environment's Redis; gives its exit status."""
    from gaiaops import tunnels
    from gaiaops.cache.relay import relay
    from gaiaops.query import redis_shell as shells

    url, program = env.needed_redis_url(), shells.find(wanted)
    if write and env.protected:
        base.confirm(env, confirm, f"A read-write shell on the Redis of {env.name}.")
    refusal = f"does not get through: this shell is read-only (gaiaops connect {env.name} --redis --write)"
    with (
        located(env.name),
        relay(url, env.timeouts, shells.socket_name(env, write), "" if write else refusal) as socket,
    ):
        _say_what_it_is(env, write)
        status = _run(shells.redis_shell(program, env, socket, write=write, variables=os.environ))
        if died := tunnels.death(url):
            base.warn(f"[{env.name}] the tunnel died: {died}")
    return status


def _say_what_it_is(env: Environment, write: bool) -> None:
    if env.protected:
        base.warn(f"{env.name} is protected; this shell is {'READ-WRITE' if write else 'read-only'}")


def _open(env: Environment, url: Url | None, shell: Callable[[Place | None], Shell]) -> int:
    """Becomes the shell; where there is a tunnel, which must live as long, runs it and gives its exit status."""
    from gaiaops import tunnels

    if url is None or url.tunnel is None:
        return _become(shell(None))
    shell(None)  # whether there is one at all
    with located(env.name), tunnels.through(url, env.timeouts) as place:
        status = _run(shell(place))
        if died := tunnels.death(url):
            base.warn(f"[{env.name}] the tunnel died: {died}")
    return status


@contextmanager
def _ours_to_ignore() -> Iterator[None]:
    """Ctrl-C and Ctrl-\\ on the terminal are for the shell. A handler, for what is ignored would be ignored by the
    child too (execve(2)); SIGTERM and SIGHUP still end us."""
    before: dict[int, Any] = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(shell: Shell) -> int:
    """The shell in the foreground, in our process group, so that Ctrl-Z stops both; gives its exit status."""
    import termios

    sys.stdout.flush()
    sys.stderr.flush()
    modes = termios.tcgetattr(0) if os.isatty(0) else None
    with _ours_to_ignore():
        try:
            variables, kept = _inheritance(shell)
            child = subprocess.Popen([shell.program, *shell.arguments], env=variables, pass_fds=kept, cwd=shell.folder)
        except OSError as error:
            raise _cannot_run(shell, error) from None
        try:
            status = child.wait()
        except BaseException:  # SIGTERM, SIGHUP
            child.terminate()
            child.wait()
            raise
        finally:
            if modes is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, modes)  # it may have been killed while it read a line
    return 128 - status if status < 0 else status


def _become(shell: Shell) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        # The whole path as argv[0]: the wheel's psql finds its libraries by it.
        os.execve(shell.program, [shell.program, *shell.arguments], _inheritance(shell)[0])  # noqa: S606
    except OSError as error:
        raise _cannot_run(shell, error) from None


def _inheritance(shell: Shell) -> tuple[dict[str, str], tuple[int, ...]]:
    """What the shell gets from us: its variables and open files."""
    from gaiaops.query import libpq

    if not shell.service:
        return dict(shell.variables), ()
    more, descriptor = libpq.in_memory(shell.service)
    return {**shell.variables, **more}, (descriptor,)


def _cannot_run(shell: Shell, error: OSError) -> UsageError:
    return UsageError(f"cannot run {shell.program}: {error.strerror}", hint="name one with --shell")
