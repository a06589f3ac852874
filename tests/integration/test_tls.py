"""TLS to a real PostgreSQL: what works, what is said of each way it can fail, and who is warned."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlencode

import pytest

from gaiaops.postgres import tls
from tests.conftest import GAIAOPS, Command, Run, Sandbox, clean_variables
from tests.integration.redis_kit import Cache, answering, free_port, server, tls_in_front
from tests.integration.tls_kit import PASSWORD, Authority, TlsServer, encrypted, tls_server

KEY_PASSWORD = "key pass&word"
WHO = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
Options = dict[str, str]
Ask = Callable[..., Run]


@pytest.fixture(scope="module")
def here() -> Iterator[TlsServer]:
    """The server, and in its folder: certificates of users, of another CA, of the past."""
    with tls_server() as running:
        running.authority.sign("carol", "carol")
        encrypted(running.folder / "carol.key", KEY_PASSWORD)
        running.authority.sign("expired", "localhost", -1)
        other = Authority(running.folder, "other")
        other.sign("stranger", "carol")
        running.authority.self_signed("alone", subject="localhost")
        (running.folder / "open.key").write_bytes((running.folder / "carol.key").read_bytes())
        (running.folder / "open.key").chmod(0o644)
        (running.folder / "junk.pem").write_text("junk")
        yield running


def url(here: TlsServer, *, user: str = "postgres", host: str = "localhost", port: int = 0, **options: str) -> str:
    """A connection string; a value that is a file of the server's folder is written with its path."""
    files = {name: str(here.folder / value) if value.endswith((".pem", ".key")) else value
             for name, value in options.items()}  # fmt: skip
    login = f"{user}:{quote(PASSWORD, safe='')}"
    return f"postgresql://{login}@{host}:{port or here.port}/postgres?{urlencode(files)}"


