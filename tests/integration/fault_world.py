"""The command line on one environment whose servers are behind faulty proxies, and what must hold however it ends."""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import redis

from gaiaops.sandbox.layout import AUTH_DATABASE
from tests.conftest import Run, Sandbox, clean_variables
from tests.forked import Forked
from tests.integration.fault_kit import Fault, Network, Proxy, Slow
from tests.integration.redis_kit import PLATFORM
from tests.waiting import soon

SERVERS = ("postgres", "redis", "auth", "auth-database")
BRISK = 'connect = "2s", statement = "1s", lock = "1s"'
PATIENT = 'connect = "15s", statement = "30s", lock = "5s"'
LIMIT = 40.0  # seconds after which nobody waits for a command any more
_MARK = "GAIAOPS_TEST_MARK"


@dataclass
class Attempt:
    """A command that runs behind proxies, one a server."""

    world: World
    words: tuple[str, ...]
    proxies: Mapping[str, Proxy]
    folder: Path
    mark: str
    process: Forked
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def ended(self) -> Run:
        """How it ended; with no code of ours where it did not end in time, and was killed."""
        try:
            code, out, err = self.process.ended(LIMIT)
        except subprocess.TimeoutExpired:
            return Run(-9, "", f"it still ran after {LIMIT} s")
        self.seconds = time.monotonic() - self.began
        return Run(code, out.decode(), err.decode())

    def sessions(self) -> int:
        """How many of its connections the servers still have."""
        return self.world.sessions(self.proxies)


class World:
    """The session's sandbox; each command gets a registry, folders and proxies of its own."""

    tags = ("dev", "staging")  # of the environments dev and staging

    def __init__(self, sandbox: Sandbox, network: Network, home: Path, urls: Mapping[str, str] | None = None) -> None:
        self.sandbox = sandbox
        self.network = network
        self.home = home
        state = sandbox.state
        self.urls = {
            "postgres": sandbox.url("dev"),
            "redis": state.redis_url("dev"),
            "auth": state.supabase_url,
            "auth-database": state.postgres_url(AUTH_DATABASE),
            **(urls or {}),
        }
        self._numbers = itertools.count(1)

    @contextmanager
    def start(
        self,
        *words: str,
        at: str = "postgres",
        fault: Fault | Slow | None = None,
        timeouts: str = BRISK,
        stdin: bytes = b"",
        folder: Path | None = None,
        sql: bool = True,
    ) -> Iterator[Attempt]:
        """A command under way, with a fault at one of its servers; `sql` where Supabase's database is known."""
        number = f"case-{next(self._numbers)}"
        place = folder or self.home / number
        place.mkdir(exist_ok=True)
        with ExitStack() as stack:
            proxies = {}
            for name in SERVERS:
                url = urlsplit(self.urls[name])
                proxy = self.network.proxy(url.hostname or "", url.port or 0, fault if name == at else None)
                proxies[name] = stack.enter_context(proxy)
            file = place / "environments.toml"
            file.write_text(self._registry(proxies, timeouts, sql=sql), encoding="utf-8")
            variables = {**clean_variables(place), _MARK: f"{self.home}/{number}"}
            process = Forked(["--registry", str(file), *words], stdin, place, variables)
            yield Attempt(self, words, proxies, place, variables[_MARK], process)

    def run(self, *words: str, **options: object) -> tuple[Run, Attempt]:
        """As `start`, waited for."""
        with self.start(*words, **options) as attempt:  # type: ignore[arg-type]
            return attempt.ended(), attempt

    def together(self, cases: Sequence[Mapping[str, object]]) -> list[tuple[Run, Attempt]]:
        """Several at once, each `start`'s arguments with its words under `words`: most of them only wait."""
        with ExitStack() as stack:
            attempts = []
            for case in cases:
                words: tuple[str, ...] = case["words"]  # type: ignore[assignment]
                options = {name: value for name, value in case.items() if name != "words"}
                attempts.append(stack.enter_context(self.start(*words, **options)))  # type: ignore[arg-type]
            with ThreadPoolExecutor(max(1, len(attempts))) as pool:
                return list(zip(pool.map(Attempt.ended, attempts), attempts, strict=True))

    def _registry(self, proxies: Mapping[str, Proxy], timeouts: str, *, sql: bool) -> str:
        def behind(name: str) -> str:
            url = urlsplit(self.urls[name])
            login = url.netloc.rpartition("@")[0]
            place = f"127.0.0.1:{proxies[name].port}"
            return url._replace(netloc=f"{login}@{place}" if login else place).geturl()

        lines = [
            f'[environments.dev]\ntag = "{self.tags[0]}"\npostgres = "{behind("postgres")}"',
            f'redis = "{behind("redis")}"',
            f"timeouts = {{ {timeouts} }}",
            f'[environments.staging]\ntag = "{self.tags[1]}"\npostgres = "{self.sandbox.url("staging")}"',
            f'[supabase]\nurl = "{behind("auth")}"\nservice_key = "{self.sandbox.state.service_key}"',
            f'database = "{behind("auth-database")}"' if sql else "",
        ]
        return "\n".join([*lines, PLATFORM])

    def sessions(self, proxies: Mapping[str, Proxy]) -> int:
        """How many connections that came through these proxies the servers have."""
        ports = proxies["postgres"].local_ports | proxies["auth-database"].local_ports
        with psycopg.connect(self.sandbox.state.postgres_url("postgres")) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE client_port = ANY(%s)", [list(ports)]
            ).fetchone()
        ports = proxies["redis"].local_ports
        with redis.Redis.from_url(self.urls["redis"]) as client:
            clients = sum(int(one["addr"].rpartition(":")[2]) in ports for one in client.client_list())
        return (found[0] if found else 0) + clients


