"""The error tree and the exit codes; nothing else in gaiaops knows exit codes.

Every error carries one line that says what, where and why, and a hint with the next step.
`cli/base.py` is the only place that turns one into output and an exit status.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum

_OF_AN_ENVIRONMENT = re.compile(r"\bgaiaops((?: [a-z][a-z-]*)+) ENV\b")


class ExitCode(IntEnum):
    """The documented exit codes of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONNECT = 3
    TIMEOUT = 4
    REFUSED = 5
    PARTIAL = 6
    FINDINGS = 7
    BUG = 70
    INTERRUPTED = 130


class GaiaopsError(Exception):
    """An error for people.

    `message` is one line, `detail` what may be shown under it (the line of SQL with a caret), `hint` the next
    step, `environment` where it happened, `sqlstate` what the server called it. A hint's commands say ENV where the
    environment's name belongs, for not everybody who raises an error knows it: `next_step` fills it in.
    """

    code = ExitCode.FAILED
    sqlstate = ""

    def __init__(self, message: str, *, detail: str = "", hint: str = "", environment: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint
        self.environment = environment

    def __str__(self) -> str:
        return f"[{self.environment}] {self.message}" if self.environment else self.message

    def next_step(self, program: str = "gaiaops") -> str:
        """The hint, as it can be copied: with the name of the environment, and with how gaiaops was called.

        >>> GaiaopsError("no", hint="gaiaops envs ENV shows it", environment="dev").next_step("gaiaops --sandbox")
        'gaiaops --sandbox envs dev shows it'
        """
        if not self.environment:
            return self.hint
        # `envs` lists the auth project with the environments.
        name = "" if self.environment == "supabase" else f" {self.environment}"
        return _OF_AN_ENVIRONMENT.sub(lambda found: f"{program}{found[1]}{name}", self.hint)


class StatementError(GaiaopsError):
    """The statement or the operation failed on the server, or its result could not be written."""


class LostServerError(StatementError):
    """The connection broke in the middle of something: whether it was done is not known."""


class UsageError(GaiaopsError):
    """The command, the registry or a secret is wrong; nothing was contacted."""

    code = ExitCode.USAGE


class ConnectError(GaiaopsError):
    """A server could not be reached, or did not let us in."""

    code = ExitCode.CONNECT


class DeadlineError(GaiaopsError):
    """A deadline passed: connect, statement or lock timeout."""

    code = ExitCode.TIMEOUT


class NoAnswerError(DeadlineError):
    """The server said nothing at all: what it is doing is not known, and the connection cannot be used again."""


class RefusedError(GaiaopsError):
    """Refused for safety; nothing was changed."""

    code = ExitCode.REFUSED


class PartialError(GaiaopsError):
    """Some environments failed; the others have been reported."""

    code = ExitCode.PARTIAL


class FindingsError(GaiaopsError):
    """Something was found, as bad as `--fail-on` says or worse."""

    code = ExitCode.FINDINGS


class InterruptedRunError(GaiaopsError):
    """The user pressed Ctrl-C; the statement was cancelled on the server."""

    code = ExitCode.INTERRUPTED


@contextmanager
def located(environment: str) -> Iterator[None]:
    """Puts the environment's name on errors that pass through without one."""
    try:
        yield
    except GaiaopsError as error:
        error.environment = error.environment or environment
        raise


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question for somebody who misspelt one of the known names; "" where none is near.

    >>> did_you_mean("colum", ["column", "index"]), did_you_mean("x", ["column"])
    ('did you mean "column"?', '')
    """
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    return f'did you mean "{near[0]}"?' if near else ""
