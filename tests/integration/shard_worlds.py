"""Worlds of the audit whose environments have shards: production three, dev two, the others none."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from gaiaops.sandbox.drift import ENVIRONMENTS
from tests.conftest import Sandbox
from tests.integration import shard_kit
from tests.integration.audit_kit import P, R, Triple, World, databases, insert_profile, insert_record, naive, record_of

SHARDS = {"production": ("eu", "us", "asia"), "dev": ("1", "2")}
Split = dict[str, dict[str, list[P]]]  # environment → shard ("" where there are none) → profiles


class ShardedWorld(World):
    """A World whose sides are databases: `production/eu`, `dev/1`, `staging`."""

    def write(self, edit: Callable[[str], str] = lambda text: text, **urls: str) -> Path:
        """As World's; the name of a shard's URL is `production_eu`."""

        def sharded(text: str) -> str:
            for name, shards in SHARDS.items():
                own = {one: urls.get(f"{name}_{one}", self.urls[f"{name}/{one}"]) for one in shards}
                table = shard_kit.table(name, own).partition("\n")[2].strip()
                text = text.replace(f'postgres = "{self.urls[name]}"', table)
            return edit(text)

        return super().write(sharded, **{name: url for name, url in urls.items() if "_" not in name})

    def split(self, records: Sequence[R], environments: Split) -> None:
        """Exactly these people, and no rows besides."""
        self.fill(records, {})
        for name, shards in SHARDS.items():
            for shard in shards:
                self.sql(f"{name}/{shard}", "TRUNCATE users, asset_usage, kb_semantic_index_metadata CASCADE")
        for name, parts in environments.items():
            for shard, profiles in parts.items():
                with self.connect(f"{name}/{shard}" if shard else name) as connection, connection.transaction():
                    for profile in profiles:
                        insert_profile(connection, profile)

    def add(self, *records: R) -> None:
        """More auth records."""
        with self.connect("auth") as connection:
            for record in records:
                insert_record(connection, record)


@contextmanager
def sharded(sandbox: Sandbox, folder: Path, redis: Mapping[str, str] | None = None) -> Iterator[ShardedWorld]:
    """A world of its own, empty. The first shard of each is the database that the environment has without any."""
    urls = databases(sandbox.url("dev"))
    template = urls["production"].rpartition("/")[2]
    more = [f"{name}/{shard}" for name, shards in SHARDS.items() for shard in shards[1:]]
    with shard_kit.databases(sandbox, *more, template=template) as made:
        first = {f"{name}/{shards[0]}": urls[name] for name, shards in SHARDS.items()}
        world = ShardedWorld({**urls, **first, **made}, folder, redis)
        yield world


def scattered(chance: random.Random, environments: Mapping[str, Sequence[P]]) -> Split:
    """Every profile in a shard; some in another one too, as they are, with another address, or with another id."""
    split: Split = {}
    for name in ENVIRONMENTS:
        parts: dict[str, list[P]] = {shard: [] for shard in SHARDS.get(name, ("",))}
        for profile in environments.get(name, ()):
            first, *others = chance.sample(list(parts), len(parts))
            _put(parts[first], profile)
            for shard in others:
                _put(parts[shard], _copied(chance, profile))
        split[name] = parts
    return split


def _copied(chance: random.Random, profile: P) -> P | None:
    young = profile.young or chance.random() < 0.1
    kind = chance.random()
    if kind < 0.15:
        return replace(profile, young=young)
    if kind < 0.25:
        address = chance.choice([profile.address.swapcase(), f"other{chance.randrange(9)}@x.org"])
        return replace(profile, address=address, young=young)
    if kind < 0.32:
        return replace(profile, id=str(uuid.UUID(int=chance.getrandbits(128), version=4)), young=young)
    return None


def _put(shard: list[P], profile: P | None) -> None:
    """Unless the shard has the id or the address: they are unique there."""
    if profile and not any(profile.id == one.id or profile.address == one.address for one in shard):
        shard.append(profile)


def together(parts: Mapping[str, Sequence[P]]) -> list[P]:
    """An environment's profiles as one list: what several shards have with one id and address is one profile, young
    where one of them is."""
    found: dict[tuple[str, str], P] = {}
    for profiles in parts.values():
        for one in profiles:
            before = found.get((one.id, one.address))
            found[one.id, one.address] = replace(one, young=one.young or bool(before and before.young))
    return list(found.values())


def naive_of(records: Sequence[R], split: Split) -> set[Triple]:
    """What an audit of everything must find: what it would find in the sum of each environment's shards, and ids with
    several addresses."""
    environments = {name: together(parts) for name, parts in split.items()}
    found = naive(records, environments)
    for name, profiles in environments.items():
        for own in {one.id for one in profiles}:
            settled = [one for one in profiles if one.id == own and not one.young]
            judged = [one for one in settled if not ((record := record_of(one, records)) and record.young)]
            if judged and len({one.address.casefold() for one in settled}) > 1:
                found.add(("duplicate-profile", name, own))
    return found


def places(split: Split, name: str, own: str) -> set[str]:
    """The shards that have a profile of this id."""
    return {shard for shard, profiles in split[name].items() if any(one.id == own for one in profiles)}


def move(world: ShardedWorld, own: str, source: str, target: str) -> None:
    """A user goes from one shard to another."""
    with world.connect(source) as connection:
        row = connection.execute("DELETE FROM users WHERE id = %s RETURNING id, email, created_at", [own]).fetchone()
    with world.connect(target) as connection:
        connection.execute("INSERT INTO users (id, email, created_at) VALUES (%s, %s, %s)", row)


def terminate(world: ShardedWorld, side: str) -> None:
    """Ends every other session of a side's database, as a server that goes down does."""
    with psycopg.connect(world.urls[side], autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
