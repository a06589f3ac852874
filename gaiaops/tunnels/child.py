"""A program that must not outlive us: a session of its own, nothing to read, its last words kept.

Two small shells make it safe at every moment. The guard holds the reading end of a pipe whose writing end only we have:
when we end, be it by SIGKILL, it reads the end of the file and kills the program's whole process group. (The kernel's
own means, PR_SET_PDEATHSIG, is Linux's alone and fires when the *thread* that started the child ends.) The program
starts only after the guard knows its group; a session of its own keeps the terminal's Ctrl-C from it, for the cancel
request of a running statement goes through the tunnel too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

_GUARD = """
read -r group || exit 0
while read -r more; do :; done
kill -s TERM -- "-$group" && sleep 1
kill -s KILL -- "-$group"
"""
_STARTER = 'read -r go || exit 0; exec "$@" </dev/null'
_KEPT = 16_384  # bytes of what it says
_LINES = 20
_PATIENCE_S = 1.0  # from asking it to end to killing it
_COLORS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Child:
    """A started program. `stop` ends it and all that it has started; so does our own end."""

    def __init__(self, argv: Sequence[str], variables: Mapping[str, str]) -> None:
        """Raises OSError where no process can be started."""
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            self._program = subprocess.Popen(
                ["/bin/sh", "-c", _STARTER, "sh", *argv],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                env=dict(variables),
            )  # fmt: skip
        except BaseException:
            self._end_guard()
            raise
        self._said = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._stopping = threading.Lock()
        self._stopped = False
        try:
            self._write(self._guard, f"{self._program.pid}\n")
            self._write(self._program, "go\n", last=True)
            self._listener.start()
        except BaseException:  # Ctrl-C between two lines
            self.stop()
            raise

    @property
    def session(self) -> int:
        """The program's session and process group."""
        return self._program.pid

    def ended(self, within: float = 0.0) -> bool:
        """Whether the program has ended, be it within so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._program.wait(within)
        return self._program.returncode is not None

    @property
    def status(self) -> int | None:
        """The exit status; negative for a signal, None while it runs."""
        return self._program.poll()

    def said(self, *, whole: bool = False) -> list[str]:
        """The last lines of what the program wrote, fit for a screen; `whole` waits for the last of an ended one."""
        if whole and self._listener.is_alive():
            self._listener.join(0.5)  # something it started may hold the pipe open
        text = self._said.decode("utf-8", "replace").replace("\r", "\n")
        text = _UNSAFE.sub(lambda m: f"\\x{ord(m[0]):02x}", _COLORS.sub("", text))
        return [line.rstrip().replace("\t", " ") for line in text.split("\n") if line.strip()][-_LINES:]

    def ask_to_end(self) -> None:
        """SIGTERM to the program and all that it has started; `stop` is still to be called."""
        if not self._stopped:
            self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ends the program and all that it has started, the guard last."""
        with self._stopping:
            if self._stopped:  # its number may be another's by now
                return
            self._stopped = True
            self._signal(signal.SIGTERM)
            self.ended(within=_PATIENCE_S)
            self._signal(signal.SIGKILL)  # whoever of the group is left
            self._end_guard()
            self._program.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._program.pid, number)

    def _end_guard(self) -> None:
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            with suppress(OSError):
                self._guard.stdin.close()

    def _listen(self) -> None:
        """Reads on for as long as it writes, so that it never waits for us; the last of it is kept."""
        if self._program.stdout is None:
            return
        with suppress(OSError, ValueError):
            while data := os.read(self._program.stdout.fileno(), 65_536):
                self._said = (self._said + data)[-_KEPT:]

    @staticmethod
    def _write(process: subprocess.Popen[bytes], text: str, *, last: bool = False) -> None:
        if process.stdin is None:
            return
        with suppress(OSError):  # it has ended: the caller will see that
            process.stdin.write(text.encode())
            process.stdin.flush()
        if last:
            with suppress(OSError):
                process.stdin.close()


def finished(child: Child, deadline: float) -> bool:
    """Waits for a program that is to end by itself; whether it did in time."""
    return child.ended(within=max(0.0, deadline - time.monotonic()))
