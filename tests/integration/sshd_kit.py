"""A real sshd on loopback: its own host key, the test's own user key, nothing of the developer's."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gaiaops.tunnels.listener import free_port
from tests.waiting import soon


class Sshd:
    """A running server; `client` is an ssh_config with the hosts `target` and `jump`, both of which are this server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.client = folder / "client_config"
        self.log = folder / "sshd.log"

    def accepted(self) -> int:
        """How many logins there were."""
        return self.log.read_text(encoding="utf-8").count("Accepted publickey")

    def configure(self, *, key: str = "user_key", hosts: str = "known_hosts") -> str:
        """Writes the client's configuration; gives its path."""
        self.client.write_text(
            f"Host target jump\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder / key}\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
            f"  UserKnownHostsFile {self.folder / hosts}\n  GlobalKnownHostsFile /dev/null\n",
            encoding="utf-8",
        )
        return str(self.client)


@contextmanager
def sshd_process(folder: Path) -> Iterator[Sshd]:
    """Starts one; fails where the machine has none."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/local/sbin")
    assert program, "these tests need a real sshd: apt install openssh-server"
    for key in ("host_key", "user_key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks its unprivileged half in
    server = Sshd(folder, free_port())
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    host_key = (folder / "host_key.pub").read_text(encoding="utf-8")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {host_key}", encoding="utf-8")
    (folder / "sshd_config").write_text(
        f"Port {server.port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host_key'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n",
        encoding="utf-8",
    )
    command = [program, "-D", "-f", str(folder / "sshd_config"), "-E", str(server.log)]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        assert soon(lambda: _greets(server.port) or child.poll() is not None)
        assert child.poll() is None, server.log.read_text(encoding="utf-8")
        server.configure()
        yield server
    finally:
        child.terminate()
        child.wait()


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
