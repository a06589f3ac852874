"""Values that a program prints: `{ command = ["op", "read", "op://ops/dev"] }`. Run once, bounded, and heard by nobody
else: what it says on standard error may be the secret too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

_SECONDS = 30  # somebody may have to unlock a vault

_lock = threading.Lock()
_locks: dict[tuple[str, ...], threading.Lock] = {}
_results: dict[tuple[str, ...], tuple[str, str]] = {}
_running: dict[int, tuple[subprocess.Popen[bytes], bool]] = {}


def output(argv: tuple[str, ...]) -> tuple[str, str]:
    """(what it printed, "") or ("", why there is none).

    Once a run, also where it failed: whoever is asked to unlock something is asked once.
    """
    with _lock:
        own = _locks.setdefault(argv, threading.Lock())
    with own:
        if argv not in _results:
            _results[argv] = _run(argv)
        return _results[argv]


def known(argv: tuple[str, ...]) -> str:
    """What it has printed already; "" where it was not run."""
    return _results.get(argv, ("", ""))[0]


def stop() -> None:
    """Ends what still runs, for threads that nobody waits for any more."""
    for child, alone in list(_running.values()):
        _end(child, alone=alone)


def _run(argv: tuple[str, ...]) -> tuple[str, str]:
    # On a terminal it stays in our process group, or it could not ask for a passphrase there (SIGTTIN).
    alone = not sys.stdin or not sys.stdin.isatty()
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0 if alone else None,
        )
    except (OSError, ValueError) as error:
        return "", (getattr(error, "strerror", None) or "it cannot be run").lower()
    with child:
        _running[child.pid] = child, alone
        try:
            printed, _ = child.communicate(timeout=_SECONDS)
        except BaseException as error:
            _end(child, alone=alone)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise  # Ctrl-C
            return "", f"no answer within {_SECONDS}s"
        finally:
            del _running[child.pid]
    return _judged(printed, child.returncode)


def _end(child: subprocess.Popen[bytes], *, alone: bool) -> None:
    """Kills it, with its children where that is possible; they would keep the pipe open."""
    with suppress(ProcessLookupError):
        if alone:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    if child.stdout is not None:
        child.stdout.close()


def _judged(printed: bytes, status: int) -> tuple[str, str]:
    if status:
        return "", f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    try:
        text = printed.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        return "", "what it printed is not a text in UTF-8"
    return text, "" if text.strip() else "it printed nothing"
