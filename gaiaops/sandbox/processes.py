"""Children that outlive the command: started, recognised, stopped. A pid alone proves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gaiaops.sandbox.layout import Layout, Process

if TYPE_CHECKING:
    import psutil

MARK_VARIABLE = "GAIAOPS_SANDBOX_HOME"  # in every child's environment, so that a stray one can be found
_STOP_SECONDS = 20.0
_REAP_SECONDS = 3.0


def mark_of(pid: int) -> str | None:
    """What tells this process from a later one with its pid: boot and start time. None where it is gone."""
    if sys.platform == "linux":
        try:
            # Field 22 of proc_pid_stat(5); the name in field 2 may hold blanks and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        return None if fields[0] == "Z" else f"{boot}/{fields[19]}"
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def alive(process: Process | None) -> bool:
    """Whether it is still this very process."""
    return process is not None and mark_of(process.pid) == process.mark


def recorded(pid: int) -> Process:
    return Process(pid, mark_of(pid) or "")


def spawn(
    argv: Sequence[str], layout: Layout, log: str, *, stdin: bytes = b"", variables: Mapping[str, str] | None = None
) -> Process:
    """Starts a child in a session of its own, its output in a log file, its secrets by stdin or environment."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / f"{log}.log").open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **(variables or {}), MARK_VARIABLE: str(layout.home)},
        )
    assert child.stdin is not None  # noqa: S101 - PIPE gives one
    with suppress(BrokenPipeError):
        child.stdin.write(stdin)
        child.stdin.close()
    return recorded(child.pid)


def ask(processes: Sequence[Process], how: signal.Signals = signal.SIGTERM) -> None:
    """Tells processes to end, and does not wait."""
    for process in processes:
        _signal(process, how)


def stop(processes: Sequence[Process], how: signal.Signals = signal.SIGTERM) -> None:
    """Ends processes: asks, waits, then kills. Returns when none is left."""
    ask(processes, how)
    deadline = time.monotonic() + _STOP_SECONDS
    while left := [process for process in processes if alive(process)]:
        _reap(left)
        if time.monotonic() > deadline:
            for process in left:
                _signal(process, signal.SIGKILL)
        time.sleep(0.01)
    # Dead, but in the process table until init has taken note: `down` leaves no process to be seen.
    deadline = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < deadline and any(_listed(process.pid) for process in processes):
        _reap(processes)
        time.sleep(0.01)


def _listed(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's by now
        return False
    return True


def _signal(process: Process, how: signal.Signals) -> None:
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, how)


def _reap(processes: Sequence[Process]) -> None:
    """Our own dead children stay zombies until they are waited for."""
    for process in processes:
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


def strays(layout: Layout) -> list[Process]:
    """Every process that was started for this sandbox, whatever the state says (a crash in mid-start)."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and _is_ours(process, layout):
                found.append(recorded(process.pid))
    return found


def _is_ours(process: psutil.Process, layout: Layout) -> bool:
    if process.environ().get(MARK_VARIABLE) == str(layout.home):
        return True
    # redis-server writes its title over its environment; its working folder is the sandbox's own.
    return process.name() == "redis-server" and process.cwd() == str(layout.redis.resolve())
