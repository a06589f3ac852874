"""No secret gets out: every command, in success and in failure, with canaries in every place that holds secrets."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pexpect
import psycopg
import pytest
from psycopg import sql

from gaiaops.registry.model import Environment
from tests.cli.cleanup_world import HOST, PLATFORM, THEO, clone
from tests.conftest import GAIAOPS, Run, Sandbox, clean_variables, private_folder
from tests.contract.servers import standin
from tests.forked import in_process
from tests.integration.canary_kit import Canary, Watch
from tests.integration.redis_kit import server

PLACES = ("dotenv", "pgpass", "service", "command", "written", "sslpassword", "redis", "auth", "wrong")


@dataclass
class World:
    """Four environments whose passwords are canaries, each in another place, a Redis and an auth server."""

    folder: Path
    role: str
    port: int
    database: str
    redis_port: int
    auth_url: str
    canaries: dict[str, Canary]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def file(self) -> Path:
        return self.folder / "environments.toml"

    @property
    def variables(self) -> dict[str, str]:
        return {
            **clean_variables(self.home), "PGSERVICEFILE": str(self.folder / "services"), "PGCONNECT_TIMEOUT": "5",
            "CANARY_AUTH": self.canaries["auth"].text, "PATH": os.environ["PATH"],
        }  # fmt: skip

    @property
    def sources(self) -> list[Path]:
        """Where the secrets are written down."""
        names = ("environments.toml", ".env", "services", "print-url")
        return [*(self.folder / name for name in names), self.home / ".pgpass"]

    def write(self, **wrong: str) -> None:
        """The registry and the files it leads to; `wrong` replaces what stands in an environment."""
        canary, here = self.canaries, f"127.0.0.1:{self.port}"
        key = f"sslpassword={canary['sslpassword'].quoted}"
        places = {
            "production": f"postgresql://{self.role}:${{CANARY}}@{here}/{self.database}",
            "dev": "postgresql:///llm_platform_dev?service=canary",
            "local": f"postgresql://{self.role}@{here}/llm_platform_local",
            "staging": f"postgresql://{self.role}:{canary['written'].quoted}@{here}/llm_platform_staging?{key}",
        }
        places["production"] = wrong.get("production", places["production"])
        script = self.folder / "print-url"
        script.write_text(f"redis://:{canary['command'].quoted}@127.0.0.1:{self.redis_port}/0\n", encoding="utf-8")
        reading = f"sleep 0.1; echo {{}} >&2; cat {script}"  # what it says on standard error is nobody's business
        command = json.dumps(["sh", "-c", reading.replace("{}", f"$(cat {script})")])
        parts = []
        for name, place in places.items():
            parts.append(f"[environments.{name}]\npostgres = {json.dumps(place)}")
            parts.append("protected = true" if name == "production" else f'tag = "{name}"')
            redis = json.dumps(wrong["redis"]) if "redis" in wrong else f"{{ command = {command} }}"
            parts += [f"redis = {redis}"] if name == "production" else []
        auth = {
            "url": self.auth_url, "service_key": "${CANARY_AUTH}",
            "database": f"postgresql://{self.role}:${{CANARY}}@{here}/supabase_auth",
        }  # fmt: skip
        parts += ["[supabase]", *(f"{name} = {json.dumps(wrong.get(name, text))}" for name, text in auth.items())]
        self.file.write_text("\n".join([*parts, PLATFORM]), encoding="utf-8")
        quoted = canary["dotenv"].text.replace("\\", "\\\\").replace("'", "\\'")
        self._private(self.folder / ".env", f"CANARY='{quoted}'\n{wrong.get('dotenv', '')}\n")
        self._private(self.home / ".pgpass", f"127.0.0.1:{self.port}:*:{self.role}:{canary['pgpass'].escaped}\n")
        self._private(
            self.folder / "services",
            f"[canary]\nhost=127.0.0.1\nport={self.port}\nuser={self.role}\npassword={canary['service'].text}\n",
        )

    @staticmethod
    def _private(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    def password(self, sandbox: Sandbox, canary: Canary) -> None:
        """What the server takes for the role; the others are wrong then."""
        with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as admin:
            admin.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(self.role), sql.Literal(canary.text))
            )


@pytest.fixture(scope="module")
def world(sandbox: Sandbox) -> Iterator[World]:
    canaries = {place: Canary() for place in PLACES}
    canaries["auth"] = Canary("sb_secret_", "-")  # a header: no more than that
    # One role has one password: the four places hold the same, but for what is around it.
    for place in ("pgpass", "service", "written"):
        canaries[place] = canaries["dotenv"]
    canaries["command"] = canaries["redis"]
    role = f"canary_{uuid.uuid4().hex[:10]}"
    auth = sandbox.state.postgres_url("supabase_auth")
    with (
        private_folder() as folder,
        clone(sandbox) as url,
        server(folder) as cache,
        standin(auth, GAIAOPS_AUTH_API_KEYS=canaries["auth"].text) as running,
    ):
        (folder / "home").mkdir()
        with cache.client() as client:
            client.set("user:session:1", "x")
            client.config_set("requirepass", canaries["redis"].text)
        with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {role} SUPERUSER LOGIN".encode())
            try:
                root = running.url.removesuffix("/auth/v1")
                found = World(
                    folder, role, sandbox.state.postgres_port, urlsplit(url).path[1:], cache.port, root, canaries
                )
                found.password(sandbox, canaries["dotenv"])
                yield found
            finally:
                admin.execute(f"DROP OWNED BY {role}".encode())
                admin.execute(f"DROP ROLE {role}".encode())


@pytest.fixture
def watch(world: World) -> Watch:
    return Watch(world.canaries.values())


class Teller:
    """The command line in this process, with -v and --debug; what it shows is looked at."""

    def __init__(self, world: World, watch: Watch, capfd: pytest.CaptureFixture[str]) -> None:
        self.world = world
        self.watch = watch
        self._capfd = capfd

    def __call__(self, *words: str) -> Run:
        self._capfd.readouterr()
        every = ["--registry", str(self.world.file), "-v", "--debug", *words]
        code = in_process(every)
        shown = self._capfd.readouterr()
        for text in shown:
            assert not self.watch.holds(text), (words, text)
        return Run(code, shown.out, shown.err)

    def check_files(self) -> None:
        assert self.watch.files(self.world.folder, self.world.sources) == []


@pytest.fixture
def tell(
    world: World, watch: Watch, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Teller]:
    for name in set(os.environ) - set(world.variables):
        monkeypatch.delenv(name)
    for name, value in world.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(world.home)
    world.write()
    teller = Teller(world, watch, capfd)
    yield teller
    teller.check_files()


def test_the_watch_finds_every_form() -> None:
    canary = Canary()
    watch = Watch([canary])
    forms = [canary.text, canary.quoted, repr(canary.text), json.dumps(canary.text), canary.text[:14], canary.escaped]
    forms += [base64.b64encode(f"{'x' * n}{canary.text}".encode()).decode() for n in range(4)]
    forms += [base64.b64encode(f"{'x' * n}{canary.cores[1]}".encode()).decode() for n in range(4)]
    assert all(watch.holds(form) for form in forms)
    assert not watch.holds("postgresql://canary:***@127.0.0.1/x")
    with watch.processes():
        subprocess.run(["sh", "-c", "sleep 0.2; exit 0", canary.quoted], check=True)
    assert len(watch.arguments) == 1


OK = 0
FOUND = 7
EVERY: list[tuple[tuple[str, ...], tuple[int, ...]]] = [
    (("envs",), (OK,)),
    (("envs", "production"), (OK,)),
    (("envs", "staging", "--json"), (OK,)),
    (("envs", "--check"), (OK,)),
    (("view",), (OK,)),
    (("view", "production", "--json"), (OK,)),
    (("view", "supabase"), (OK,)),
    (("query", "all", "SELECT count(*) FROM users", "--json"), (OK,)),
    (("query", "production", "UPDATE users SET name = name", "--write", "--confirm", "production"), (OK,)),
    (("query", "staging", "SELECT oops"), (1,)),
    (("whois", HOST), (OK,)),
    (("health", "production", "--json"), (OK, FOUND)),
    (("activity", "local"), (OK,)),
    (("activity", "production", "--cancel", "1", "--confirm", "production"), (1, 2)),
    (("schema", "verify", "production"), (OK, FOUND)),
    (("schema", "diff", "production", "dev"), (OK, FOUND)),
    (("cache", "production"), (OK,)),
    (("cache", "production", "keys"), (OK,)),
    (("cache", "production", "get", "user:session:1"), (OK,)),
    (("cache", "production", "invalidate", "--key", "persona:7", "--confirm", "production"), (OK,)),
    (("cleanup", "production", "--keep", HOST, "--dry-run"), (OK,)),
    (("cleanup", "production", "--keep", HOST, "--save-plan", "test.plan"), (OK,)),
    (("audit", "production", "--json"), (FOUND, 6)),
    (("audit", "production", "--source", "api"), (FOUND, 6)),
    (("audit", "production", "--fix", "case-drift", "--confirm", "production"), (OK, FOUND)),
    (("cleanup", "production", "--plan", "test.plan", "--confirm", "production"), (OK, 5)),
    (("cleanup", "production", "--keep", HOST, "--confirm", "production"), (OK,)),
    (("runs",), (OK,)),
    (("restore", "RUN", "--confirm", "production"), (OK,)),
    (("completion", "bash"), (OK,)),
]  # fmt: skip


def test_every_command_in_success(tell: Teller) -> None:
    for asked, codes in EVERY:
        runs = json.loads(tell("runs", "--json").out)["runs"] if "RUN" in asked else []
        cleanups = [run["id"] for run in runs if "kinds" not in run]  # a repair has kinds
        words = tuple(cleanups[0] if word == "RUN" else word for word in asked)
        run = tell(*words)
        assert run.code in codes, (words, run.code, run.err)
    written = {path.name for path in tell.world.home.rglob("*") if path.is_file()}
    assert {"trail.jsonl", "test.plan", "journal.jsonl"} <= written, written


# What is wrong with which environment's PostgreSQL, and what is said then.
FAILURES = {
    "wrong password": "password authentication failed",
    "dead host": "connection refused",
    "missing variable": "is not set",
    "a raw ? in the password": "malformed URL: write %3F for a ?",
    "a raw / in the password": "malformed URL: the port must be a number",
    "no scheme": "malformed URL: it must start with",
    "unknown option": 'libpq knows no option "no_option"',
}
ASKED = [
    ("query", "production", "SELECT 1"), ("view", "production"), ("envs", "--check"), ("query", "all", "SELECT 1"),
    ("whois", THEO), ("health", "production"), ("activity", "production"), ("schema", "verify", "production"),
    ("schema", "diff", "production", "dev"), ("cache", "production", "invalidate", "--user", THEO, "--dry-run"),
    ("cleanup", "production", "--dry-run"), ("audit", "production"), ("connect", "production"), ("view",),
    ("envs",), ("envs", "production"), ("envs", "production", "--json"), ("view", "supabase"),
]  # fmt: skip
LISTS = 4  # the last ones only list


@pytest.mark.first(3)
@pytest.mark.parametrize("how", FAILURES)
def test_every_command_where_postgresql_fails(tell: Teller, how: str) -> None:
    world, wrong = tell.world, tell.world.canaries["wrong"]
    here = f"127.0.0.1:{world.port}/{world.database}"
    first, last = wrong.cores
    world.write(
        production="${CANARY_URL}",
        dotenv="CANARY_URL="
        + {
            "wrong password": f"postgresql://{world.role}:{wrong.quoted}@{here}",
            "dead host": f"postgresql://{world.role}:{wrong.quoted}@127.0.0.1:1/x",
            "missing variable": "",
            "a raw ? in the password": f"postgresql://u:{first}?x={last}@{here}",
            "a raw / in the password": f"postgresql://u:{first}/{last}",
            "no scheme": f"u:{wrong.quoted}@{here}",
            "unknown option": f"postgresql://{world.role}:{wrong.quoted}@{here}?no_option={wrong.quoted}",
        }[how],
    )
    for number, words in enumerate(ASKED):
        run = tell(*words)
        assert run.code != 70, (words, run.err)
        if number < len(ASKED) - LISTS:
            assert run.code and FAILURES[how] in run.out + run.err, (words, run)


OTHERS = {
    "redis": ({"redis": "redis://:{}@127.0.0.1:{redis}/0"}, ("cache", "production"), "refused the password"),
    "dead redis": ({"redis": "redis://:{}@127.0.0.1:1/0"}, ("view", "production"), "connection refused"),
    "bad redis": ({"redis": "redis://:{}@127.0.0.1:1/x"}, ("health", "production"), "no database of Redis"),
    "key": ({"service_key": "sb_secret_{}"}, ("envs", "--check"), "refused the service key"),
    "dead auth": ({"url": "http://127.0.0.1:1"}, ("envs", "--check"), "cannot be reached"),
    "auth database": (
        {"database": "postgresql://postgres:{}@127.0.0.1:{port}/supabase_auth"}, ("envs", "--check"),
        "password authentication failed"),
}  # fmt: skip


@pytest.mark.first(4)
@pytest.mark.parametrize("how", OTHERS)
def test_where_redis_or_the_auth_server_fails(tell: Teller, how: str) -> None:
    world = tell.world
    wrong, words, said = OTHERS[how]
    canary = world.canaries["wrong"].cores[0] if how == "key" else world.canaries["wrong"].quoted
    world.write(**{
        name: text.replace("{}", canary).format(redis=world.redis_port, port=world.port)
        for name, text in wrong.items()
    })  # fmt: skip
    for one in (words, ("audit", "production", "--source", "api"), ("whois", THEO), ("view", "supabase")):
        run = tell(*one)
        assert run.code != 70 and (one != words or said in run.out + run.err), (one, run)


def test_a_bug(tell: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw may quote anything: a crash log without texts, and --debug without the registry's secrets."""
    world, real = tell.world, Environment.postgres_url

    def broken(env: Environment) -> Any:
        url, redis = real(env), env.redis_url()
        raise ValueError(
            f"boom {url.password} {url.password!r} {world.canaries['dotenv'].quoted} {redis and redis.password}"
        )

    monkeypatch.setattr(Environment, "postgres_url", broken)
    for words in (("query", "production", "SELECT 1"), ("view", "production")):
        run = tell(*words)
        assert run.code == 70 and "ValueError: boom *** '***'" in run.err, run.err
    for log in (world.home / "state" / "gaiaops" / "crashes").iterdir():
        assert "broken" in log.read_text() and log.stat().st_mode & 0o777 == 0o600


