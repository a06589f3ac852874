"""1,000,000 auth users against four environments with 1,000,000 profiles: `audit all` by SQL against psql COPY of all
five, sorted, and comm; twice as many; 100,000 users by the API against curl; 10,000 findings looked at again."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psycopg

from benchmarks.harness import Figure, Platform, Sample, alternate, run, variables

ROUNDS = 3
ENVIRONMENTS = ("production", "dev", "staging", "local")
_IN_FLIGHT = 4  # as many pages as gaiaops asks for at a time
_PAGE = 10_000  # gaiaops's own choice for 100,000 users
# Addresses in no order, so that sorting is work. Of :every people one is gone, one was renamed, one never came.
_TAG = "(ARRAY['', '+dev', '+staging', '+local'])[1 + i % 4]"
_ADDRESS = f"substr(md5(i::text), 1, 9) || '.last' || i || {_TAG} || '@example.com'"
_AUTH = f"""
TRUNCATE auth.users CASCADE;
INSERT INTO auth.users (instance_id, id, aud, role, email, email_confirmed_at, confirmation_token, recovery_token,
    email_change_token_new, email_change, raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
SELECT '00000000-0000-0000-0000-000000000000', md5('u' || i)::uuid, 'authenticated', 'authenticated', {_ADDRESS},
    timestamp '2026-01-01' + i * interval '1 second', '', '', '', '', '{{"provider": "email"}}',
    jsonb_build_object('full_name', 'First Last ' || i), timestamp '2026-01-01' + i * interval '1 second', now()
FROM generate_series(1, :users) AS i WHERE i % :every <> 1;
VACUUM (FREEZE, ANALYZE) auth.users;
"""
_PROFILES = f"""
TRUNCATE users, personas, assets, kb_documents, user_persona_preferences, kb_permissions, kb_activity_log,
    kb_semantic_index_metadata CASCADE;
INSERT INTO users (id, email, name, created_at, updated_at)
SELECT md5('u' || i)::uuid, CASE WHEN i % :every = 2 THEN 'was.' ELSE '' END || {_ADDRESS}, 'First Last ' || i,
    timestamp '2026-01-01' + i * interval '1 second', now()
FROM generate_series(1, :users) AS i WHERE i % 4 = :part AND i % :every <> 3;
VACUUM (FREEZE, ANALYZE);
"""
_SORTED = 'COPY (SELECT lower(email COLLATE "C") AS k, id FROM %s ORDER BY k) TO STDOUT'


class _Stage:
    """Five databases of the bench's own, a registry for them, and both ways to compare them."""

    def __init__(self, where: Platform, users: int, *, api: bool = False, every: int = 3000) -> None:
        self.where, self.users, self.every = where, users, every
        self.server = where.url.rpartition("/")[0]
        self.folder = where.folder / f"audit_{users}{'_api' if api else ''}"
        self.folder.mkdir()
        self.status = json.loads(subprocess.run(
            where.gaiaops("sandbox", "status", "--json"), check=True, capture_output=True,
            env=variables(XDG_DATA_HOME=str(where.folder / "data"), XDG_STATE_HOME=str(where.folder / "state")),
        ).stdout)  # fmt: skip
        # The stand-in reads the sandbox's own auth database.
        self.auth = self.status["supabase"]["database"] if api else self._create(f"audit_auth_{users}")
        if not api:
            self._psql(self.auth, (files("gaiaops.sandbox") / "sql" / "auth.sql").read_text("utf-8"))
        self._psql(self.auth, _AUTH)
        self.urls = {}
        for part, name in enumerate(ENVIRONMENTS):
            self.urls[name] = self._create(f"audit_{name}_{users}", f"llm_platform_{name}")
            self._psql(self.urls[name], _PROFILES, part)
        self._register(api)

    def drop(self) -> None:
        """Makes room."""
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            for url in (self.auth, *self.urls.values()):
                name = url.rpartition("/")[2]
                if name.startswith("audit_"):
                    connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        shutil.rmtree(self.folder)

    def _create(self, name: str, template: str = "template1") -> str:
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
        return f"{self.server}/{name}"

    def _psql(self, url: str, sql: str, part: int = 0) -> None:
        numbers = {"users": self.users, "part": part, "every": self.every, "ON_ERROR_STOP": 1}
        argv = [self.where.psql, "-q", *(f"-v{name}={value}" for name, value in numbers.items()), url]
        subprocess.run(argv, input=sql.encode(), check=True, stderr=subprocess.DEVNULL)

    def _register(self, api: bool) -> None:
        text = Path(self.where.registry).read_text(encoding="utf-8")
        sections = text[text.index("[tables.core]") :]
        lines = []
        for name in ENVIRONMENTS:
            tag = "" if name == "production" else f'tag = "{name}"\n'
            lines.append(f'[environments.{name}]\n{tag}postgres = "{self.urls[name]}"\n')
        database = "" if api else f'database = "{self.auth}"\n'
        supabase = self.status["supabase"]
        lines.append(f'[supabase]\nurl = "{supabase["url"]}"\nservice_key = "{supabase["service_key"]}"\n{database}')
        (self.folder / "environments.toml").write_text("".join(lines) + sections, encoding="utf-8")

    def audit(self, *options: str) -> Sample:
        program = self.where.gaiaops("audit", "all", "--json", "--fail-on", "never", *options)
        program[program.index("--registry") + 1] = str(self.folder / "environments.toml")
        return run(program, self.folder / "report.json")

    def findings(self) -> int:
        return len(json.loads((self.folder / "report.json").read_bytes())["findings"])

    def peer(self) -> Sample:
        """What a careful person would write: all five sorted, then what only one side has."""
        sides = [("auth", self.auth, "auth.users"), *((name, url, "users") for name, url in self.urls.items())]
        copies = [f"{self.where.psql} -q '{url}' -c '{_SORTED % table}' > {name}" for name, url, table in sides]
        compares = [f"comm -13 auth {name} > only_{name}" for name in ENVIRONMENTS]
        compares.append(f"comm -23 auth <(sort -m {' '.join(ENVIRONMENTS)}) > only_auth")
        script = f"cd {self.folder}; export LC_ALL=C; " + "; ".join([*copies, *compares])
        return run(["bash", "-ec", script])

    def curl(self) -> Sample:
        """The pages of one walk, as many at a time as gaiaops has in flight."""
        supabase = self.status["supabase"]
        key = supabase["service_key"]
        pages = -(-self.users // _PAGE)
        config = self.folder / "curl"
        config.write_text(f'header = "apikey: {key}"\nheader = "Authorization: Bearer {key}"\n', encoding="utf-8")
        url = f"{supabase['url']}/auth/v1/admin/users?page=[1-{pages}]&per_page={_PAGE}&sort=created_at%20asc"
        argv = ["curl", "-sf", "-K", str(config), "-Z", "--parallel-max", str(_IN_FLIGHT), url]
        return run([*argv, "-o", str(self.folder / "page#1")])


def figures(where: Platform) -> Iterator[Figure]:
    stage = _Stage(where, 1_000_000)
    mine, theirs = alternate(stage.audit, stage.peer, ROUNDS)
    note = f"{mine.wall:.2f} s (CPU {mine.cpu:.2f}) : {theirs.wall:.2f} s; {stage.findings()} findings"
    yield Figure("audit 1M : psql and comm", mine.wall / theirs.wall, 1.0, "x", mine.peak, note)
    yield Figure("audit 1M: peak memory", mine.peak, 100, "MB", mine.peak)
    stage.drop()
    stage = _Stage(where, 2_000_000)
    twice, peer = alternate(stage.audit, stage.peer, ROUNDS)
    yield Figure(
        "audit 2M : audit 1M", twice.wall / mine.wall, 2.2, "x", twice.peak, f"psql and comm: {peer.wall:.2f} s"
    )
    yield Figure("audit 2M: memory : 1M", twice.peak / mine.peak, 1.1, "x", twice.peak)
    stage.drop()
    yield from _by_api(where)
    yield _again(where)


def _by_api(where: Platform) -> Iterator[Figure]:
    stage = _Stage(where, 100_000, api=True)
    mine, theirs = alternate(lambda: stage.audit("--source", "api"), stage.curl, ROUNDS)
    note = f"{mine.wall:.2f} s (CPU {mine.cpu:.2f}) : {theirs.wall:.2f} s; {stage.findings()} findings"
    yield Figure("audit by API, 100,000 : curl", mine.wall / theirs.wall, 1.2, "x", mine.peak, note)
    stage.drop()


def _again(where: Platform) -> Figure:
    """The second look, as `-v` tells how long it took."""
    stage = _Stage(where, 200_000, every=60)
    taken = []
    for _ in range(ROUNDS):
        program = where.gaiaops("-v", "audit", "all", "--jsonl", "--fail-on", "never")
        program[program.index("--registry") + 1] = str(stage.folder / "environments.toml")
        done = subprocess.run(program, check=True, capture_output=True, text=True, env=variables())
        count, seconds = re.search(r"(\d+) findings looked at again in ([\d.]+) s", done.stderr).groups()  # type: ignore[union-attr]
        taken.append(float(seconds))
    stage.drop()
    return Figure("second look at findings", statistics.median(taken), 10, "s", 0, f"{count} findings")
