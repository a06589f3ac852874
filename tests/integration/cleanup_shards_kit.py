"""For clean-ups over shards: people and what is theirs, dealt out to shards at random and also kept in one database."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from gaiaops import registry
from gaiaops.cleanup import apply, restore
from gaiaops.cleanup.apply import Outcome
from gaiaops.cleanup.planner import Options
from gaiaops.cleanup.shards import apply as shards_apply
from gaiaops.cleanup.shards import archive, planner
from gaiaops.cleanup.shards import restore as shards_restore
from gaiaops.cleanup.shards.archive import WholeRun
from gaiaops.cleanup.shards.plan import Whole
from gaiaops.cleanup.undo import Restored
from tests.integration import shard_kit
from tests.integration.cleanup_kit import checksums

# Foreign keys stay within a shard; everything that is text names a user of any shard.
SCHEMA = """
CREATE TABLE users (id uuid PRIMARY KEY, email text NOT NULL UNIQUE, name text, created_at timestamptz DEFAULT now());
CREATE TABLE talks (id int PRIMARY KEY, user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE);
CREATE TABLE messages (
    id int PRIMARY KEY, talk int REFERENCES talks ON DELETE CASCADE, author text NOT NULL, note text);
CREATE TABLE prefs (user_id text, what text);
CREATE TABLE walls (id int PRIMARY KEY, namespace text);
CREATE TABLE likes (id int PRIMARY KEY, wall int NOT NULL REFERENCES walls ON DELETE CASCADE, note text);
CREATE TABLE documents (id int PRIMARY KEY, created_by text, locked_by text, note text);
CREATE TABLE grants (id int PRIMARY KEY, kind text NOT NULL, principal text NOT NULL);
CREATE INDEX ON messages (talk); CREATE INDEX ON messages (author); CREATE INDEX ON likes (wall);
"""
TABLES = ("users", "talks", "messages", "prefs", "walls", "likes", "documents", "grants")
REFERENCES = """
[references]
"messages.author" = { on_delete = "delete" }
"prefs.user_id" = {}
"walls.namespace" = { holds = "users/{address}" }
"documents.created_by" = {}
"documents.locked_by" = {}
"grants.principal" = { where = "kind = 'user'" }
"""
OTHERS = "".join(
    f'[environments.{name}]\npostgres = "postgresql://nobody@127.0.0.1:1/nowhere_{name}"\ntag = "{name}"\n'
    for name in ("dev", "staging")
)
Row = tuple[object, ...]


@dataclass
class People:
    """A world: table → rows, each with the shards it is in."""

    rows: dict[str, list[tuple[Row, frozenset[str]]]] = field(default_factory=dict)

    def of(self, shard: str | None = None) -> dict[str, list[Row]]:
        """The rows of one shard, or of all of them, each once."""
        return {
            table: [row for row, where in rows if shard is None or shard in where] for table, rows in self.rows.items()
        }


def people(rng: random.Random, shards: tuple[str, ...], size: int) -> People:
    """Half of them are test users; some are in several shards; rows name anybody, nobody and the system."""
    world = People({table: [] for table in TABLES})
    known: list[tuple[str, str]] = []
    homes: dict[str, list[str]] = {}
    for number in range(size):
        test = number % 2 == 0
        key = f"{rng.getrandbits(120):08x}-0000-4000-8000-{number:012d}"
        key = f"{rng.getrandbits(32):08x}-{rng.getrandbits(16):04x}-4000-8000-{number:012d}"
        address = f"t{number}+{rng.choice(['dev', 'staging', 'Dev'])}@x.io" if test else f"r{number}@x.io"
        homes[key] = rng.sample(shards, rng.choice([1, 1, 1, 2, len(shards)]))
        world.rows["users"].append(((key, address, f"n\t{number}", "2020-01-01"), frozenset(homes[key])))
        known.append((key, address))
    nobody = ("99999999-0000-4000-8000-000000000000", "nobody@x.io")

    def anybody() -> tuple[str, str]:
        return nobody if rng.random() < 0.1 else rng.choice(known)

    def add(table: str, row: Row, shard: str) -> None:
        world.rows[table].append((row, frozenset([shard])))

    for number in range(size):
        owner = rng.choice(known)[0]
        home = rng.choice(homes[owner])
        add("talks", (number, owner), home)
        for i in range(rng.choice([0, 1, 3])):
            add("messages", (number * 10 + i, number, anybody()[0], f"m\\{i}"), home)
        for i in range(5, 5 + rng.choice([0, 1])):
            add("messages", (number * 10 + i, None, anybody()[0], "loose"), rng.choice(shards))
        place = rng.choice(shards)
        add("prefs", (anybody()[0], f"p{number}"), place)
        add("walls", (number, f"users/{anybody()[1]}"), place)
        add("likes", (number, number, "x"), place)
        locker = rng.choice([None, "system", anybody()[0]])
        add("documents", (number, anybody()[0], locker, "d"), rng.choice(shards))
        add("grants", (number, rng.choice(["user", "team"]), anybody()[0]), rng.choice(shards))
    return world


def fill(url: str, rows: Mapping[str, Iterable[Row]]) -> None:
    """These rows, and no others."""
    with psycopg.connect(url) as connection:
        connection.execute(f"TRUNCATE {', '.join(TABLES)}".encode())
        for table in TABLES:
            with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                for row in rows[table]:
                    copy.write_row(row)


def left(url: str) -> dict[str, list[str]]:
    """What is there: table → rows as text."""
    with psycopg.connect(url) as connection:
        return {
            table: sorted(row[0] for row in connection.execute(f"SELECT t::text FROM {table} AS t".encode()))
            for table in TABLES
        }


class ShardKit:
    """An environment production with shards, and what may be done with it. Its registry lies in `folder`."""

    def __init__(self, folder: Path, urls: Mapping[str, str], *more: str, references: str = REFERENCES) -> None:
        self.folder = folder
        self.urls = dict(urls)
        self.notices: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.write(*more, references=references)

    def write(self, *more: str, references: str = REFERENCES) -> None:
        """The registry; `more` are lines of the environment."""
        table = shard_kit.table("production", self.urls, 'tag = "production"', *more)
        self.file = shard_kit.registry(self.folder, table, OTHERS, references)

    @property
    def registry(self) -> registry.Registry:
        return registry.load(str(self.file))

    @property
    def hooks(self) -> apply.Hooks:
        return apply.Hooks(lambda *_: None, lambda: False, self.notices.append)

    def checksums(self) -> dict[str, dict[str, str]]:
        return {name: checksums(url) for name, url in self.urls.items()}

    def plan(self, **options: Any) -> Whole:
        """A plan for everything that may go; no cap but the one that is given."""
        loaded = self.registry
        chosen = Options(**{"max_users": 1_000_000, **options})
        lists = self.folder / "lists"
        lists.mkdir(exist_ok=True)
        return planner.make(loaded, loaded.environment("production"), chosen, lists)

    def create(self, plan: Whole) -> WholeRun:
        return archive.create(plan, self.folder / "lists")

    def apply(self, run: WholeRun, hooks: apply.Hooks | None = None) -> Outcome:
        loaded = self.registry
        return shards_apply.apply_whole(loaded, loaded.environment("production"), run, hooks or self.hooks)

    def clean(self, **options: Any) -> tuple[Whole, WholeRun, Outcome]:
        """Plans and applies. The plan must have nothing against it."""
        plan = self.plan(**options)
        assert plan.refusals == (), plan.refusals
        run = self.create(plan)
        return plan, run, self.apply(run)

    def restore(self, run: WholeRun, user: str | None = None, *, dry_run: bool = False) -> Restored:
        loaded = self.registry
        options = restore.Options(user, dry_run)
        return shards_restore.restore_whole(loaded, loaded.environment("production"), run, options, self.hooks)