@pytest.fixture
def ask(here: TlsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`gaiaops query` in this process on one environment with the given parts of a connection string."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    cli = Cache(tmp_path, capfd)

    def run(**parts: str) -> Run:
        cli.file.write_text(f'[environments.dev]\npostgres = "{url(here, **parts)}"\n', encoding="utf-8")
        return cli("dev", WHO, "--csv", command="query")

    return run


VERIFIED = {"sslmode": "verify-full", "sslrootcert": "ca.pem"}
CAROL = {"user": "carol", **VERIFIED, "sslcert": "carol.pem"}
WORKS: dict[str, Options] = {
    "verified": VERIFIED,
    "not verified": {},
    "the CA alone, at an address": {"sslmode": "verify-ca", "sslrootcert": "ca.pem", "host": "127.0.0.1"},
    "a client certificate": {**CAROL, "sslkey": "carol.key"},
    "an encrypted key": {**CAROL, "sslkey": "carol.encrypted.key", "sslpassword": KEY_PASSWORD},
    "channel binding": {**VERIFIED, "channel_binding": "require"},
}


@pytest.mark.parametrize("case", WORKS)
def test_what_a_connection_string_can_ask_for(case: str, ask: Ask) -> None:
    run = ask(**WORKS[case])
    assert (run.code, run.out, run.err) == (0, "ssl\nt\n", "")


FAILS: dict[str, tuple[Options, int, str, str]] = {
    "wrong host name": ({**VERIFIED, "host": "127.0.0.1"}, 3,
        'the server\'s certificate is for "localhost", not for "127.0.0.1"', "connect by the certificate's name"),
    "unknown CA": ({**VERIFIED, "sslrootcert": "other.pem"}, 3,
        "the server's certificate is from a CA that is not trusted", "name the server's own CA: sslrootcert=FILE"),
    "system's CAs": ({"sslrootcert": "system"}, 3,
        "the server's certificate is from a CA that is not trusted", "name the server's own CA: sslrootcert=FILE"),
    "no file of CAs": ({**VERIFIED, "sslrootcert": "nowhere.pem"}, 3,
        "TLS: there is no CA file /", "sslrootcert=system"),
    "no CA named": ({"sslmode": "verify-full"}, 3, "TLS: there is no CA file ", "sslrootcert=FILE"),
    "a file that holds no CA": ({**VERIFIED, "sslrootcert": "junk.pem"}, 3,
        "TLS: cannot read the CA file ", "a readable file of certificates in PEM"),
    "no client certificate": ({"user": "carol", **VERIFIED}, 3,
        "the server asks for a client certificate, and got none (", "sslcert and sslkey"),
    "no such client certificate": ({**CAROL, "sslcert": "gone.pem", "sslkey": "carol.key"}, 3,
        "asks for a client certificate, and got none: there is no /", "sslcert and sslkey"),
    "no client key": ({**CAROL, "sslkey": "gone.key"}, 3, "TLS: there is no client key /", "sslcert and sslkey"),
    "a client certificate of another CA": ({**CAROL, "sslcert": "stranger.pem", "sslkey": "stranger.key"}, 3,
        "the server refused the client certificate", "a CA that the server trusts"),
    "somebody else's client certificate": ({**CAROL, "user": "mallory", "sslkey": "carol.key"}, 3,
        'the client certificate is not for user "mallory"', "pg_ident.conf"),
    "a client key that others can read": ({**CAROL, "sslkey": "open.key"}, 3,
        "TLS: other users can read the client key /", "chmod 600 /"),
    "another certificate's key": ({**CAROL, "sslkey": "stranger.key"}, 3,
        "is not that of the client certificate", "sslkey"),
    "a key under another password": ({**CAROL, "sslkey": "carol.encrypted.key", "sslpassword": "wrong"}, 3,
        "cannot be opened with what the connection string has", "sslpassword"),
    "TLS that the server demands": ({"user": "onlytls", "sslmode": "disable"}, 3,
        "the server requires TLS", "write sslmode=verify-full"),
    "a user whom only a connection without TLS admits": ({"user": "plain", "sslmode": "require"}, 3,
        "the server admits no such user, database or address", "pg_hba.conf"),
    "channel binding without TLS": ({"channel_binding": "require", "sslmode": "disable"}, 3,
        "channel_binding=require needs TLS", "sslmode=verify-full"),
    "channel binding with an MD5 password": ({**VERIFIED, "user": "oldway", "channel_binding": "require"}, 3,
        "channel_binding=require, and the server offers none", "SCRAM password"),
    "direct TLS before 17": ({**VERIFIED, "sslnegotiation": "direct"}, 3,
        "broke off the TLS handshake, which began at once (sslnegotiation=direct)", "PostgreSQL 17 and later"),
    "direct TLS that may be none": ({"sslnegotiation": "direct", "sslmode": "prefer"}, 2,
        "sslnegotiation=direct does not go with sslmode=prefer", "verify-full"),
    "a wrong sslmode": ({"sslmode": "verify_full"}, 2, 'sslmode="verify_full" is no value of it', "connection string"),
    "an option that there is not": ({"sslmodus": "x"}, 2, 'libpq knows no option "sslmodus"', "take it out"),
}  # fmt: skip


def refused(run: Run, code: int, line: str, hint: str, port: int) -> None:
    """One line with what, where and why, the next step, nothing else and no password."""
    assert run.code == code, run.err
    assert run.out == ""
    error, rest = run.err.split("\n", 1)
    assert error.startswith("gaiaops: error: [dev] ") and line in error and error.endswith(f":{port})"), error
    assert rest.startswith("hint: ") and hint in rest and rest.count("\n") == 1, rest
    assert PASSWORD not in run.err and quote(PASSWORD, safe="") not in run.err


@pytest.mark.parametrize("case", FAILS)
def test_each_failure_has_its_message(case: str, here: TlsServer, ask: Ask) -> None:
    parts, code, line, hint = FAILS[case]
    refused(ask(**parts), code, line, hint, here.port)


def test_a_certificate_of_the_past_and_one_that_nobody_signed(here: TlsServer, ask: Ask) -> None:
    with here.presenting(here.folder / "expired.pem", here.folder / "expired.key"):
        refused(ask(**VERIFIED), 3, "the server's certificate has expired", "the server needs a new one", here.port)
        assert ask(sslmode="require").code == 0
    with here.presenting(here.folder / "alone.pem", here.folder / "alone.key"):
        refused(ask(**VERIFIED), 3, "certificate is self-signed, and not the one", "sslrootcert=FILE", here.port)
        assert ask(**{**VERIFIED, "sslrootcert": "alone.pem"}).code == 0
    assert ask(**VERIFIED).code == 0


def test_the_systems_roots(here: TlsServer, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg's wheel has an OpenSSL that looks for them where no system has them."""
    monkeypatch.setattr(tls, "_ROOTS", (str(here.authority.root),))
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: type("Paths", (), {"cafile": None}))
    assert ask(sslrootcert="system").code == 0
    refused(ask(sslrootcert="system", host="127.0.0.1"), 3, 'not for "127.0.0.1"', "name", here.port)
    refused(ask(sslrootcert="system", sslmode="require"), 2, "does not go with sslmode=require", "verify", here.port)
    monkeypatch.setattr(tls, "_ROOTS", ())
    monkeypatch.setenv("SSL_CERT_FILE", str(here.authority.root))
    assert ask(sslrootcert="system").code == 0


def test_tls_at_once_and_tls_that_ends_before_the_server(here: TlsServer, ask: Ask) -> None:
    chain, key = here.folder / "good.pem", here.folder / "good.key"
    with tls_in_front(here.port, chain, key, ["postgresql"]) as port:
        direct = {**VERIFIED, "user": "plain", "port": port, "sslnegotiation": "direct"}
        assert ask(**direct).code == 0
        refused(ask(**direct, channel_binding="require"), 3, "the server offers none", "no proxy may end TLS", port)
        refused(ask(**{**direct, "sslrootcert": "other.pem"}), 3, "a CA that is not trusted", "own CA", port)


@pytest.mark.parametrize("sslmode", ["disable", "prefer", "require"])
def test_a_port_that_is_no_postgresql(ask: Ask, sslmode: str) -> None:
    for text in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n"):
        for port in answering(text):
            refused(ask(port=port, sslmode=sslmode), 3, "what answers there is no PostgreSQL", "host and port", port)


def test_a_server_without_tls(here: TlsServer, ask: Ask) -> None:
    here.admin("ALTER SYSTEM SET ssl = off", "SELECT pg_reload_conf()")
    try:
        run = ask(user="onlytls", sslmode="require")
        while run.code == 0:  # until it has reloaded
            run = ask(user="onlytls", sslmode="require")
        refused(run, 3, "the server does not offer TLS, but sslmode asks for it", "sslmode=prefer", here.port)
        refused(ask(user="onlytls"), 3, "the server admits no such user", "pg_hba.conf", here.port)
    finally:
        here.admin("ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()")
        while ask(**VERIFIED).code:
            pass


def connect(folder: Path, file: Path, *arguments: str, stdin: str, **variables: str) -> Run:
    """`gaiaops connect` off a terminal: psql reads its standard input."""
    done = subprocess.run(
        [*GAIAOPS, "--registry", str(file), "connect", *arguments], input=stdin.encode(), capture_output=True,
        check=False, cwd=folder, env={**clean_variables(folder), **variables}, timeout=30,
    )  # fmt: skip
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_psql_gets_all_of_it(here: TlsServer, tmp_path: Path) -> None:
    """An encrypted client key, channel binding, verified; by environment and a file in memory, not by argument."""
    file = tmp_path / "environments.toml"
    parts = {**CAROL, "sslkey": "carol.encrypted.key", "sslpassword": KEY_PASSWORD}
    file.write_text(f'[environments.dev]\npostgres = "{url(here, **parts)}"\n', encoding="utf-8")
    again = "\\c postgres carol localhost\nSELECT session_user;\n"  # asks for the key's password once more
    run = connect(tmp_path, file, "dev", "--shell", "psql", stdin=f"{WHO};\n{again}")
    assert run.code == 0 and " t\n" in run.out and " carol\n" in run.out, run.err
    assert not [left for left in tmp_path.rglob("*") if left.is_file() and left != file]
    parts = {**VERIFIED, "sslrootcert": "system", "channel_binding": "require"}
    file.write_text(f'[environments.dev]\npostgres = "{url(here, **parts)}"\n', encoding="utf-8")
    trusted = {"SSL_CERT_FILE": str(here.authority.root)}
    run = connect(tmp_path, file, "dev", "--shell", "psql", stdin=f"{WHO};\n", **trusted)
    assert run.code == 0 and " t\n" in run.out, run.err


def test_a_shell_on_redis_goes_through_our_own_tls(tmp_path: Path) -> None:
    """redis-cli of the wheel has none, and no redis-cli checks the host name."""
    file, authority = tmp_path / "environments.toml", Authority(tmp_path)
    with (
        server(tmp_path, password="s3cret") as running,
        tls_in_front(running.port, *authority.sign("good", "localhost")) as port,
    ):
        running.client().set("big", "x" * 3_000_000)

        def register(host: str) -> None:
            redis = f"rediss://:s3cret@{host}:{port}/0?ssl_ca_certs={authority.root}"
            file.write_text(f'[environments.dev]\npostgres = "postgresql://h/d"\nredis = "{redis}"\n', encoding="utf-8")

        register("localhost")
        run = connect(tmp_path, file, "dev", "--redis", "--shell", "redis-cli", stdin="GET big\nPING\nDEL big\n")
        assert run.code == 0, run.err
        big, pong, refused = run.out.split()[:3]
        assert (big == "x" * 3_000_000, pong, refused) == (True, "PONG", "READONLY")
        register("127.0.0.1")
        run = connect(tmp_path, file, "dev", "--redis", "--shell", "redis-cli", stdin="PING\n")
        assert (run.code, run.out) == (3, "")
        assert "[dev] Redis: TLS failed: the certificate is for another host name" in run.err, run.err


class TestWarning:
    """0.0.0.0 leads to this machine, but is not loopback to who reads it."""

    FAR = "0.0.0.0"  # noqa: S104 - connected to, not bound

    @pytest.fixture
    def cli(self, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cache:
        monkeypatch.delenv("PGSSLMODE", raising=False)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        return Cache(tmp_path, capfd)

    def register(self, cli: Cache, postgres: str, *, redis: str = "", name: str = "production") -> None:
        cli.register({name: redis or None}, postgres=postgres)

    COMMANDS: ClassVar = {
        "query": ("query", "production", WHO),
        "view": ("view", "production"),
        "health": ("health", "production"),
        "activity": ("activity", "production"),
        "verify": ("schema", "verify", "production"),
        "cleanup": ("cleanup", "production", "--dry-run"),
        "envs --check": ("envs", "--check"),
        "all": ("query", "all", WHO),
    }

    @pytest.mark.first(5)
    @pytest.mark.parametrize("case", COMMANDS)
    def test_each_command_says_it_once(self, here: TlsServer, cli: Cache, case: str) -> None:
        self.register(cli, url(here, host=self.FAR))
        command, *arguments = self.COMMANDS[case]
        run = cli(*arguments, command=command)
        (line,) = (line for line in run.err.splitlines() if "verified" in line)
        assert line.startswith(
            f"gaiaops: warning: [production] PostgreSQL is not verified by TLS (0.0.0.0:{here.port}, sslmode=prefer): "
            "add sslmode=verify-full"
        )
        assert "verified" not in run.out

    def test_who_has_no_reason_to_warn(self, here: TlsServer, cli: Cache) -> None:
        near, hosts = url(here), f"{self.FAR}:{here.port},localhost:{here.port}"
        verified = {"sslmode": "verify-ca", "sslrootcert": "ca.pem"}
        several = url(here).replace(f"localhost:{here.port}", hosts)
        service = f"postgresql://localhost/postgres?service=far&host={self.FAR}"
        login = f"port={here.port}\nuser=postgres\npassword={PASSWORD}\n"
        tls_lines = f"sslmode=verify-ca\nsslrootcert={here.authority.root}\n"
        (cli.folder / "services").write_text(f"[far]\n{login}[sure]\nhost={self.FAR}\n{login}{tls_lines}")
        for place, name, warned in (
            (near, "production", False),
            (url(here, host="127.0.0.1", sslmode="disable"), "production", False),
            (url(here, host=self.FAR, **verified), "production", False),
            (url(here, host=self.FAR), "dev", False),
            (url(here, host=self.FAR, sslmode="require"), "production", True),
            (several, "production", True),
            (service.replace("localhost", ""), "production", True),
            ("postgresql:///postgres?service=sure", "production", False),
        ):
            self.register(cli, place, name=name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PGSERVICEFILE", str(cli.folder / "services"))
                run = cli(name, WHO, command="query")
            assert run.code == 0, (place, run.err)
            assert ("not verified" in run.err) is warned, (place, run.err)
        self.register(cli, url(here, host=self.FAR))
        assert cli(command="envs").err.count("warning") == 0

    def test_a_shell_says_it_too(self, here: TlsServer, cli: Cache) -> None:
        self.register(cli, url(here, host=self.FAR))
        for write in ((), ("--write", "--confirm", "production")):
            run = connect(cli.folder, cli.file, "production", "--shell", "psql", *write, stdin=f"{WHO};\n")
            assert run.code == 0 and run.err.count("not verified by TLS") == 1, run.err

    def test_redis(self, cli: Cache, tmp_path: Path) -> None:
        with server(tmp_path, "protected-mode no") as running:
            port = running.port
            self.register(cli, "postgresql://h/d", redis=f"redis://{self.FAR}:{port}/0")
            run = cli("production", command="cache")
            assert run.code == 0 and run.err.count("warning: ") == 1, run.err
            assert f"[production] Redis is not verified by TLS (0.0.0.0:{port}): write rediss://" in run.err
            with tls_in_front(port, *Authority(tmp_path).sign("good", "localhost")) as secure:
                for query, warned in (("ssl_cert_reqs=none", True), (f"ssl_ca_certs={tmp_path}/ca.pem", False)):
                    place = f"rediss://{self.FAR}:{secure}/0?{query}&ssl_check_hostname=false"
                    self.register(cli, "postgresql://h/d", redis=place)
                    run = cli("production", command="cache")
                    assert run.code == 0 and ("ssl_cert_reqs=none): write" in run.err) is warned, run.err
            self.register(cli, "postgresql://h/d", redis=f"redis://127.0.0.1:{port}/0")
            assert "warning" not in cli("production", command="cache").err


def test_a_service_key_in_the_clear(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    """Of whatever environments there are: the key is one for all."""
    file, text = tmp_path / "environments.toml", sandbox.layout.registry.read_text(encoding="utf-8")
    port = sandbox.state.auth_port
    file.write_text(text.replace(f"http://127.0.0.1:{port}", f"http://0.0.0.0:{port}"), encoding="utf-8")
    run = gaiaops("envs", "--check", registry=file)
    said = f"[supabase] the service key travels in the clear (0.0.0.0:{port}): write https://… in supabase.url"
    assert (run.code, run.err) == (0, f"gaiaops: warning: {said}\n")
    assert gaiaops("envs", "--check", registry=sandbox.layout.registry).err == ""


def test_an_address_that_nobody_listens_at(ask: Ask) -> None:
    """What is no matter of TLS is not told as one."""
    port = free_port()
    refused(ask(**VERIFIED, port=port), 3, "connection refused", "is the server up", port)
