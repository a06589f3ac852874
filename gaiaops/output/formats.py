"""Format names and the writers behind them."""

from __future__ import annotations

from typing import BinaryIO

from gaiaops.output.writers import Writer

FORMATS = ("table", "vertical", "csv", "tsv", "json", "jsonl", "markdown", "html")
FOR_PEOPLE = ("table", "vertical")


def writer(name: str, out: BinaryIO, *, to_file: bool) -> Writer:
    """The writer of a format; `to_file` means that nobody watches the first row arrive."""
    from gaiaops.output import markup, table, writers
    from gaiaops.postgres.wire import Wire

    if name == "table":
        return table.TableWriter(out, exact=to_file)
    if name == "vertical":
        return markup.VerticalWriter(out)
    if name == "markdown":
        return markup.MarkdownWriter(out)
    if name == "html":
        return markup.HtmlWriter(out)
    if name == "json":
        return writers.JsonWriter(out)
    return writers.LinesWriter(out, {"csv": Wire.CSV, "tsv": Wire.TEXT, "jsonl": Wire.JSON}[name])
