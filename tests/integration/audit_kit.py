"""What the tests of the audit share: a naive audit over lists (`naive`, which shares no rule with gaiaops/audit), five
databases of a test's own, and one call for an audit of them."""

from __future__ import annotations

import functools
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from gaiaops import registry
from gaiaops.audit import run, sources
from gaiaops.audit.kinds import Finding
from gaiaops.sandbox import seed
from gaiaops.sandbox.drift import ENVIRONMENTS
from tests.cli.cleanup_world import PLATFORM
from tests.contract.servers import JWT_SECRET, Server, standin

Triple = tuple[str, str, str]
NIL = "00000000-0000-0000-0000-000000000000"
TAGS = ("local", "dev", "staging")

# ------------------------------------------------------------------------------------------------ the naive audit


@dataclass(frozen=True)
class R:
    """An auth record."""

    id: str
    address: str = ""
    banned: bool = False
    deleted: bool = False
    anonymous: bool = False
    sso: bool = False
    unconfirmed: bool = False
    young: bool = False
    invisible: bool = False

    @property
    def ordinary(self) -> bool:
        return bool(self.address) and not (self.deleted or self.anonymous or self.sso or self.invisible)

    @property
    def flags(self) -> str:
        open_address = self.unconfirmed and bool(self.address)  # without one there is nothing to confirm
        states = (self.banned, self.deleted, self.anonymous, self.sso, open_address, self.young, self.invisible)
        return "".join(letter for letter, is_so in zip("bdasuyv", states, strict=True) if is_so)


@dataclass(frozen=True)
class P:
    """A profile; `keys` is how many of its API keys work."""

    id: str
    address: str
    young: bool = False
    keys: int = 0


def home_of(address: str) -> str | None:
    """The environment of an address, None for two tags."""
    tags = [part.casefold() for part in address.rpartition("@")[0].split("+")[1:]]
    if not tags or tags[-1] not in TAGS:
        return "production"
    return tags[-1] if len({tag for tag in tags if tag in TAGS}) == 1 else None


def record_of(profile: P, records: Sequence[R]) -> R | None:
    """Whose a profile is: by id, else by address (the spelling itself first), else a single sign-on by address."""
    same = [r for r in records if r.id == profile.id and not r.invisible]
    fold = profile.address.casefold()
    alike = sorted(
        (r for r in records if profile.address and r.address.casefold() == fold),
        key=lambda r: (r.address != profile.address, r.id),
    )
    ordinary = [r for r in alike if r.ordinary]
    single = [r for r in alike if r.sso and not (r.deleted or r.anonymous or r.invisible)]
    return next(iter([*same, *ordinary, *single]), None)


def naive(records: Sequence[R], environments: Mapping[str, Sequence[P]]) -> set[Triple]:
    """What an audit of everything must find."""
    found: set[Triple] = set()
    for name, profiles in environments.items():
        for profile in profiles:
            found |= set(_of_profile(name, profile, profiles, records))
    for record in records:
        if not record.ordinary or record.young or "@" not in record.address:
            continue
        fold = record.address.casefold()
        present = {
            name
            for name, profiles in environments.items()
            if any(p.id == record.id or p.address.casefold() == fold for p in profiles)
        }
        home = home_of(record.address)
        if not present:
            found.add(("unprovisioned", "", record.id))
        elif home and home not in present:
            found.add(("missing-profile", home, record.id))
    return found


