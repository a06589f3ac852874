"""Every bad input that the issue names: its line, its hint, its exit code, nothing half-written."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gaiaops.errors import ExitCode
from tests.conftest import Command, Sandbox, registry_for

SECRET = "hunter2-s3cret"


def check(run: object, code: int, *lines: str) -> None:
    """The exit code, one error line with each text, a hint, nothing on standard output, no secret anywhere."""
    out, err = getattr(run, "out", ""), getattr(run, "err", "")
    assert getattr(run, "code", None) == code, err
    assert out == ""
    assert err.startswith("gaiaops: error: ")
    assert "Traceback" not in err
    assert SECRET not in err
    for line in lines:
        assert line in err


def test_unknown_environment_offers_the_nearest(dev: Command) -> None:
    check(dev("query", "prodcution"), 2, 'unknown environment "prodcution"', 'did you mean "production"?')


def test_unknown_command_offers_the_nearest(dev: Command) -> None:
    check(dev("qeury", "dev"), 2, 'No such command "qeury". Did you mean "query"?', "hint: gaiaops --help")


def test_unknown_option_and_choice(dev: Command) -> None:
    check(dev("query", "dev", "--cvs"), 2, "No such option", "hint: gaiaops query --help")
    check(dev("query", "dev", "--format", "xml"), 2, "'xml' is not one of")
    check(dev("query", "dev", "--timeout", "5 parsecs"), 2, "not a duration")


def test_no_registry(gaiaops: Command) -> None:
    check(gaiaops("query", "dev"), 2, "no environments.toml here", "hint: try `gaiaops --sandbox view`")


def test_a_registry_with_a_mistake(gaiaops: Command, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    file.write_text('[environments.dev]\npostgres = "postgresql://h/d"\nhots = 1\n', encoding="utf-8")
    check(gaiaops("query", "dev"), 2, "environments.toml: environments.dev.hots: unknown key")


def test_unset_variable(gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev="${GAIA_TEST_UNSET}")
    check(
        gaiaops("query", "dev", registry=registry), 2,
        "[dev] environments.toml: environments.dev.postgres: variable GAIA_TEST_UNSET is not set",
        "hint: export GAIA_TEST_UNSET=",
    )  # fmt: skip


@pytest.fixture
def refused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_refused_port(gaiaops: Command, tmp_path: Path, refused_port: int) -> None:
    registry = registry_for(tmp_path, dev=f"postgresql://u:{SECRET}@127.0.0.1:{refused_port}/d")
    check(
        gaiaops("query", "dev", registry=registry), 3, f"[dev] connection refused (127.0.0.1:{refused_port})", "hint: "
    )


def test_unknown_host(gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=f"postgresql://u:{SECRET}@no-such-host.invalid:5432/d")
    check(gaiaops("query", "dev", registry=registry), 3, "[dev] unknown host name (no-such-host.invalid:5432)")


def test_unreachable_host(gaiaops: Command, tmp_path: Path) -> None:
    """A host that takes packets and never answers, as behind a firewall: the connect timeout ends it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        url = f"postgresql://u:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/d"
        registry = registry_for(tmp_path, dev=url)
        registry.write_text('[timeouts]\nconnect = "1s"\n' + registry.read_text(), encoding="utf-8")
        # libpq waits at least two seconds (manual 34.1.2, connect_timeout).
        check(gaiaops("query", "dev", registry=registry), 3, "[dev] no answer within 1s", "tunnel")