def squeezed(text: str) -> str:
    """Without the widths of columns: on a pipe they are those of the rows that came first."""
    return re.sub(r"-{2,}", "-", re.sub(r" +", " ", text))


def masked(text: str) -> str:
    """Without numbers either: times, sizes and ports differ from run to run."""
    text = re.sub(r"\d+(?:\.\d+)?", "#", text)
    return squeezed(re.sub(r"(#(?:ms|min|[smhdw])\b ?)+", "# ", text).replace("\n", " "))


def problems(run: Run, attempt: Attempt, at: str, codes: Collection[int], clean: Run) -> list[str]:
    """What is wrong with how a command ended behind a fault: it must be as without one, or fail so that it can be
    understood, with a documented code, where and why in one line, and the next step."""
    if run.code == clean.code and masked(run.out) == masked(clean.out):
        return []
    said = run.out + run.err
    where = {"auth": "Supabase Auth"}.get(at, f":{attempt.proxies[at].port}")
    wrong = {
        f"exit code {run.code}, not one of {sorted(codes)}": run.code not in codes,
        "a traceback": "Traceback" in said or "bug in gaiaops" in said,
        "no error": not re.search(r"^gaiaops: error: \S", run.err, re.MULTILINE),
        "no environment": not re.search(r"dev|supabase", said),
        f"the server is not named ({where})": where not in said,
        "no hint": not re.search(r"^hint: \S", run.err, re.MULTILINE) and "gaiaops" not in run.out,
    }
    return [what for what, is_so in wrong.items() if is_so]


def left_behind(attempts: Sequence[Attempt]) -> list[str]:
    """What is still there after the commands and their proxies are gone: a network that is silent for ever tells a
    server nothing, so sessions are counted when the proxies are closed."""
    found = [f"{one.words}: sessions on a server" for one in attempts if not soon(lambda one=one: not one.sessions())]  # type: ignore[misc]
    marks = {one.mark: one for one in attempts}
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(_MARK, "")
        except (psutil.Error, OSError):
            continue
        if mark in marks:
            found.append(f"{marks[mark].words}: the process {process.name()}")
    return found
