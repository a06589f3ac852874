"""Runs the command line in a fork of this process: a process of its own, with its own variables, folder, streams and
signals, that does not have to start an interpreter and import everything again (0.3 s of CPU time for each)."""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

from gaiaops.cli.base import Context
from gaiaops.cli.base import run as run_main
from gaiaops.cli.main import cli

# What an interpreter reads when it starts.
AT_START = ("PYTHON", "LC_", "LANG")


def forked(
    arguments: Sequence[str], stdin: bytes, timeout: float, folder: Path, variables: Mapping[str, str]
) -> tuple[int, bytes, bytes]:
    """(exit code, standard output, standard error). Raises subprocess.TimeoutExpired after `timeout` seconds."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        child = os.fork()
        if child == 0:
            _become(arguments, folder, variables, (given, out, err))
        code = _wait(child, timeout, arguments)
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def _become(
    arguments: Sequence[str], folder: Path, variables: Mapping[str, str], streams: Sequence[IO[bytes]]
) -> NoReturn:
    code = 99
    try:
        gc.freeze()  # what the tests hold is not walked again and again
        for number, stream in enumerate(streams):
            os.dup2(stream.fileno(), number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv = ["gaiaops", *arguments]
        code = run_main(functools.partial(cli.main, args=list(arguments)), Context())
    finally:
        os._exit(code)


def _wait(child: int, timeout: float, arguments: Sequence[str]) -> int:
    end, pause = time.monotonic() + timeout, 0.002
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise subprocess.TimeoutExpired(list(arguments), timeout)
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)