def _of_profile(name: str, profile: P, profiles: Sequence[P], records: Sequence[R]) -> Iterator[Triple]:
    record = record_of(profile, records)
    fold = profile.address.casefold()
    if profile.young or (record and record.young):
        return
    if profile.keys and (record is None or record.banned or record.deleted):
        yield "revoked-access", name, profile.id
    twins = [p for p in profiles if profile.address and p.address.casefold() == fold] or [profile]
    if record is None:
        yield "orphan-profile", name, profile.id
    else:
        if record.id != profile.id and len(twins) == 1:
            yield "id-mismatch", name, profile.id
        if record.id == profile.id and record.address and not record.deleted and record.address != profile.address:
            yield "case-drift" if record.address.casefold() == fold else "email-drift", name, profile.id
        if record.unconfirmed and record.address and not (record.deleted or record.anonymous):
            yield "unconfirmed-profile", name, profile.id
    if len([p for p in twins if not p.young]) > 1:
        yield "duplicate-profile", name, fold
    home = home_of(profile.address)
    if home is None:
        yield "ambiguous-address", name, profile.id
    elif home != name:
        yield "untagged-profile" if home == "production" else "foreign-profile", name, profile.id


# ------------------------------------------------------------------------------------------------ worlds

AUDIT = '\n[audit]\nrecheck_after = "{recheck}"\ngrace = "{grace}"\n'


@dataclass
class Outcome:
    """What an audit gave."""

    found: set[Triple]
    counts: Counter[str]
    errors: dict[str, str]
    partial: bool
    problems: list[str]
    vanished: int
    source: str
    listed: int = 0
    source_error: str = ""
    findings: list[Finding] = field(default_factory=list)
    report: Any = field(default=None, repr=False)


