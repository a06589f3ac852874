"""The tables of a database against the groups that the registry declares. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from gaiaops.registry.model import TableGroup

# The tables in which migration tools keep their own state: Alembic, Rails and golang-migrate, Flyway, Prisma, Knex,
# Django, goose, sqlx, Diesel, Liquibase, node-pg-migrate, Drizzle, Sequelize, Aerich, Yoyo, dbmate, Atlas, Ecto.
MIGRATION_TABLES = frozenset(
    (
        "alembic_version", "schema_migrations", "flyway_schema_history", "_prisma_migrations", "knex_migrations",
        "knex_migrations_lock", "django_migrations", "goose_db_version", "_sqlx_migrations",
        "__diesel_schema_migrations", "databasechangelog", "databasechangeloglock", "pgmigrations",
        "__drizzle_migrations", "SequelizeMeta", "aerich", "_yoyo_migration", "yoyo_lock", "ar_internal_metadata",
        "atlas_schema_revisions",
    )
)  # fmt: skip
_PATH_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')
WORDS = {"r": "table", "p": "table", "f": "foreign table", "v": "view", "m": "materialized view"}
_TABLES = ("r", "p")


class Relation(msgspec.Struct, frozen=True):
    """What could be a declared table; `kind` is pg_class.relkind, `extension` the one it belongs to."""

    schema: str
    name: str
    kind: str = "r"
    extension: str | None = None
    partition: bool = False

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


class Finding(msgspec.Struct, frozen=True):
    """missing, unexpected or planned-present; `group` is "" for an unexpected table, `note` what else is known."""

    finding: str
    severity: str
    table: str
    group: str = ""
    note: str = ""


class GroupCount(msgspec.Struct, frozen=True):
    """How many tables of a group are there."""

    group: str
    planned: bool
    expected: int
    found: int


class Verdict(msgspec.Struct, frozen=True):
    """One database against the declared groups. What is left out of the judgement is counted, by name."""

    groups: tuple[GroupCount, ...]
    findings: tuple[Finding, ...]
    migration_tables: tuple[str, ...]
    partitions: int
    extension_tables: Mapping[str, int]
    other_schemas: Mapping[str, int]

    def count(self, *, planned: bool, found: bool) -> int:
        """The tables of all deployed, or all planned, groups: found or declared."""
        return sum(one.found if found else one.expected for one in self.groups if one.planned == planned)


def schemas_of(path: str, role: str) -> tuple[str, ...]:
    """The schemas of a search_path setting, in order (manual 5.10.3).

    >>> schemas_of('"$user", public, "My ""S"', "gaia")
    ('gaia', 'public', 'My "S')
    """
    names = [
        plain.lower() if plain else quoted.replace('""', '"')
        for quoted, plain in (match.groups(default="") for match in _PATH_ITEM.finditer(path))
    ]
    return tuple(role if name == "$user" else name for name in names)


def judge(groups: Sequence[TableGroup], relations: Sequence[Relation], path: Sequence[str]) -> Verdict:
    """What is missing, unexpected, or there before its time.

    A declared name is looked for along the search path, as a statement would find it, or where it says (schema.table).
    Unexpected are tables in the path's schemas alone: other schemas are other people's, and counted.
    """
    placed = {(one.schema, one.name): one for one in relations}
    counts: list[GroupCount] = []
    findings: list[Finding] = []
    declared: set[tuple[str, str]] = set()
    for group in groups:
        there = 0
        for name in group.tables:
            found = _find(name, placed, path)
            if found is not None and found.kind in _TABLES:
                there += 1
                declared.add((found.schema, found.name))
                if group.planned:
                    findings.append(Finding("planned-present", "warning", name, group.name))
            elif not group.planned:
                findings.append(Finding("missing", "error", name, group.name, _elsewhere(name, found, relations)))
        counts.append(GroupCount(group.name, group.planned, len(group.tables), there))
    others = [one for one in relations if one.kind in (*_TABLES, "f") and (one.schema, one.name) not in declared]
    on_path = [one for one in others if one.schema in path and not one.partition and one.extension is None]
    findings += [_unexpected(one) for one in on_path if one.name not in MIGRATION_TABLES]
    rest = [one for one in others if one.schema not in path and one.extension is None and not one.partition]
    return Verdict(
        groups=tuple(counts),
        findings=tuple(findings),
        migration_tables=tuple(one.qualified for one in on_path if one.name in MIGRATION_TABLES),
        partitions=sum(one.partition for one in others),
        extension_tables=dict(Counter(one.extension for one in others if one.extension is not None)),
        other_schemas=dict(Counter(one.schema for one in rest)),
    )


def _find(name: str, placed: Mapping[tuple[str, str], Relation], path: Sequence[str]) -> Relation | None:
    schema, dot, table = name.partition(".")
    places = [(schema, table)] if dot else []
    places += [(one, name) for one in path]
    return next((placed[place] for place in places if place in placed), None)


def _elsewhere(name: str, found: Relation | None, relations: Sequence[Relation]) -> str:
    """What is there under the name of a table that is not."""
    if found is not None:
        return f"{found.qualified} is a {WORDS[found.kind]}"
    others = [one.qualified for one in relations if one.name == name and one.kind in _TABLES]
    return f"not on the search path: {', '.join(others)}" if others else ""


def _unexpected(one: Relation) -> Finding:
    return Finding("unexpected", "warning", one.qualified, note="" if one.kind in _TABLES else f"a {WORDS[one.kind]}")
