"""What a long command shows on standard error, and how Ctrl-C ends it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gaiaops.trail import Record

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EVERY_S = 10  # off a terminal
_REDRAW_S = 0.2


class Stop:
    """Whether it is time to end. The first signal lets the current batch finish, the second one unwinds."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes Ctrl-C, SIGTERM and SIGHUP while the block runs."""
        before = {number: signal.signal(number, self._heard) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        click.echo("\nending after the current batch; once more rolls it back", err=True)


class Progress:
    """`what` done of how many (0: not known), rows, rate and what remains: one line redrawn on a terminal, one in ten
    seconds off it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._drawn = False

    def __call__(self, done: int, total: int, rows: int | None = None) -> None:
        now = time.monotonic()
        if now - self._last < (_REDRAW_S if self._terminal else _EVERY_S):
            return
        self._last = now
        line = self._line(done, total, rows, now - self._began)
        click.echo(f"\r\x1b[K{line}" if self._terminal else line, nl=not self._terminal, err=True)
        self._drawn = self._terminal

    def into(self, record: Record) -> Callable[[int, int, int], None]:
        """As a call of it, and the rows go into the trail's record: what was done before an error is known."""

        def hear(done: int, total: int, rows: int) -> None:
            record.rows = rows
            self(done, total, rows)

        return hear

    def clear(self) -> None:
        """Takes the line away, so that something else can be written."""
        if self._drawn:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._drawn = False

    def _line(self, done: int, total: int, rows: int | None, seconds: float) -> str:
        rate = done / seconds if seconds else 0
        left = f", {_clock((total - done) / rate)} left" if rate and total >= done else ""
        head = f"{done:,} of {total:,}" if total else f"{done:,}"
        counted = "" if rows is None else f", {rows:,} rows"
        return f"{head} {self._what}{counted}, {rate:,.0f}/s{left}"


def _clock(seconds: float) -> str:
    """
    >>> _clock(75), _clock(5)
    ('1:15', '0:05')
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