def test_wrong_password(gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    url = sandbox.url("dev").replace(sandbox.state.password, SECRET)
    check(
        gaiaops("query", "dev", registry=registry_for(tmp_path, dev=url)), 3,
        'password authentication failed for user "postgres"', "hint: check the password",
    )  # fmt: skip


def test_missing_database_and_role(gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    url = sandbox.url("dev").replace("llm_platform_dev", "no_such_db")
    check(gaiaops("query", "dev", registry=registry_for(tmp_path, dev=url)), 3, 'database "no_such_db" does not exist')


def test_tls_that_the_server_does_not_have(gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=sandbox.url("dev") + "?sslmode=require")
    check(gaiaops("query", "dev", registry=registry), 3, "the server does not offer TLS, but sslmode asks for it")


@contextmanager
def server_saying(state: str, message: str) -> Iterator[int]:
    """A server that refuses TLS and answers every start-up with one ErrorResponse (manual 54.7)."""
    body = b"SFATAL\0VFATAL\0C" + state.encode() + b"\0M" + message.encode() + b"\0\0"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while (head := connection.recv(8))[4:] in (b"\x04\xd2\x16/", b"\x04\xd2\x160"):  # SSL, GSS
                        connection.sendall(b"N")
                    if head:
                        connection.recv(4096)
                        connection.sendall(b"E" + struct.pack("!i", len(body) + 4) + body)

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("state", "message", "line"),
    [
        ("28000", 'no pg_hba.conf entry for host "h", user "u", no encryption', "the server requires TLS"),
        ("53300", "sorry, too many clients already", "too many connections: sorry, too many clients already"),
        ("57P03", "the database system is starting up", "the server is not ready"),
        ("08P01", "unsupported startup parameter: options", "the pooler refused: unsupported startup parameter"),
        ("28000", 'role "u" does not exist', 'role "u" does not exist'),
    ],
)  # fmt: skip
def test_what_a_server_says_when_it_lets_nobody_in(
    gaiaops: Command, tmp_path: Path, state: str, message: str, line: str
) -> None:
    with server_saying(state, message) as port:
        registry = registry_for(tmp_path, dev=f"postgresql://u:{SECRET}@127.0.0.1:{port}/d?sslmode=disable")
        check(gaiaops("query", "dev", registry=registry), 3, f"[dev] {line}", f"(127.0.0.1:{port})")


def test_timeouts(dev: Command) -> None:
    check(dev("query", "dev", "SELECT pg_sleep(30)", "--timeout", "200ms"), 4, "[dev] statement timeout", "--timeout")


def test_a_syntax_error_shows_the_place(dev: Command) -> None:
    run = dev("query", "dev", "SELECT 1;\n\nSELECT *\n  FORM users")
    assert run.code == 1
    assert 'gaiaops: error: [dev] syntax error at or near "FORM" (42601)' in run.err
    assert "LINE 2:   FORM users\n          ^" in run.err


def test_an_unknown_column_shows_the_place_and_the_servers_hint(dev: Command) -> None:
    check(
        dev("query", "dev", "SELECT emial FROM users"), 1,
        'column "emial" does not exist (42703)', "LINE 1: SELECT emial FROM users\n               ^",
        'hint: Perhaps you meant to reference the column "users.email".',
    )  # fmt: skip


def test_psql_backslash_commands(dev: Command) -> None:
    check(dev("query", "dev", "\\d users"), 1, "syntax error", "hint: backslash commands belong to psql")


@pytest.mark.parametrize("sql", ["", "  \n", ";;", "-- nothing", "/* /* nested */ */"])
def test_empty_sql(dev: Command, sql: str) -> None:
    check(dev("query", "dev", sql), 2, "the SQL is empty")
    check(dev("query", "dev", "-f", "-", stdin=sql), 2, "the SQL is empty")


def test_files_that_cannot_be_sql(dev: Command, tmp_path: Path) -> None:
    check(dev("query", "dev", "-f", "nowhere.sql"), 2, "cannot read nowhere.sql: No such file or directory")
    check(dev("query", "dev", "-f", str(tmp_path)), 2, "Is a directory")
    (tmp_path / "image.sql").write_bytes(b"\x89PNG\r\n\x1a\n\0\xff")
    check(dev("query", "dev", "-f", "image.sql"), 2, "image.sql is not a text in UTF-8 (byte 0)")
    (tmp_path / "nul.sql").write_bytes(b"select 1\0")
    check(dev("query", "dev", "-f", "nul.sql"), 2, "the SQL holds a NUL character")


def test_a_4_gb_file_is_refused_without_reading_it(dev: Command, tmp_path: Path) -> None:
    with (tmp_path / "huge.sql").open("wb") as huge:
        huge.truncate(4 << 30)  # sparse
    check(dev("query", "dev", "-f", "huge.sql"), 2, "huge.sql is larger than 64 MB", "hint: load data with psql")


def test_sql_twice_and_parameters(dev: Command, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("select 1", encoding="utf-8")
    check(dev("query", "dev", "select 1", "-f", "q.sql"), 2, "SQL and --file were both given")
    check(dev("query", "dev", "select :a", "-p", "a"), 2, "not a parameter: -p a")
    check(dev("query", "dev", "select :a", "-p", "a=1", "-p", "b=2"), 2, "no :b in the SQL")


def test_output_that_cannot_be_written(dev: Command, tmp_path: Path) -> None:
    check(dev("query", "dev", "select 1", "-o", "nowhere/x.csv"), 2, "cannot write nowhere/x.csv: No such file")
    check(dev("query", "dev", "select 1", "-o", str(tmp_path)), 2, "it is a folder")


def test_all_exit_codes_are_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    for code in ExitCode:
        assert f"| {code.value} |" in documented