class TestProcesses:
    """What other users of the machine can see, and what shells remember."""

    def run(self, world: World, *words: str, stdin: str = "", **variables: str) -> Run:
        done = subprocess.run(
            [*GAIAOPS, "--registry", str(world.file), "-v", "--debug", *words], input=stdin.encode(), check=False,
            capture_output=True, cwd=world.home, env={**world.variables, **variables}, timeout=60,
        )  # fmt: skip
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode())

    def test_arguments_of_every_process(self, world: World, watch: Watch, sandbox: Sandbox) -> None:
        world.write()
        waiting = "SELECT pg_sleep(0.3);\n"
        with watch.processes():
            runs = [
                self.run(world, "view", "production"),  # runs the command source
                self.run(world, "connect", "production", "--shell", "psql", stdin=waiting),
                self.run(world, "connect", "staging", "--shell", "psql", stdin=waiting),
                self.run(
                    world,
                    "connect",
                    "production",
                    "--redis",
                    "--confirm",
                    "production",
                    stdin="PING\nXREAD BLOCK 300 STREAMS nothing $\n",
                ),
            ]
            completing = {"COMP_WORDS": "gaiaops query pro", "COMP_CWORD": "2", "GAIAOPS_REGISTRY": str(world.file)}
            runs.insert(0, self.run(world, **completing, _GAIAOPS_COMPLETE="bash_complete"))
        assert "production" in runs[0].out
        for run in runs:
            assert run.code == 0 and not watch.holds(run.out + run.err), run
        assert "PONG" in runs[-1].out
        assert watch.arguments == set()
        assert {"psql", "redis-cli", "sh"} <= watch.programs  # it has looked
        assert watch.files(world.folder, world.sources) == []

    def test_what_shells_remember(self, world: World, watch: Watch) -> None:
        world.write()
        for words, prompt, asked, history in (
            (("production", "--shell", "psql"), "read-only .*#", "\\conninfo", ".psql_history"),
            (("production", "--redis", "--shell", "redis-cli"), "production read-only>", "PING", ".rediscli_history"),
        ):
            child = pexpect.spawn(
                sys.executable, ["-m", "gaiaops", "--registry", str(world.file), "connect", *words],
                env={**world.variables, "PAGER": "cat"}, cwd=str(world.home), encoding="utf-8", timeout=30,
            )  # fmt: skip
            child.expect(prompt)
            child.send(f"{asked}\r")
            child.expect(prompt)
            shown = f"{child.before}{child.after}"
            child.send("\x04")
            child.expect(pexpect.EOF)
            assert not watch.holds(shown + child.before)
            child.close()
            assert asked in (world.home / history).read_text()
        assert watch.files(world.folder, world.sources) == []
        for name in (".psql_history", ".rediscli_history"):
            (world.home / name).unlink()


def test_the_sandboxs_own_passwords_are_secrets_too(sandbox: Sandbox) -> None:
    """`sandbox status` shows addresses; the passwords are in files that only their owner reads."""
    done = subprocess.run(
        [*GAIAOPS, "--debug", "sandbox", "status"], env=dict(sandbox.variables), capture_output=True, check=False
    )
    assert done.returncode == 0 and str(sandbox.state.postgres_port) in done.stdout.decode()
    for secret in (sandbox.state.password, sandbox.state.jwt_secret, sandbox.state.service_key):
        assert secret not in (done.stdout + done.stderr).decode()
    for file in (sandbox.layout.state, sandbox.layout.registry):
        assert file.stat().st_mode & 0o077 == 0
