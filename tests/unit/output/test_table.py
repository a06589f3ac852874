"""The aligned table: however the rows come in blocks, a file's table is the same, and it is tabulate's."""

from __future__ import annotations

import io

import tabulate
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.output.cells import width
from gaiaops.output.table import TableWriter
from gaiaops.postgres.wire import Column, text_cell

TEXT, INT = 25, 23
CELLS = st.one_of(
    st.none(),
    st.integers(-(10**6), 10**6).map(str),
    st.text(st.sampled_from("aé漢 \t\n\\|"), max_size=6),
    st.text("ab ", max_size=30),
)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=12)
COLUMNS = st.lists(st.sampled_from([TEXT, INT]), min_size=3, max_size=3)


def written(rows: list[tuple[str | None, ...]], oids: list[int], sizes: list[int], *, exact: bool = True) -> str:
    """The table of rows that come in blocks of these sizes."""
    out = io.BytesIO()
    writer = TableWriter(out, exact=exact)
    writer.begin([Column(f"column {i}", oid) for i, oid in enumerate(oids)])
    lines = [("\t".join(map(text_cell, row)) + "\n").encode() for row in rows]
    for size in [*sizes, len(lines)]:
        if lines[:size]:
            writer.block(lines[:size])
        lines = lines[size:]
    writer.end()
    return out.getvalue().decode()


@given(ROWS, COLUMNS, st.lists(st.integers(1, 4), max_size=12))
def test_blocks_do_not_show_in_a_file(rows: list[tuple[str | None, ...]], oids: list[int], sizes: list[int]) -> None:
    assert written(rows, oids, sizes) == written(rows, oids, [])


@given(ROWS, COLUMNS, st.lists(st.integers(1, 4), max_size=12))
def test_every_row_is_one_line_and_a_files_rules_stand_above_each_other(
    rows: list[tuple[str | None, ...]], oids: list[int], sizes: list[int]
) -> None:
    assert len(written(rows, oids, sizes, exact=False).splitlines()) == len(rows) + 2
    lines = written(rows, oids, sizes).splitlines()
    edge = len(lines[1].rpartition("+")[0])
    for line in lines[:1] + lines[2:]:
        at = [i for i, char in enumerate(line) if char == "|" and width(line[:i]) == edge]
        assert at, line


@given(
    st.lists(
        st.tuples(*[st.text("abc |", min_size=1, max_size=9).map(str.strip).filter(bool)] * 3), min_size=1, max_size=9
    )
)
def test_it_looks_as_tabulate_does(rows: list[tuple[str, ...]]) -> None:
    names = ["column 0", "column 1", "column 2"]
    tabulate.MIN_PADDING = 0
    theirs = tabulate.tabulate(
        rows, names, tablefmt="presto", colalign=["left", "left", "right"], disable_numparse=True
    )
    mine = written([*rows], [TEXT, TEXT, INT], [2])
    assert [line.rstrip() for line in mine.splitlines()] == [line.rstrip() for line in theirs.splitlines()]
