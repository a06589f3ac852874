"""Runs the command line in a fork of this process: a process of its own, with its own variables, folder, streams and
signals, that does not have to start an interpreter and import everything again (0.3 s of CPU time for each)."""

from __future__ import annotations

import functools
import gc
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from gaiaops.cli.base import Context
from gaiaops.cli.base import run as run_main
from gaiaops.cli.main import cli

# What an interpreter reads when it starts.
AT_START = ("PYTHON", "LC_", "LANG")


class Forked:
    """A command line that runs in a fork. Streams are pipes, but for what is given on standard input."""

    def __init__(self, arguments: Sequence[str], stdin: bytes, folder: Path, variables: Mapping[str, str]) -> None:
        self.arguments = list(arguments)
        with tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            (self._out, out_end), (self._err, err_end) = os.pipe(), os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                _become(arguments, folder, variables, (given.fileno(), out_end, err_end))
        os.close(out_end)
        os.close(err_end)

    def ended(self, timeout: float) -> tuple[int, bytes, bytes]:
        """(exit code, standard output, standard error). Raises subprocess.TimeoutExpired after so many seconds."""
        try:
            said = _heard((self._out, self._err), time.monotonic() + timeout)
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(self.arguments, timeout) from None
        finally:
            _, status = os.waitpid(self.pid, 0)
            os.close(self._out)
            os.close(self._err)
        return os.waitstatus_to_exitcode(status), said[0], said[1]


def forked(
    arguments: Sequence[str], stdin: bytes, timeout: float, folder: Path, variables: Mapping[str, str]
) -> tuple[int, bytes, bytes]:
    """As `Forked`, waited for."""
    return Forked(arguments, stdin, folder, variables).ended(timeout)


def as_new() -> None:
    """Forgets what a run keeps until its process ends: for a test process that has several of them."""
    from gaiaops.registry import commands

    commands._results.clear()
    tunnels = sys.modules.get("gaiaops.tunnels.run")
    if tunnels is not None:
        tunnels.tunnels = tunnels.Tunnels()  # type: ignore[attr-defined]


def in_process(words: Sequence[str]) -> int:
    """Runs a command line in this very process, and gives its exit code."""
    heard = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    as_new()
    code = run_main(functools.partial(cli.main, args=list(words)), Context())
    for number, handler in heard.items():
        signal.signal(number, handler)
    return int(code)


def _become(arguments: Sequence[str], folder: Path, variables: Mapping[str, str], streams: Sequence[int]) -> NoReturn:
    code = 99
    try:
        gc.freeze()  # what the tests hold is not walked again and again
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, 1 << 16)  # a connection of the tests' own is closed when they close it, not when we end
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv = ["gaiaops", *arguments]
        as_new()
        code = run_main(functools.partial(cli.main, args=list(arguments)), Context())
    finally:
        os._exit(code)


def _heard(pipes: Sequence[int], end: float) -> list[bytes]:
    """Everything that comes through the pipes. Raises TimeoutError at the moment `end`."""
    heard: dict[int, list[bytes]] = {pipe: [] for pipe in pipes}
    with selectors.DefaultSelector() as waiting:
        for pipe in pipes:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                heard[key.fd].append(data)
                if not data:
                    waiting.unregister(key.fd)
    return [b"".join(heard[pipe]) for pipe in pipes]
