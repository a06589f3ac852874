"""`gaiaops connect` on a pseudo-terminal: the user's shell, read-only, the environment in the prompt."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from gaiaops.errors import UsageError
from gaiaops.query import redis_shell, shell
from tests.conftest import Command, Sandbox, private_folder, registry_for
from tests.terminal import Terminal, shells

RED = "\x1b[1;31m"
Open = Callable[..., Terminal]


@pytest.fixture
def bundled_only(tmp_path: Path) -> str:
    """A PATH with no psql, pgcli, iredis or redis-cli on it: the wheels' own must do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "printf", "env", "less", "cat"):
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    return str(folder)


@pytest.fixture
def registry(fresh_url: str, sandbox: Sandbox, tmp_path: Path) -> Path:
    """A clone under the names dev and production; both have dev's Redis."""
    file = registry_for(tmp_path, dev=fresh_url, production=fresh_url)
    cache = f'redis = "{sandbox.state.redis_url("dev")}"'
    text = file.read_text(encoding="utf-8")
    for name in ("dev", "production"):
        text = text.replace(f"[environments.{name}]", f"[environments.{name}]\n{cache}")
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def open_shell(registry: Path, sandbox: Sandbox, bundled_only: str) -> Iterator[Open]:
    """Opens `gaiaops connect …` on a pseudo-terminal."""
    opened: list[Terminal] = []

    def spawn(*arguments: str, **variables: str) -> Terminal:
        found = {**sandbox.variables, "PATH": bundled_only, **variables}
        opened.append(Terminal(registry, *arguments, variables=found))
        return opened[-1]

    yield spawn
    for child in opened:
        child.close(force=True)


def test_read_only_from_the_start_with_the_environment_in_the_prompt(open_shell: Open) -> None:
    child = open_shell("dev")
    child.expect(r"dev read-only clone_\w+=# ")
    assert RED not in child.before + child.after
    child.sendline("DELETE FROM users;")
    child.expect("cannot execute DELETE in a read-only transaction")
    child.expect("read-only .*# ")
    child.sendline("SHOW application_name;")
    child.expect(r"gaiaops/\S+ \S+@\S* connect")
    child.sendline("\\q")
    assert child.left() == 0


def test_a_protected_environment_is_red_and_says_so(open_shell: Open) -> None:
    child = open_shell("production")
    child.expect("warning: production is protected; this shell is read-only")
    child.expect("production read-only .*#\x1b\\[0m ")
    assert RED in child.before + child.after


def test_no_secret_in_the_arguments(open_shell: Open, sandbox: Sandbox) -> None:
    child = open_shell("dev")
    child.expect("read-only .*# ")
    process = psutil.Process(child.pid)
    assert "psql" in process.name()
    assert sandbox.state.password not in " ".join(process.cmdline())


def test_write_on_dev_is_not_asked_and_writes(open_shell: Open) -> None:
    child = open_shell("dev", "--write")
    child.expect("dev WRITE .*# ")
    child.sendline("UPDATE users SET name = name WHERE email IS NULL;")
    child.expect("UPDATE 0")


def test_write_on_production_needs_its_name(open_shell: Open) -> None:
    child = open_shell("production", "--write")
    child.expect("Type the environment's name to go on: ")
    child.sendline("yes")
    child.expect("not confirmed; nothing was changed")
    assert child.left() == 5
    child = open_shell("production", "--write")
    child.expect("Type the environment's name to go on: ")
    child.sendline("production")
    child.expect("this shell is READ-WRITE")
    child.expect("production WRITE .*#\x1b\\[0m ")


def test_the_users_own_psqlrc_is_honoured(open_shell: Open, tmp_path: Path) -> None:
    home = tmp_path / "ho me"
    home.mkdir()
    (home / ".psqlrc").write_text("\\set mine 'from my psqlrc'\n\\set PROMPT1 'my own prompt> '\n", encoding="utf-8")
    child = open_shell("dev", HOME=str(home))
    child.expect("dev read-only .*# ")
    child.sendline("\\echo :mine")
    child.expect("\nfrom my psqlrc")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with private_folder() as folder:
        yield folder


def secrets_of(process: psutil.Process, sandbox: Sandbox) -> list[str]:
    """What a process was given that holds a password of the sandbox's."""
    password = sandbox.state.password
    return [text for text in (*process.cmdline(), *process.environ().values()) if password in text]


def test_pgcli_is_the_first_choice(open_shell: Open, bundled_only: str, sandbox: Sandbox, tmp_path: Path) -> None:
    child = open_shell("production", PATH=f"{shells()}:{bundled_only}", HOME=str(tmp_path), NO_COLOR="")
    child.expect("this shell is read-only")
    child.expect(r"production read-only clone_\w+>")
    assert child.before.endswith("\x1b[0;31;1m")
    assert not secrets_of(psutil.Process(child.pid), sandbox)
    child.sendline("CREATE TABLE x ();")
    child.expect("cannot execute CREATE TABLE in a read-only transaction")
    child.sendline("SHOW application_name;")
    child.expect(r"gaiaops/\S+ \S+@\S* connect")
    child.sendline("\\q")
    assert child.left() == 0


