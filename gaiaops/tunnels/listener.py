"""Whose is a listening port? Another program may have taken it between our choice and our child's start, and it may
well be a tunnel to another database.

Linux alone says so (proc(5): /proc/net/tcp, /proc/PID/fd). Elsewhere nothing is known; there a child that finds its
port taken ends by itself, and another port is tried.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def is_strangers(port: int, session: int) -> bool:
    """Whether the port is certainly listened on by none of the session's processes."""
    inodes = set(_listening(port))
    if not inodes:
        return False  # not visible: another operating system, another network namespace
    return not any(_holds(process, inodes) for process in _of_session(session))


def _listening(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on a port, on whatever address."""
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _of_session(session: int) -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            stat = (process / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended
        # The name may hold spaces and brackets; after it come state, parent, group, session.
        if int(stat.rpartition(")")[2].split()[3]) == session:
            yield process


def _holds(process: Path, inodes: set[str]) -> bool:
    """Whether the process has one of the sockets; True where that may not be seen."""
    try:
        for descriptor in (process / "fd").iterdir():
            try:
                name = str(descriptor.readlink())
            except FileNotFoundError:
                continue
            if name.startswith("socket:[") and name[8:-1] in inodes:
                return True
    except PermissionError:
        return True
    except OSError:
        return False
    return False
