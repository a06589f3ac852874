"""The one error boundary, and what every command shares: options, the registry, notices, prompts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gaiaops.errors import ExitCode, GaiaopsError, InterruptedRunError, RefusedError

if TYPE_CHECKING:
    from gaiaops.registry.model import Environment, Registry

PROGRAM = "gaiaops"


@dataclass
class Context:
    """The global options of one run."""

    registry_file: str | None = None
    sandbox: bool = False
    color: str = "auto"
    verbose: int = 0
    debug: bool = False
    _registry: Registry | None = field(default=None, repr=False)

    def registry(self) -> Registry:
        """The registry this run works on; `--sandbox` starts the sandbox if it is down."""
        if self._registry is None:
            from gaiaops import registry
            from gaiaops.registry import trust

            file = self.registry_file
            if self.sandbox:
                from gaiaops.sandbox import lifecycle

                file = str(lifecycle.ensure_up(notice).registry)
            self._registry = registry.load(file)
            if self.verbose:
                from gaiaops import tunnels

                notice(f"registry: {self._registry.file}")
                tunnels.tell(notice)
            for warning in self._registry.warnings:
                warn(warning)
            trust.listen(warn)
        return self._registry

    @property
    def program(self) -> str:
        """How gaiaops was called, so that a command that is copied leads to the same servers."""
        if self.sandbox:
            return f"{PROGRAM} --sandbox"
        if self.registry_file:
            import shlex

            return f"{PROGRAM} --registry {shlex.quote(self.registry_file)}"
        return PROGRAM

    def traceback(self, error: BaseException) -> str:
        """The traceback for --debug, without the registry's secrets."""
        from gaiaops.registry import redact

        return redact.traceback_of(error, redact.secrets(self._registry, os.environ))

    def colored(self, stream: Any = None) -> bool:
        """Whether to colour: --color, then NO_COLOR, then whether it is a terminal."""
        if self.color != "auto":
            return self.color == "always"
        return not os.environ.get("NO_COLOR") and (stream or sys.stdout).isatty()


def notice(text: str) -> None:
    """Tells the user something; standard output carries data only."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    notice(f"{PROGRAM}: warning: {text}")


def show_error(error: GaiaopsError, *, color: bool = False, context: Context | None = None) -> None:
    """The line, what belongs under it, and the hint; `context` is the running command's where none is given."""
    if context is None:
        running = click.get_current_context(silent=True)
        context = running.find_object(Context) if running else None
    head = click.style(f"{PROGRAM}: error:", fg="red", bold=True) if color else f"{PROGRAM}: error:"
    click.echo(f"{head} {error}", err=True, color=color)
    if error.detail:
        click.echo(error.detail, err=True)
    if error.hint:
        click.echo(f"hint: {error.next_step(context.program if context else PROGRAM)}", err=True)


def check_confirmable(env: Environment, given: str | None) -> None:
    """Raises RefusedError where `confirm` could only refuse, before anything is done on the server."""
    if given is not None and given != env.name:
        raise RefusedError(
            f'--confirm says "{given}", this is {env.name}',
            hint=f"--confirm {env.name}",
            environment=env.name,
        )
    if given is None and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError(
            f"a change to {'a protected' if env.protected else 'an'} environment needs its name",
            hint=f"add --confirm {env.name}",
            environment=env.name,
        )


def confirm(
    env: Environment, given: str | None, question: str, *, number: int | None = None, of: str = "users"
) -> None:
    """Asks for the environment's name, typed by hand, and for a number (of users, say) too where one is given; off a
    terminal only --confirm NAME will do.

    Raises RefusedError. Whether to ask at all is the caller's case.
    """
    check_confirmable(env, given)
    if given is not None:
        return
    click.echo(question, err=True)
    _typed(env, "the environment's name", env.name)
    if number is not None:
        _typed(env, f"the number of {of}", str(number))


def _typed(env: Environment, what: str, wanted: str) -> None:
    click.echo(f"Type {what} to go on: ", nl=False, err=True)
    if sys.stdin.readline().strip() != wanted:
        raise RefusedError("not confirmed; nothing was changed", environment=env.name)


def run(main: Callable[..., Any], context: Context) -> int:
    """Runs the command line; gives the documented exit code, everything written and flushed."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the terminal was closed
        signal.signal(ending, _terminated)
    code: int = ExitCode.OK
    try:
        given = main(prog_name=PROGRAM, standalone_mode=False, obj=context)
        code = given if isinstance(given, int) else code  # click returns what Exit was raised with
    except Exception as error:
        code = _code_of(error, context)
    except KeyboardInterrupt:
        code = _code_of(click.Abort(), context)
    except SystemExit:  # click's own answer to a closed pipe (`| head`), which is no error here
        _silence()
    if "gaiaops.tunnels" in sys.modules:
        from gaiaops import tunnels

        tunnels.close()
    if "gaiaops.registry.commands" in sys.modules:
        from gaiaops.registry import commands

        commands.stop()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # it was closed: `>&-`
                stream.flush()
    except OSError:
        _silence()
    return code


def _code_of(error: Exception, context: Context) -> int:
    """Shows an error and gives its exit code."""
    code: int = ExitCode.OK
    if isinstance(error, click.exceptions.Exit):  # --help, --version, completion
        code = error.exit_code
    elif isinstance(error, click.ClickException):
        _show_usage(error)
        code = ExitCode.USAGE
    elif isinstance(error, click.Abort):
        code = _code_of(InterruptedRunError("interrupted; what ran on a server was cancelled"), context)
    elif isinstance(error, GaiaopsError):
        if context.debug:
            notice(context.traceback(error))
        show_error(error, color=context.colored(sys.stderr), context=context)
        code = error.code
    elif isinstance(error, BrokenPipeError):  # `| head`
        _silence()
    else:
        code = _bug(error, context)
    return code


def _show_usage(error: click.ClickException) -> None:
    notice(f"{PROGRAM}: error: {error.format_message()}")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        notice(f"hint: {error.ctx.command_path} --help")


def _silence() -> None:
    """Keeps the interpreter from complaining about the closed pipe when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _terminated(*_: object) -> NoReturn:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that statements are cancelled and half-written files removed."""
    raise KeyboardInterrupt


def _bug(error: Exception, context: Context) -> int:
    import time
    import traceback

    from gaiaops import __version__
    from gaiaops.registry.paths import state_home

    # Only frames and the error's type: its text and the variables may hold a secret.
    frames = "".join(traceback.format_tb(error.__traceback__))
    text = f"gaiaops {__version__}\nPython {sys.version}\n{frames}{type(error).__name__}\n"
    log = state_home() / "crashes" / time.strftime("%Y%m%d-%H%M%S.log", time.gmtime())
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.touch(mode=0o600)
        log.write_text(text, encoding="utf-8")
        where = f"the traceback is in {log}"
    except OSError:
        where = "the traceback could not be written; --debug shows it"
    if context.debug:
        notice(context.traceback(error))
    notice(f"{PROGRAM}: error: a bug in gaiaops: {type(error).__name__}\nhint: {where}")
    return ExitCode.BUG


def output_path(text: str | None) -> Path | None:
    """`-o FILE`; `-` is standard output."""
    return None if text in (None, "-") else Path(text or "")
