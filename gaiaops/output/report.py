"""Small reports: tables by tabulate, sizes and times in words, one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gaiaops.output.cells import safe

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP = 1024


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """A table in the look of `query`; `right` are the columns to align right.

    >>> print(table(["a", "b"], [["x", 1]], right=[1]))
     a | b
    ---+---
     x | 1
    """
    import tabulate

    tabulate.MIN_PADDING = 0  # headers would get two blanks more than query's tables give them
    align = ["right" if i in right else "left" for i in range(len(headers))]
    cells = [[safe(str(cell)) for cell in row] for row in rows]
    aligned = align if rows else None
    text = tabulate.tabulate(cells, headers, tablefmt="presto", colalign=aligned, disable_numparse=True)
    return "\n".join(line.rstrip() for line in text.splitlines())


def size(number: int) -> str:
    """Bytes as pg_size_pretty writes them, to three digits.

    >>> size(512), size(20_000), size(5 << 30)
    ('512 B', '19.5 kB', '5.0 GB')
    """
    value, unit = float(number), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{number} B" if unit == 0 else f"{value:.{0 if value >= 100 else 1}f} {_UNITS[unit]}"


def latency(milliseconds: float) -> str:
    """
    >>> latency(0.21), latency(12.4), latency(2500)
    ('0.2 ms', '12 ms', '2.5 s')
    """
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.{1 if milliseconds < 10 else 0}f} ms"


def document(value: object) -> str:
    """One JSON document for programs."""
    return json.dumps(value, indent=2, ensure_ascii=False)
