"""Format names and the writers behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from gaiaops.output.writers import Writer

if TYPE_CHECKING:
    from gaiaops.postgres.wire import Wire

FOR_PEOPLE = ("table", "vertical")


def wire_of(name: str) -> Wire:
    """The encoding that a format takes its rows in."""
    from gaiaops.postgres.wire import Wire

    return {"csv": Wire.CSV, "json": Wire.JSON, "jsonl": Wire.JSON}.get(name, Wire.TEXT)


def writer(name: str, out: BinaryIO, *, to_file: bool) -> Writer:
    """The writer of a format; `to_file` means that nobody watches the first row arrive."""
    from gaiaops.output import writers

    if name == "table":
        from gaiaops.output import table

        return table.TableWriter(out, exact=to_file)
    if name in ("vertical", "markdown", "html"):
        from gaiaops.output import markup

        kinds = {"vertical": markup.VerticalWriter, "markdown": markup.MarkdownWriter, "html": markup.HtmlWriter}
        return kinds[name](out)
    if name == "json":
        return writers.JsonWriter(out)
    return writers.LinesWriter(out, wire_of(name))
