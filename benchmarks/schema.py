"""`schema diff` of two schemas of 1,000 tables of realistic width, with keys, indexes, foreign keys, defaults and
checks; in the note, what two pg_dump and diff take for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.harness import Figure, Platform, Sample, alternate, run

TABLES = 1_000
ROUNDS = 3
# Fourteen columns, a serial key, a foreign key to the table before, two checks, three indexes, one of them partial.
_TABLES = f"""
DO $$
BEGIN
    FOR i IN 1..{TABLES} LOOP
        EXECUTE format('CREATE TABLE t_%s (
            id bigserial PRIMARY KEY, parent_id bigint%s, owner_id uuid NOT NULL DEFAULT gen_random_uuid(),
            code varchar(64) NOT NULL UNIQUE, title varchar(255) NOT NULL, body text, state text DEFAULT ''new'',
            price numeric(12, 2) DEFAULT 0 CHECK (price >= 0), tags text[], details jsonb DEFAULT ''{{}}'',
            is_active boolean NOT NULL DEFAULT true, score double precision, created_at timestamptz DEFAULT now(),
            updated_at timestamp, CHECK (updated_at IS NULL OR state <> ''new''))',
            i, CASE WHEN i > 1 THEN format(' REFERENCES t_%s ON DELETE CASCADE', i - 1) END);
        EXECUTE format('CREATE INDEX ON t_%s (parent_id)', i);
        EXECUTE format('CREATE INDEX ON t_%s (lower(title)) WHERE is_active', i);
        EXECUTE format('CREATE INDEX ON t_%s USING gin (details)', i);
        IF i % 10 = 0 THEN
            EXECUTE format('CREATE VIEW v_%s AS SELECT id, title, price * 2 AS twice FROM t_%s WHERE is_active', i, i);
        END IF;
        COMMIT;
    END LOOP;
END $$
"""
_CHANGES = (
    "ALTER TABLE t_501 ALTER code TYPE text",
    "DROP INDEX t_600_lower_idx",
    "ALTER TABLE t_700 ALTER price SET DEFAULT 1",
)


def figures(where: Platform) -> Iterator[Figure]:
    server = where.url.rpartition("/")[0]
    folder = where.folder / "schema"
    folder.mkdir()
    names = ("schema_left", "schema_right")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        try:
            connection.execute("CREATE DATABASE schema_left")
            with psycopg.connect(f"{server}/schema_left", autocommit=True) as left:
                left.execute(_TABLES.encode())
            connection.execute("CREATE DATABASE schema_right TEMPLATE schema_left STRATEGY file_copy")
            with psycopg.connect(f"{server}/schema_right", autocommit=True) as right:
                for change in _CHANGES:
                    right.execute(change.encode())
            yield _measured(where, folder, [f"{server}/{name}" for name in names])
        finally:
            for name in names:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            shutil.rmtree(folder)


def _measured(where: Platform, folder: Path, urls: list[str]) -> Figure:
    registry, report = folder / "environments.toml", folder / "report.json"
    registry.write_text(
        "".join(f'[environments.{name}]\npostgres = "{url}"\n' for name, url in zip("ab", urls, strict=True)), "utf-8"
    )
    program = where.gaiaops("schema", "diff", "a", "b", "--json")
    program[program.index("--registry") + 1] = str(registry)
    dump = Path(where.psql).with_name("pg_dump")

    def ours() -> Sample:  # 7 is the answer: they differ
        return run(["bash", "-c", '"$@"; [ $? = 7 ]', "bash", *program], report)

    def peer() -> Sample:
        dumps = " & ".join(f"{dump} -s '{url}' > {folder}/{i}.sql" for i, url in enumerate(urls))
        return run(["bash", "-c", f"{dumps} & wait; diff {folder}/0.sql {folder}/1.sql; [ $? = 1 ]"])

    mine, theirs = alternate(ours, peer, ROUNDS)
    found = len(json.loads(report.read_bytes())["differences"])
    assert found == len(_CHANGES), subprocess.list2cmdline(program)
    note = f"CPU {mine.cpu:.2f} s; {found} differences; two pg_dump -s and diff: {theirs.wall:.2f} s"
    return Figure(f"schema diff, {TABLES:,} tables", mine.wall, 5, "s", mine.peak, note)
