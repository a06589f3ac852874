"""The objects of a schema as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

# question (queries/schema_*.sql) → the kinds of objects it gives, in the order in which people read about them
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "schemas": ("schema",),
    "extensions": ("extension",),
    "relations": ("table", "foreign-table", "view", "materialized-view"),
    "columns": ("column",),
    "constraints": ("primary-key", "unique", "foreign-key", "check", "exclusion"),
    "indexes": ("index",),
    "triggers": ("trigger",),
    "policies": ("policy",),
    "rules": ("rule",),
    "statistics": ("statistics",),
    "sequences": ("sequence",),
    "types": ("enum", "domain", "composite-type", "range-type", "base-type"),
    "functions": ("function", "procedure", "aggregate"),
    "event_triggers": ("event-trigger",),
    "others": ("cast", "operator", "collation", "text-search", "foreign-server", "publication"),
}
KINDS: tuple[str, ...] = tuple(kind for kinds in QUESTIONS.values() for kind in kinds)


class SchemaObject(msgspec.Struct, frozen=True):
    """An object of a schema; schema_schemas.sql says what the fields mean. `facts` is None where it is unread."""

    kind: str
    owner: str
    name: str
    anchor: str = ""
    near: str = ""
    facts: Mapping[str, str] | None = {}


class SchemaRead(msgspec.Struct, frozen=True):
    """All objects of one side that could be read; `unread` has the reason of each question that failed."""

    environment: str
    version: int
    objects: tuple[SchemaObject, ...]
    unread: Mapping[str, str] = {}
    identity: tuple[str, ...] = ()

    @property
    def major(self) -> int:
        return self.version // 10_000