@pytest.mark.parametrize("name", ["iredis", "redis-cli"])
def test_a_shell_on_redis_reads_only(
    name: str, open_shell: Open, bundled_only: str, sandbox: Sandbox, tmp_path: Path, short: Path
) -> None:
    key = f"connect:{uuid.uuid4().hex}"
    path = f"{shells()}:{bundled_only}" if name == "iredis" else bundled_only
    child = open_shell("production", "--redis", PATH=path, HOME=str(tmp_path), TMPDIR=str(short))
    child.expect("production is protected; this shell is read-only")
    child.expect(r"🔴 production read-only\[0\]>" if name == "iredis" else "redis production read-only> ")
    assert not secrets_of(psutil.Process(child.pid).children()[0], sandbox)
    folder = next(short.glob("gaiaops-redis-*"))
    assert folder.stat().st_mode & 0o777 == 0o700
    child.send(f"SET {key} 1\r")
    child.expect("SET does not get through: this shell is read-only")
    child.send(f"EXISTS {key}\r")
    child.expect(r"\(integer\) (\x1b\[0m)?0")
    child.send("DBSIZE\r")
    child.expect(r"\(integer\) (\x1b\[0m)?[1-9]")
    child.send("EXIT\r")
    assert child.left() == 0
    assert not folder.exists()


def test_a_shell_on_redis_writes_where_it_says_so(open_shell: Open, sandbox: Sandbox) -> None:
    key = f"connect:{uuid.uuid4().hex}"
    child = open_shell("production", "--redis", "--write")
    child.expect("Type the environment's name to go on: ")
    child.sendline("production")
    child.expect("this shell is READ-WRITE")
    child.expect("redis production WRITE> ")
    child.send(f"SET {key} 'a b' EX 60\r")
    child.expect("OK")
    with redis.Redis.from_url(sandbox.state.redis_url("dev")) as direct:
        assert direct.getdel(key) == b"a b"


def test_redis_off_a_terminal(gaiaops: Command, registry: Path, bundled_only: str, tmp_path: Path) -> None:
    """Line for line, and two connections of a shell's are two of the server's."""
    key = f"connect:{uuid.uuid4().hex}"
    script = f"SELECT 2\nSET {key} 1\nGET {key}\nCONFIG SET maxmemory 1\nMULTI\nGET {key}\nFLUSHALL\nEXEC\n"
    run = gaiaops("connect", "dev", "--redis", registry=registry, stdin=script, PATH=bundled_only)
    assert run.code == 0, run.err
    lines = [line.split(" does not")[0] for line in run.out.splitlines() if line]
    assert lines == ["OK", "READONLY SET", "READONLY CONFIG", "OK", "QUEUED", "READONLY FLUSHALL"], run.out
    asked = gaiaops("connect", "production", "--redis", "--write", registry=registry, PATH=bundled_only)
    assert asked.code == 5
    assert "hint: add --confirm production" in asked.err


def test_no_shell_at_all(gaiaops: Command, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, what, package in (
        (("--shell", "pgcli"), "pgcli", "postgresql-client"),
        (("--redis", "--shell", "iredis"), "iredis", "redis-tools"),
    ):
        run = gaiaops("connect", "dev", *arguments, registry=registry, PATH="/nonexistent")
        assert run.code == 2
        assert f"no {what} on this machine\nhint: pipx install {what}, or: apt install {package}\n" in run.err
    monkeypatch.setattr(shell.shutil, "which", lambda _: None)
    monkeypatch.setattr(shell.importlib.util, "find_spec", lambda _: None)
    assert shell.find_psql() is None
    with pytest.raises(UsageError, match="no iredis or redis-cli on this machine"):
        redis_shell.find(None)


MISTAKES = {
    "a name": (("prodution",), 'unknown environment "prodution"', 'did you mean "production"?'),
    "no Redis": (
        ("bare", "--redis"), "[bare] bare has no redis in the registry",
        'add redis = "redis://…" to [environments.bare]',
    ),
    "another's shell": (
        ("dev", "--redis", "--shell", "psql"), "psql is a shell for PostgreSQL", "gaiaops connect dev --shell psql",
    ),
    "no --redis": (
        ("dev", "--shell", "iredis"), "iredis is a shell for Redis", "gaiaops connect dev --redis --shell iredis",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_with_a_way_on(case: str, gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev="postgresql://h/d", production="postgresql://h/p", bare="postgresql://h/b")
    arguments, said, hint = MISTAKES[case]
    run = gaiaops("connect", *arguments, registry=registry)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"gaiaops: error: {said}\nhint: {hint}"), run.err
    assert run.err.count("\n") == 2


def test_a_redis_that_lets_nobody_in(gaiaops: Command, sandbox: Sandbox, tmp_path: Path, bundled_only: str) -> None:
    registry = registry_for(tmp_path, dev="postgresql://h/d")
    wrong = sandbox.state.redis_url("dev").replace(sandbox.state.password, "wrong")
    registry.write_text(f'{registry.read_text(encoding="utf-8")}redis = "{wrong}"\n', encoding="utf-8")
    run = gaiaops("connect", "dev", "--redis", registry=registry, PATH=bundled_only)
    assert (run.code, run.out) == (3, "")
    assert run.err.startswith("gaiaops: error: [dev] Redis refused the password")