class World:
    """Five databases and a registry that names them."""

    def __init__(self, urls: Mapping[str, str], folder: Path, redis: Mapping[str, str] | None = None) -> None:
        self.urls = dict(urls)
        self.folder = folder
        self.redis = dict(redis or {})
        self.file = folder / "environments.toml"
        self.server: Server | None = None
        self.recheck, self.grace = "30ms", "10min"
        self.extra = ""
        self.write()

    def write(self, edit: Callable[[str], str] = lambda text: text, **urls: str) -> Path:
        """Writes the registry; `urls` stand for a side's own."""
        all_urls = {**self.urls, **urls}
        parts = []
        for name in ENVIRONMENTS:
            tag = "protected = true" if name == "production" else f'tag = "{name}"'
            cache = f'redis = "{self.redis[name]}"\n' if name in self.redis else ""
            parts.append(f'[environments.{name}]\npostgres = "{all_urls[name]}"\n{cache}{tag}\n')
        url = self.server.url.removesuffix("/auth/v1") if self.server else "http://127.0.0.1:1"
        key = self.server.token() if self.server else "none"
        database = f'database = "{all_urls["auth"]}"' if all_urls.get("auth") else ""
        parts.append(f'[supabase]\nurl = "{url}"\nservice_key = "{key}"\n{database}\n')
        audit = AUDIT.format(recheck=self.recheck, grace=self.grace)
        self.file.write_text(edit("\n".join([*parts, PLATFORM, audit, self.extra])), encoding="utf-8")
        return self.file

    def connect(self, side: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self.urls[side], autocommit=True)

    def sql(self, side: str, script: str) -> None:
        with self.connect(side) as connection:
            connection.execute(script.encode())

    def registry(self) -> registry.Registry:
        return registry.load(str(self.file))

    def audit(
        self,
        env: str = "all",
        source: str = "sql",
        *,
        kinds: Collection[str] = run.ALL_KINDS,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Outcome:
        """One audit in this process."""
        loaded = self.registry()
        wanted = sources.Wanted(source)
        with run.audit(loaded, loaded.select(env), wanted, progress, frozenset(kinds)) as done:
            report = done.report
            findings = list(report.findings())
            listed = [(f.kind, f.environment, f.subject) for f in findings]
            assert len(listed) == len(set(listed)), "a finding came twice"
            counts = Counter({kind: report.count(kind) for kind in run.ALL_KINDS if report.count(kind)})
            assert counts == Counter(kind for kind, _, _ in listed), "the counts are not those of the findings"
            return Outcome(
                set(listed),
                counts,
                {side.name: str(side.error) for side in report.failed},
                report.partial,
                list(report.problems),
                report.vanished,
                report.source,
                len(listed),
                str(report.source_error or ""),
                findings,
                report,
            )

    # ---- filling it

    def fill(self, records: Sequence[R], environments: Mapping[str, Sequence[P]]) -> None:
        """Exactly these people, and no rows besides."""
        with self.connect("auth") as connection, connection.transaction():
            connection.execute("TRUNCATE auth.users CASCADE")
            for record in records:
                insert_record(connection, record)
        for name in ENVIRONMENTS:
            with self.connect(name) as connection, connection.transaction():
                connection.execute("TRUNCATE users, asset_usage CASCADE")
                for profile in environments.get(name, ()):
                    insert_profile(connection, profile)


def insert_record(connection: psycopg.Connection[Any], record: R, **columns: Any) -> None:
    """A row of auth.users."""
    values = {
        "instance_id": NIL,
        "id": record.id,
        "aud": "elsewhere" if record.invisible else "authenticated",
        "role": "authenticated",
        "email": record.address or None,
        "confirmation_token": "",
        "recovery_token": "",
        "email_change": "",
        "email_change_token_new": "",
        "raw_app_meta_data": '{"provider": "sso:7"}' if record.sso else '{"provider": "email"}',
        "is_sso_user": record.sso,
        "is_anonymous": record.anonymous,
        **columns,
    }
    names, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    age = "1 minute" if record.young else "30 days"
    banned = "now() + interval '1 year'" if record.banned else "NULL"
    connection.execute(
        f"INSERT INTO auth.users ({names}, created_at, updated_at, email_confirmed_at, banned_until, deleted_at)"
        f" VALUES ({marks}, now() - interval '{age}', now(), {'NULL' if record.unconfirmed else 'now()'},"
        f" {banned}, {'now()' if record.deleted else 'NULL'})".encode(),
        values,
    )


def insert_profile(connection: psycopg.Connection[Any], profile: P) -> None:
    """A row of users, and its keys: those that work, an expired and an inactive one."""
    age = "1 minute" if profile.young else "30 days"
    connection.execute(
        "INSERT INTO users (id, email, created_at) VALUES"
        f" (%s, %s, now() AT TIME ZONE 'UTC' - interval '{age}')".encode(),
        [profile.id, profile.address],
    )
    key = (
        "INSERT INTO api_keys (user_id, key_hash, is_active, expires_at)"
        " VALUES (%s, %s, {}, now() AT TIME ZONE 'UTC' {} interval '1 hour')"
    )
    for _ in range(profile.keys):
        connection.execute(key.format("true", "+").encode(), [profile.id, uuid.uuid4().hex * 2])
    for active, sign in (("true", "-"), ("false", "+")):
        connection.execute(key.format(active, sign).encode(), [profile.id, uuid.uuid4().hex * 2])


@functools.cache
def databases(url: str) -> dict[str, str]:
    """Five databases with their tables, by side: the same ones for a whole test process, where its modules come one
    after the other. `World.fill` empties them; they go with the sandbox."""
    base = url.rpartition("/")[0]
    names = {side: f"audit_{side}_{uuid.uuid4().hex[:10]}" for side in ("auth", *ENVIRONMENTS)}
    template = names[ENVIRONMENTS[0]]
    with psycopg.connect(url, autocommit=True) as admin:
        for side, name in names.items():
            copied = side not in ("auth", ENVIRONMENTS[0])
            admin.execute(f"CREATE DATABASE {name}{f' TEMPLATE {template}' if copied else ''}".encode())
            if not copied:
                with psycopg.connect(f"{base}/{name}", autocommit=True) as connection:
                    (seed.create_auth_schema if side == "auth" else seed.create_platform_schema)(connection)
    return {side: f"{base}/{name}" for side, name in names.items()}


@contextmanager
def serving(world: World) -> Iterator[World]:
    """The world with a stand-in for Supabase Auth on its auth database."""
    with standin(world.urls["auth"], GAIAOPS_AUTH_JWT_SECRET=JWT_SECRET) as server:
        world.server = server
        world.write()
        try:
            yield world
        finally:
            world.server = None
            world.write()
