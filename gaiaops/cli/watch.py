"""`--watch SECONDS`: a report drawn again and again."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from gaiaops.errors import ExitCode

# DEC private modes: 1049 is the alternate screen, 25 the cursor. K and J clear to the end of the line, of the screen.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _END_LINE, _END_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

SECONDS = click.FloatRange(min=0.2, max=86_400)


def watched(every_s: float, frame: Callable[[], str]) -> None:
    """Shows frames until Ctrl-C, then ends with 130. On a terminal each takes the place of the last one, and the last
    one stays; elsewhere they follow each other, so that `--watch 10 --json | jq` works."""
    last = ""
    try:
        if not sys.stdout.isatty():
            while True:
                click.echo(frame())
                sys.stdout.flush()
                time.sleep(every_s)
        last = frame()  # before the screen is changed, so that a warning or an error stays to be read
        with _screen():
            while True:
                click.echo(_fitted(last), nl=False)
                time.sleep(every_s)
                last = frame()
    except KeyboardInterrupt:
        if last:
            click.echo(last)
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None


@contextmanager
def _screen() -> Iterator[None]:
    click.echo(_ENTER, nl=False)
    try:
        yield
    finally:
        click.echo(_LEAVE, nl=False)


def _fitted(text: str) -> str:
    """A frame for the whole screen; what does not fit is said."""
    height = shutil.get_terminal_size().lines
    lines = text.splitlines()
    if len(lines) >= height:
        left = len(lines) - (height - 2)
        lines = [*lines[: height - 2], f"… {left} lines more: a taller terminal shows them"]
    return _HOME + "".join(f"{line}{_END_LINE}\n" for line in lines) + _END_SCREEN
