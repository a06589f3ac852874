"""Every format against every kind of result, by each way a result takes, next to oracles that are not ours.

A run of `query -f` answers all cases at once, a known result between any two of them, so that a case costs no
process of its own.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.conftest import GAIAOPS, Sandbox, clean_variables, registry_for

from .format_cases import CASES, DEFINITIONS, SUBQUERIES
from .format_oracles import (
    Expected,
    ask,
    loads,
    read_csv,
    read_html,
    read_markdown,
    read_tsv,
    spelled,
    table,
    vertical,
)

FORMATS = ("table", "vertical", "csv", "tsv", "json", "jsonl", "markdown", "html")
FENCE = "SELECT 'fence' AS fence"
# Without row_to_json the server's word for these is text only: an object or an array of the user's own types.
BY_WRITE_ONLY_TEXT = {"own types", "a column like our alias", "a row like our alias"}


@pytest.fixture(scope="module")
def database(sandbox: Sandbox) -> Iterator[str]:
    """A clone of dev with types of its own."""
    name = f"formats_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(sandbox.url("dev").rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_dev")
        url = sandbox.state.postgres_url(name)
        with psycopg.connect(url) as inside:
            inside.execute(DEFINITIONS)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class Run:
    """What a command gave, and the folder it ran in."""

    code: int
    out: str
    err: str
    folder: Path

    def read(self, name: str) -> str:
        return (self.folder / name).read_bytes().decode()


Query = Callable[..., Run]
Expecting = Callable[[str], Expected | None]


@pytest.fixture(scope="module")
def query(database: str) -> Iterator[Query]:
    """`gaiaops query dev …` in a folder of its own, with bytes kept as they are."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        registry = registry_for(folder, dev=database)

        def run(*arguments: str, stdin: str = "") -> Run:
            done = subprocess.run(
                [*GAIAOPS, "--registry", str(registry), "query", "dev", *arguments],
                check=False,
                input=stdin.encode(),
                capture_output=True,
                timeout=120,
                cwd=folder,
                env=clean_variables(folder),
            )
            return Run(done.returncode, done.stdout.decode(), done.stderr.decode(), folder)

        yield run


@pytest.fixture(scope="module")
def expected(database: str) -> Expecting:
    """A statement's result by psycopg."""
    connection = psycopg.connect(database, autocommit=True)

    @functools.cache
    def of(sql: str) -> Expected | None:
        return ask(connection, sql)

    return of


def _all_at_once(query: Query, cases: dict[str, str], fmt: str, *options: str) -> dict[str, str]:
    """What each case came out as."""
    fence = query(FENCE, "--format", fmt).out
    script = f"\n;\n{FENCE};\n".join(cases.values())
    # To a file, where a table is aligned over all its rows.
    run = query("-f", "-", "--format", fmt, "-o", "all", *options, stdin=script)
    assert run.code == 0, run.err
    pieces = run.read("all").split(fence)
    assert len(pieces) == len(cases)
    return dict(zip(cases, pieces, strict=True))


def check(text: str, fmt: str, wanted: Expected | None) -> None:
    """The whole of a result in a format, against what it has to be."""
    if wanted is None:
        assert text == ""
        return
    names, rows = list(wanted.names), [list(row) for row in wanted.rows]
    if fmt == "csv":
        found = read_csv(text)
        assert found == ([names, *rows] if names else [[None]] * (1 + len(rows)))
    elif fmt == "tsv":
        assert read_tsv(text) == ([names, *rows] if names else [[""]] * (1 + len(rows)))
    elif fmt in ("json", "jsonl"):
        lines = text.split("\n")[1:-2] if fmt == "json" else text.split("\n")[:-1]
        assert list(loads(text) if fmt == "json" else map(loads, lines)) == list(wanted.objects)
        assert len(lines) == (len(wanted.rows) if text != "[]\n" else 0), "one line a row"
    elif fmt == "markdown":
        first, rule, *found = text.split("\n")[:-1]
        shown = [[None if cell is None else spelled(cell.replace("\t", " ")) for cell in row] for row in rows]
        heads = [spelled(name.replace("\t", " ")) for name in names]
        assert read_markdown(first + "\n") == [heads or [""]]
        assert rule.count("---") == len(names)
        assert (read_markdown("\n".join([*found, ""])) if found else []) == (shown if names else [[""]] * len(rows))
    elif fmt == "html":
        assert read_html(text) == [names, *rows]
    else:
        assert text == (table(wanted) if fmt == "table" else vertical(wanted))


Known = Callable[[dict[str, str]], dict[str, str]]


@pytest.fixture(scope="module")
def known(sandbox: Sandbox) -> Known:
    """The cases whose values the server has: multiranges and infinite numerics came with 14."""
    with psycopg.connect(sandbox.url("dev")) as connection:
        lacking = ("multirange", "'Infinity'::numeric") if connection.info.server_version < 140_000 else ()
    return lambda cases: {name: sql for name, sql in cases.items() if not any(one in sql for one in lacking)}


def check_all(found: dict[str, str], cases: dict[str, str], fmt: str, expected: Expecting) -> None:
    """Every case, so that one failure does not hide the others."""
    wrong = {}
    for case, sql in cases.items():
        try:
            check(found[case], fmt, expected(sql))
        except (AssertionError, ValueError) as error:
            wrong[case] = f"{type(error).__name__}: {error}"[:2000]
    assert not wrong, "\n\n".join(f"{case}: {error}" for case, error in wrong.items())


@pytest.mark.parametrize("fmt", FORMATS)
def test_by_copy(fmt: str, query: Query, expected: Expecting, known: Known) -> None:
    """The usual way: encoded by the server where it can be wrapped into COPY."""
    cases = known(CASES)
    check_all(_all_at_once(query, cases, fmt), cases, fmt, expected)


@pytest.mark.first(3)
@pytest.mark.parametrize("fmt", FORMATS)
def test_by_parameter(fmt: str, query: Query, expected: Expecting, known: Known) -> None:
    """With a parameter, which COPY takes none of."""
    plain = known(SUBQUERIES)
    cases = {name: f"SELECT q.* FROM (\n{sql}\n) AS q WHERE :keep = 'yes'" for name, sql in plain.items()}
    check_all(_all_at_once(query, cases, fmt, "-p", "keep=yes"), plain, fmt, expected)


@pytest.mark.first(3)
@pytest.mark.parametrize("fmt", FORMATS)
def test_by_write(fmt: str, query: Query, expected: Expecting, known: Known) -> None:
    """In a writing run nothing is wrapped: rows are encoded here."""
    cases = known(CASES)
    found = _all_at_once(query, cases, fmt, "--write")
    only_text = BY_WRITE_ONLY_TEXT if fmt in ("json", "jsonl") else set()
    check_all(found, {name: sql for name, sql in cases.items() if name not in only_text}, fmt, expected)
    for case in only_text:
        rows = loads(found[case]) if fmt == "json" else map(loads, found[case].split("\n")[:-1])
        wanted = expected(CASES[case])
        assert wanted is not None
        assert [[key for key, _ in row] for row in rows] == [[key for key, _ in row] for row in wanted.objects]
