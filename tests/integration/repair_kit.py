"""What the tests of `audit --fix` share: a database of their own, an auth side that the test writes, and one call a
step. Nothing here knows how a repair works."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis

from gaiaops import registry
from gaiaops.audit import repair, repair_run, repair_undo
from gaiaops.audit.kinds import Finding
from gaiaops.audit.repair import Outcome
from gaiaops.audit.repair_plan import Repair
from gaiaops.audit.repair_undo import Undone
from gaiaops.auth.interface import Look, Record
from gaiaops.errors import PartialError
from tests.cli.cleanup_world import checksums, fetch, run_sql, text_of_registry
from tests.integration.cleanup_kit import _LOCKED


class Auth:
    """The auth side as a test wants it: records by id. `before_look` runs when a repair looks again, under lock."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.partial = False
        self.before_look: Callable[[], None] = lambda: None

    def add(self, address: str, flags: str = "", own: str = "") -> str:
        own = own or str(uuid.uuid4())
        self.records[own] = Record(own, address, flags)
        return own

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        if self.partial:
            raise PartialError("the list of users could not be read whole")
        wanted = set(addresses)
        return [r for r in self.records.values() if r.id in ids or (r.ordinary and r.address in wanted)]

    @contextmanager
    def again(self, looks: int) -> Iterator[Look]:
        self.before_look()
        yield self


class Kit:
    """One database under the name dev, and what may be done with it. Its registry lies in `folder`."""

    def __init__(self, url: str, folder: Path, redis_url: str = "", *, more: str = "") -> None:
        self.url = url
        self.auth = Auth()
        self.folder = folder
        self.file = folder / "environments.toml"
        self.redis_url = redis_url
        self.write(url, more=more)
        self.phases: list[tuple[str, int]] = []

    def write(self, url: str, *, more: str = "", edit: Callable[[str], str] = lambda text: text) -> None:
        """The registry, with dev at this URL."""
        cache = f'redis = "{self.redis_url}"\n' if self.redis_url else ""
        others = {"production": "postgresql://nobody@127.0.0.1:1/none", **self.others()}
        text = text_of_registry(dev=url, protected=False, **others)
        text = text.replace(f'postgres = "{url}"', f'postgres = "{url}"\n{cache}{more}')
        self.file.write_text(edit(text), encoding="utf-8")

    def others(self) -> dict[str, str]:
        """URLs of the other environments; nobody listens where there is none."""
        return {}

    @property
    def registry(self) -> registry.Registry:
        return registry.load(str(self.file))

    @property
    def env(self) -> Any:
        return self.registry.environment("dev")

    # ---- what is there

    def sql(self, script: str) -> None:
        run_sql(self.url, script)

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        return fetch(self.url, query)

    def profile(self, address: str, own: str = "") -> str:
        """A profile; gives its id."""
        own = own or str(uuid.uuid4())
        with psycopg.connect(self.url) as connection:
            connection.execute("INSERT INTO users (id, email, name) VALUES (%s, %s, 'N')", [own, address])
        return own

    def person(self, profile: str, record: str, flags: str = "") -> str:
        """A profile and a record of one id."""
        return self.auth.add(record, flags, self.profile(profile))

    def key(self, owner: str, *, active: str = "true", expires: str = "NULL") -> tuple[str, str]:
        """An API key: (id, hash)."""
        own, digest = str(uuid.uuid4()), uuid.uuid4().hex * 2
        self.sql(
            f"INSERT INTO api_keys (id, user_id, key_hash, name, is_active, expires_at)"
            f" VALUES ('{own}', '{owner}', '{digest}', 'k', {active}, {expires})"
        )
        return own, digest

    def address(self, own: str) -> str | None:
        rows = self.fetch(f"SELECT email FROM users WHERE id = '{own}'")
        return rows[0][0] if rows else None

    def active(self, owner: str) -> list[str]:
        """The ids of somebody's active keys."""
        return [row[0] for row in self.fetch(f"SELECT id::text FROM api_keys WHERE user_id = '{owner}' AND is_active")]

    @property
    def cache(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url)

    def cached(self, *keys: str) -> list[bool]:
        with self.cache as client:
            return [bool(client.exists(key)) for key in keys]

    def store(self, *keys: str) -> None:
        with self.cache as client:
            client.mset(dict.fromkeys(keys, "x"))

    def sums(self, *but: str) -> dict[str, str]:
        """Checksums of every table but these."""
        return {table: sum_ for table, sum_ in checksums(self.url).items() if table not in but}

    def settle(self) -> None:
        """Waits until no session of an earlier step holds the database's one place."""
        for _ in range(500):
            if not fetch(self.url, _LOCKED):
                return

    # ---- steps

    @staticmethod
    def finding(kind: str, subject: str, address: str = "", **evidence: str) -> Finding:
        return Finding(kind, "dev", subject, address, evidence)

    def plan(self, *findings: Finding | tuple[str, str]) -> Repair:
        """A plan for findings, or for (kind, subject)."""
        chosen = [one if isinstance(one, Finding) else self.finding(*one) for one in findings]
        return repair.plan(self.registry, self.env, chosen, self.auth)

    def apply(self, plan: Repair) -> Outcome:
        self.settle()
        hooks = repair.Hooks(lambda word, rows: self.phases.append((word, rows)))
        return repair.apply(self.registry, self.env, plan, self.auth.again, hooks)

    def fix(self, *findings: Finding | tuple[str, str]) -> Outcome:
        """Plans and applies; everything must be repairable."""
        plan = self.plan(*findings)
        assert not plan.left, plan.left
        done = self.apply(plan)
        assert not done.skipped, done.skipped
        return done

    def undo(self, run: str, user: str | None = None, *, dry_run: bool = False) -> Undone:
        self.settle()
        found = next(one for one in repair_run.every() if one.id == run)
        return repair_undo.undo(self.registry, self.env, found, user, dry_run=dry_run)

    def run(self, outcome: Outcome) -> repair_run.RepairRun:
        return next(one for one in repair_run.every() if one.id == outcome.run)


def reasons(found: Any) -> list[str]:
    """Why findings of a plan, or of an outcome, are not repaired."""
    return [one.why for one in (found.left if hasattr(found, "left") else found.skipped)]
