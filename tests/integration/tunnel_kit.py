"""Programs that stand for fly, docker and cloud-sql-proxy: they forward TCP, and go wrong in the ways that those do.

Each start appends a line to $TUNNEL_LOG; $TUNNEL_MODE says what goes wrong, $TUNNEL_TO where an app or instance leads.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.waiting import soon

_PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys, threading, time

mode, arguments = os.environ.get("TUNNEL_MODE", ""), sys.argv[1:]
name = os.path.basename(sys.argv[0])
with open(os.environ["TUNNEL_LOG"], "a+") as log:
    log.seek(0)
    earlier = len(log.readlines())
    log.write(json.dumps({{"name": name, "pid": os.getpid(), "arguments": arguments}}) + "\\n")


def say(text):
    sys.stderr.write(text + "\\n")
    sys.stderr.flush()


def die(text):
    say(text)
    sys.exit(1)


to = json.loads(os.environ["TUNNEL_TO"])
if name == "docker":
    if mode == "dies":
        die("Error response from daemon: No such container: " + arguments[-2])
    if mode == "hangs":
        time.sleep(600)
    found = to[arguments[-2]]
    print("" if mode == "unpublished" else f"0.0.0.0:{{found}}\\n[::]:{{found}}")
    sys.exit(0)
if name == "cloud-sql-proxy":
    port, far = int(arguments[arguments.index("--port") + 1]), to[arguments[-1]]
elif name in ("fly", "flyctl"):
    port, far = int(arguments[1].split(":")[0]), to[arguments[arguments.index("-a") + 1]]
else:
    port, far = int(arguments[0]), to[arguments[1]]

if mode == "dies":
    die("\\x1b[31mError:\\x1b[0m no access token available. Please login with 'flyctl auth login'\\x07")
if mode == "asks":
    sys.stderr.write("Email: ")
    die("Error: cannot read the answer: EOF" if not sys.stdin.read() else "Error: it was answered")
if mode == "slow":
    time.sleep(0.5)
if mode == "taken" and earlier < 2:
    die(f"Error: listen tcp 127.0.0.1:{{port}}: bind: address already in use")
if mode == "loud":
    sys.stderr.write(("x" * 99 + "\\n") * 10_000)
if mode == "stolen" and earlier == 0:
    if os.fork():
        time.sleep(600)
    os.setsid()  # somebody else's program from now on
if mode in ("children", "stubborn"):
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not os.fork():
        say(f"child {{os.getpid()}}")
        with open(os.environ["TUNNEL_LOG"], "a") as log:
            log.write(json.dumps({{"name": "child", "pid": os.getpid(), "arguments": []}}) + "\\n")
        time.sleep(600)


def carry(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(near, number):
    if mode == "mute" or (mode == "early" and number == 1):
        time.sleep(600)  # accepted, and nothing comes
    if mode == "http":
        near.recv(1)
        near.sendall(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n")
    if mode == "early" and number == 0:
        near.close()  # accepted, and the far end is not there
        return
    try:
        there = socket.create_connection(("127.0.0.1", far))
    except OSError:
        near.close()
        return
    for pair in ((near, there), (there, near)):
        threading.Thread(target=carry, args=pair, daemon=True).start()


say("listening")
listening = socket.create_server(("127.0.0.1", port))
number = 0
while True:
    near, _ = listening.accept()
    threading.Thread(target=serve, args=(near, number), daemon=True).start()
    number += 1
"""
NAMES = ("fly", "docker", "cloud-sql-proxy", "my-tunnel")


class Programs:
    """A folder of programs to put on PATH, and what was started of them."""

    def __init__(self, folder: Path, names: tuple[str, ...] = NAMES) -> None:
        self.folder = folder / "programs"
        self.folder.mkdir()
        self.log = folder / "started.jsonl"
        for name in names:
            program = self.folder / name
            program.write_text(_PROGRAM.format(python=sys.executable), encoding="utf-8")
            program.chmod(0o755)

    def variables(self, to: dict[str, int], mode: str = "", path: str | None = None) -> dict[str, str]:
        """What a command needs in its environment to find them."""
        return {
            "PATH": f"{self.folder}:{os.environ['PATH'] if path is None else path}",
            "TUNNEL_LOG": str(self.log),
            "TUNNEL_TO": json.dumps(to),
            "TUNNEL_MODE": mode,
        }

    def started(self) -> list[dict[str, Any]]:
        """Every start, with what those programs started themselves."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]

    def running(self) -> list[int]:
        return [one["pid"] for one in self.started() if is_running(one["pid"])]

    def gone(self) -> bool:
        """Whether all have ended, within a few seconds."""
        return soon(lambda: not self.running(), 8)

    def kill(self) -> None:
        for pid in self.running():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only what is left for its parent to collect."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tree(pid: int) -> list[psutil.Process]:
    """A process's children and theirs."""
    return psutil.Process(pid).children(recursive=True)
