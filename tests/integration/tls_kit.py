"""A real PostgreSQL with TLS, from the Debian package (the wheel's is built without), and certificates by openssl."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from gaiaops.sandbox.postgres_server import owner
from tests.conftest import private_folder
from tests.integration.redis_kit import free_port

PASSWORD = "p/w@:%1"
_HBA = """\
local    all all     trust
hostssl  all carol   all cert
hostssl  all mallory all cert
hostssl  all certpw  all scram-sha-256 clientcert=verify-ca
hostssl  all onlytls all scram-sha-256
hostssl  all oldway  all md5
hostnossl all plain  all scram-sha-256
host     all postgres all scram-sha-256
"""


def binaries() -> Path:
    """A PostgreSQL that was built with OpenSSL."""
    named = os.environ.get("GAIAOPS_TEST_POSTGRES_BIN")
    found = [Path(named)] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found and (found[-1] / "postgres").exists(), "apt install postgresql-15 (.ci/run does)"
    return found[-1]


class Authority:
    """A certificate authority in a folder; every certificate is NAME.pem with NAME.key."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.name = name
        self.self_signed(name)

    @property
    def root(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def self_signed(self, name: str, *, subject: str = "") -> tuple[Path, Path]:
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extra = ["-addext", f"subjectAltName=DNS:{subject}"] if subject else []
        _openssl("req", "-x509", *_KEY, "-keyout", key, "-out", chain, "-subj", f"/CN={subject or name}", "-days", 2,
                 *extra)  # fmt: skip
        return chain, key

    def sign(self, name: str, subject: str, days: int = 2) -> tuple[Path, Path]:
        """`days` may be negative: a certificate of the past."""
        chain, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{subject}", encoding="utf-8")
        _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={subject}")
        _openssl("x509", "-req", "-in", request, "-CA", self.root, "-CAkey", self.root.with_suffix(".key"), "-out",
                 chain, "-CAcreateserial", "-extfile", extensions, "-days", days)  # fmt: skip
        key.chmod(0o600)
        return chain, key


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def encrypted(key: Path, password: str) -> Path:
    """The same key under a password."""
    target = key.with_suffix(".encrypted.key")
    _openssl("ec", "-in", key, "-aes256", "-passout", f"pass:{password}", "-out", target)
    target.chmod(0o600)
    return target


@dataclass
class TlsServer:
    """A running PostgreSQL whose certificate is for `localhost`."""

    folder: Path
    data: Path
    port: int
    authority: Authority

    def admin(self, *statements: str) -> None:
        with psycopg.connect(host=str(self.data), port=self.port, user="postgres", autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @contextmanager
    def presenting(self, chain: Path, key: Path) -> Iterator[None]:
        """With another certificate."""
        self._present(chain, key)
        try:
            yield
        finally:
            self._present(self.folder / "good.pem", self.folder / "good.key")

    def _present(self, chain: Path, key: Path) -> None:
        for file in (chain, key):
            _give(file, self.data / file.name)
        self.admin(
            f"ALTER SYSTEM SET ssl_cert_file = '{self.data / chain.name}'",
            f"ALTER SYSTEM SET ssl_key_file = '{self.data / key.name}'",
            "SELECT pg_reload_conf()",
        )
        wanted, end = ssl.PEM_cert_to_DER_cert(chain.read_text()), time.monotonic() + 10
        while self._presented() != wanted:
            assert time.monotonic() < end, "the server did not reload"
            time.sleep(0.01)

    def _presented(self) -> bytes:
        context = ssl._create_unverified_context()  # noqa: S323 - to see what it shows
        with socket.create_connection(("127.0.0.1", self.port), 5) as plain:
            plain.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
            assert plain.recv(1) == b"S"
            with context.wrap_socket(plain) as secure:
                return secure.getpeercert(binary_form=True) or b""


def _give(file: Path, target: Path) -> None:
    """A copy that belongs to the server's user."""
    shutil.copy(file, target)
    target.chmod(0o600)
    who = owner()
    if who:
        os.chown(target, who["user"], who["group"])


def _run(program: str, *arguments: object, **more: Any) -> None:
    done = subprocess.run(
        [str(binaries() / program), *map(str, arguments)],
        check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=more.pop("stderr", subprocess.PIPE),
        cwd="/", env={**os.environ, "LC_ALL": "C"}, **more, **owner(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@contextmanager
def tls_server() -> Iterator[TlsServer]:
    """The server, with the roles of the lines above; it is gone at the end."""
    with private_folder() as folder:
        authority = Authority(folder)
        authority.sign("good", "localhost")
        data = folder / "data"
        data.mkdir(mode=0o700)
        who = owner()
        if who:
            os.chown(data, who["user"], who["group"])
        _run("initdb", "-D", data, "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
             "-A", "trust")  # fmt: skip
        for file in ("good.pem", "good.key", "ca.pem"):
            _give(folder / file, data / file)
        (data / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
        found = TlsServer(folder, data, free_port(), authority)
        with (data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(
                f"port = {found.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{data}'\n"
                "fsync = off\n"
                f"ssl = on\nssl_cert_file = '{data}/good.pem'\nssl_key_file = '{data}/good.key'\n"
                f"ssl_ca_file = '{data}/ca.pem'\nmax_connections = 30\nshared_buffers = 8MB\n"
            )
        try:
            _run("pg_ctl", "-D", data, "-w", "-s", "-l", data / "log", "start", stderr=subprocess.DEVNULL)
            found.admin(
                f"ALTER ROLE postgres PASSWORD '{PASSWORD}'",
                *(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'" for name in
                  ("carol", "mallory", "certpw", "onlytls", "plain")),
                "SET password_encryption = md5", f"CREATE ROLE oldway LOGIN PASSWORD '{PASSWORD}'",
            )  # fmt: skip
            yield found
        finally:
            _run("pg_ctl", "-D", data, "-m", "immediate", "-s", "stop")
