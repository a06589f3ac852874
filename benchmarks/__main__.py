"""`python -m benchmarks [NAME …]`: one line a figure; exit 0 whatever they are, a noisy machine is no error."""

from __future__ import annotations

import importlib
import sys

from benchmarks.platform import platform

# name → whether it needs the large tables
FIGURES = {
    "help_text": False,
    "select_one": False,
    "query_all": False,
    "first_row": True,
    "bulk_csv": True,
    "bulk_table": True,
    "bulk_jsonl": True,
    "purge": False,  # it fills a database of its own
    "audit": False,  # the same
    "health": False,
    "activity": False,
    "schema": False,
    "cache": False,
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(FIGURES)
    if unknown:
        print(f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    chosen = [name for name in FIGURES if not names or name in names]
    with platform(large=any(FIGURES[name] for name in chosen), pgcli="select_one" in chosen) as where:
        for name in chosen:
            for figure in importlib.import_module(f"benchmarks.{name}").figures(where):
                print(figure.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
