"""The SQL that puts archived rows back. Pure: names come from the catalog, quoted by the server itself.

`t` is the table, `s` the temporary table its archived rows are staged in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gaiaops.cleanup.conditions import in_part
from gaiaops.cleanup.graph import columns_sql
from gaiaops.cleanup.journal import Section
from gaiaops.errors import RefusedError
from gaiaops.postgres import features
from gaiaops.postgres.shape import Catalog, ForeignKey, Table

_NUMBER = '"gaiaops user" integer'


def check_compatible(catalog: Catalog, sections: Iterable[Section]) -> dict[str, Table]:
    """The tables of an archive by their qualified names. Raises RefusedError where a row would not fit any more."""
    by_name = {table.sql: table for table in catalog.tables.values()}
    for section in sections:
        table = by_name.get(section.table)
        if table is None or table.kind not in ("r", "p"):
            raise _incompatible(f"there is no table {section.table}")
        if table.distributed:
            raise RefusedError(features.distributed(table.name), hint="nothing was restored")
        for name, kind in zip(section.columns, section.types, strict=True):
            column = table.column(name)
            in_key = section.kind == "update" and name in section.columns[: section.keys]
            if column is None or (column.generated and not in_key):
                raise _incompatible(f"{section.table} has no column {name} that can be written")
            if column.type != kind:
                raise _incompatible(f"{section.table}.{name} was {kind} and is {column.type}")
        if section.kind == "delete":
            for column in table.stored:
                if column.required and not column.filled and column.name not in section.columns:
                    raise _incompatible(f"{section.table}.{column.name} is new, NOT NULL and without a default")
    return by_name


def _incompatible(why: str) -> RefusedError:
    return RefusedError(f"the schema is not the archive's: {why}", hint="nothing was restored")


def copy_rows(section: Section, table: Table) -> str:
    """COPY straight into the table (identity columns take what is given: manual, COPY)."""
    return f"COPY {table.sql} ({', '.join(c.quoted for c in table.pick(section.columns))}) FROM STDIN"


def stage(section: Section, table: Table, name: str) -> list[str]:
    """Makes the temporary table for a section, and the COPY that fills it with whole lines of the archive.

    Columns of ours have names with a blank, which no table's column has. An update's old values are in
    `"gaiaops old 0"` …, the new ones in `"gaiaops new 0"` …. Rows are staged with their generated columns, which a
    foreign key may be made of.
    """
    columns = table.pick(section.columns)
    if section.kind == "update":
        parts = [f"{column.quoted} {column.type}" for column in columns[: section.keys]]
        for make in (_old, _new):
            parts += [f"{make(i)} {column.type}" for i, column in enumerate(columns[section.keys :])]
        return [
            f"CREATE TEMPORARY TABLE {name} ({_NUMBER}, {', '.join(parts)}) ON COMMIT DROP",
            f"COPY {name} FROM STDIN",
        ]
    names = ", ".join(column.quoted for column in columns)
    added = [column for column in table.stored if column.required and column.name not in section.columns]
    return [
        f"CREATE TEMPORARY TABLE {name} ({_NUMBER}, LIKE {table.sql} INCLUDING GENERATED) ON COMMIT DROP",
        *(f"ALTER TABLE {name} ALTER {column.quoted} DROP NOT NULL" for column in added),
        f"COPY {name} ({_NUMBER.partition(' integer')[0]}, {names}) FROM STDIN",
    ]


def compare(section: Section, table: Table, name: str) -> str:
    """(rows that are there as archived, rows that are there otherwise, some keys of the latter)."""
    columns = table.pick(section.columns)
    same = f"ROW({columns_sql(columns, 't')})::text = ROW({columns_sql(columns, 's')})::text"
    if not table.key:
        return f"SELECT count(*), 0, NULL FROM {name} AS s WHERE EXISTS (SELECT FROM {table.sql} AS t WHERE {same})"
    key = ", ".join(f"t.{c.quoted}::text" for c in table.columns if c.name in table.key)
    return (
        f"SELECT count(*) FILTER (WHERE {same}), count(*) FILTER (WHERE NOT {same}),"
        f" (array_agg(concat_ws(', ', {key})) FILTER (WHERE NOT {same}))[1:10]"
        f" FROM {name} AS s JOIN {table.sql} AS t ON {_same_key(table)}"
    )


def drop_present(section: Section, table: Table, name: str) -> str:
    """Takes the rows that are there out of the stage: nothing is overwritten."""
    columns = table.pick(section.columns)
    same = _same_key(table)
    if not table.key:
        same = f"ROW({columns_sql(columns, 't')})::text = ROW({columns_sql(columns, 's')})::text"
    return f"DELETE FROM {name} AS s USING {table.sql} AS t WHERE {same}"


def drop_orphans(catalog: Catalog, table: Table, name: str, stages: Mapping[int, str]) -> list[str]:
    """Takes rows out of the stage whose parents are not there; `stages` are those that go in with them."""
    found = []
    quoted = table.quoted
    for key in foreign_keys(catalog, table):
        values = {column: f"s.{quoted[column]}" for column in key.columns}
        absent = _absent(catalog, key, values, stages.get(key.parent))
        part = f" AND ({key.part_condition})" if key.part_condition else ""
        found.append(f"DELETE FROM {name} AS s WHERE {absent}{part}")
    return found


def drop_conflicts(table: Table, name: str) -> list[str]:
    """Takes rows out of the stage whose unique values others have, where ON CONFLICT cannot (a deferrable one)."""
    quoted = table.quoted
    found = []
    for names in table.uniques if table.deferrable else ():
        same = " AND ".join(f"t.{quoted[column]} = s.{quoted[column]}" for column in names)
        found.append(f"DELETE FROM {name} AS s USING {table.sql} AS t WHERE {same}")
    return found


def insert(sections: Sequence[tuple[Section, Table, str]]) -> str:
    """One statement that inserts what is staged, for one table or for a circle; gives the rows of each."""
    parts = []
    for i, (section, table, name) in enumerate(sections):
        columns = table.pick(section.columns)
        parts.append(
            f"x{i} AS (INSERT INTO {table.sql} ({', '.join(c.quoted for c in columns)}) OVERRIDING SYSTEM VALUE"
            f" SELECT {columns_sql(columns, 's')} FROM {name} AS s"
            f"{'' if table.deferrable else ' ON CONFLICT DO NOTHING'} RETURNING 1)"
        )
    return f"WITH {', '.join(parts)} SELECT {', '.join(f'(SELECT count(*) FROM x{i})' for i in range(len(parts)))}"


def set_back(catalog: Catalog, section: Section, table: Table, name: str) -> str:
    """Writes the old values where what the purge wrote is still there, and what they refer to is."""
    sets = table.pick(section.columns)[section.keys :]
    quoted = table.quoted
    old = {column.name: f"s.{_old(i)}" for i, column in enumerate(sets)}
    conditions = [_same_key(table), still_set(section, table)]
    for key in foreign_keys(catalog, table):
        if set(key.columns) & set(old):
            values = {column: old.get(column, f"t.{quoted[column]}") for column in key.columns}
            part = f"{in_part('t', key.part)} AND " if key.part else ""
            conditions.append(f"NOT ({part}{_absent(catalog, key, values, None)})")
    changes = ", ".join(f"{column.quoted} = {old[column.name]}" for column in sets)
    return f"UPDATE {table.sql} AS t SET {changes} FROM {name} AS s WHERE {' AND '.join(conditions)}"


def still_set(section: Section, table: Table) -> str:
    """The condition that `t` still holds what the purge wrote."""
    sets = table.pick(section.columns)[section.keys :]
    return " AND ".join(f"t.{c.quoted} IS NOT DISTINCT FROM s.{_new(i)}" for i, c in enumerate(sets))


def compare_set(section: Section, table: Table, name: str) -> str:
    """(rows that hold the old values already, rows that hold others, rows to write to), before it is written."""
    sets = table.pick(section.columns)[section.keys :]
    back = " AND ".join(f"t.{c.quoted} IS NOT DISTINCT FROM s.{_old(i)}" for i, c in enumerate(sets))
    still = still_set(section, table)
    return (
        f"SELECT count(*) FILTER (WHERE {back}), count(*) FILTER (WHERE NOT ({back}) AND NOT ({still})),"
        f" count(*) FILTER (WHERE NOT ({back}) AND {still})"
        f" FROM {name} AS s JOIN {table.sql} AS t ON {_same_key(table)}"
    )


def foreign_keys(catalog: Catalog, table: Table) -> list[ForeignKey]:
    """The keys that the server holds a table to, so that a row without its parent could not go in."""
    return [key for key in catalog.foreign_keys if key.child == table.oid and key.enforced and not key.temporal]


def _old(number: int) -> str:
    return f'"gaiaops old {number}"'


def _new(number: int) -> str:
    return f'"gaiaops new {number}"'


def _absent(catalog: Catalog, key: ForeignKey, values: Mapping[str, str], staged: str | None) -> str:
    """The condition that a foreign key's columns (expressions in `values`) refer to no row. NULLs refer to none."""
    parent = catalog.tables[key.parent]
    quoted = parent.quoted
    pairs = list(zip(key.columns, key.parent_columns, strict=True))
    present = [f"{values[column]} IS NOT NULL" for column, _ in pairs]
    sources = [parent.sql, *([staged] if staged else [])]
    for source in sources:
        same = " AND ".join(f"f.{quoted[wanted]} = {values[column]}" for column, wanted in pairs)
        present.append(f"NOT EXISTS (SELECT FROM {source} AS f WHERE {same})")
    return " AND ".join(present)


def _same_key(table: Table) -> str:
    return " AND ".join(f"t.{c.quoted} = s.{c.quoted}" for c in table.columns if c.name in table.key)
