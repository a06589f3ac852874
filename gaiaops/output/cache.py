"""Caches as text and as documents with stable field names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gaiaops.output.cells import label, safe, width
from gaiaops.output.report import size, table

_TTL_HEADS = (("none", "none"), ("under_1min", "<1m"), ("under_1h", "<1h"), ("under_1day", "<1d"), ("more", "more"))
_WIDE = 48  # of a value in a table of elements; longer ones get lines of their own


def ttl_text(milliseconds: int | None) -> str:
    """
    >>> ttl_text(-1), ttl_text(75_000), ttl_text(90_061_000), ttl_text(400), ttl_text(None)
    ('never expires', '1min 15s', '1d 1h', '0s', '?')
    """
    if milliseconds is None:
        return "?"
    if milliseconds < 0:
        return "never expires"
    seconds, parts = milliseconds // 1000, []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if seconds >= length:
            parts.append(f"{seconds // length}{unit}")
            seconds %= length
    return " ".join(parts[:2]) or "0s"


def percent(part: int, whole: int) -> str:
    """
    >>> percent(1, 3), percent(1, 1000), percent(0, 5), percent(999, 1000)
    ('33%', '<1%', '', '>99%')
    """
    if part == 0 or whole == 0:
        return ""
    share = 100 * part / whole
    if share < 1:
        return "<1%"
    return ">99%" if 99 < share < 100 else f"{share:.0f}%"


def summary_head(one: Mapping[str, Any]) -> str:
    """The line above the families."""
    version = f"Redis {one['server_version']}" if one["server_version"] else "Redis"
    role = "" if one["role"] in (None, "master") else ", a replica"
    keys = "" if one["keys"] is None else f", {one['keys']:,} keys"
    memory = ""
    if one["used_memory_bytes"] is not None:
        limit = f" of {size(one['max_memory_bytes'])}" if one["max_memory_bytes"] else ""
        memory = f", {size(one['used_memory_bytes'])}{limit} used ({one['policy']})"
    return safe(f"{one['environment']}: {version}{role}{keys}{memory}")


def families_text(groups: Sequence[Mapping[str, Any]], scanned: int) -> str:
    """The families, and the groups of keys that belong to none."""
    heads = ["family", "type", "keys", "share", "memory", "±", *(head for _, head in _TTL_HEADS)]
    rows = [heads, *(_family_row(group, scanned) for group in groups)]
    widths = [max(width(row[i]) for row in rows) for i in range(len(heads))]
    lines = []
    for row in rows:
        cells = [
            cell + " " * (w - width(cell)) if i < 2 else " " * (w - width(cell)) + cell
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" " + " ".join(cells).rstrip())
    lines.insert(1, "-" + "-".join("-" * w for w in widths))
    return "\n".join(lines)


def _family_row(group: Mapping[str, Any], scanned: int) -> list[str]:
    keys = group["keys"]
    types = list(group["types"])
    memory, error = group["memory_bytes"], group["memory_error_bytes"]
    cells = [label(group["family"]), types[0] if len(types) == 1 else "mixed" if types else "", f"{keys:,}"]
    cells += [percent(keys, scanned)]
    if not keys:
        return [*cells, *[""] * 7]
    exact = error == 0
    cells.append("?" if memory is None else f"{'' if exact else '~'}{size(memory)}")
    cells.append("" if not memory or exact else "?" if error is None else f"{_error(error, memory)}%")
    return [*cells, *(percent(group["ttl"][word], keys) if _known(group) else "?" for word, _ in _TTL_HEADS)]


def _known(group: Mapping[str, Any]) -> bool:
    return bool(group["ttl"]["unknown"] < group["keys"])


def _error(error: int, memory: int) -> str:
    share = 100 * error / memory
    return f"{share:.0f}" if share >= 1 else "<1"


def key_line(one: Mapping[str, Any]) -> str:
    """A key of `keys --long`: type, time to live, memory, name."""
    memory = "?" if one["memory_bytes"] is None else size(one["memory_bytes"])
    return f"{one['type'] or '?':<8}{_ttl(one):>14}  {memory:>9}  {label(one['key'])}"


def _ttl(one: Mapping[str, Any]) -> str:
    return "never expires" if one["ttl_s"] is None and one["ttl_known"] else ttl_text(_milliseconds(one["ttl_s"]))


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def entry_text(one: Mapping[str, Any]) -> Iterator[str]:
    """A key with its value, line by line."""
    encoding = f" ({one['encoding']})" if one["encoding"] else ""
    yield f"key      {label(one['key'])}"
    yield f"type     {label(one['type'])}{encoding}"
    yield f"expires  {_expires(one)}"
    if one["memory_bytes"] is not None:
        yield f"memory   {size(one['memory_bytes'])}"
    if one["length"] is not None:
        what = "byte" if one["type"] == "string" else "element"
        yield f"length   {one['length']:,} {what}{'' if one['length'] == 1 else 's'}"
    if one["idle_s"] is not None:
        yield f"idle     {ttl_text(1000 * one['idle_s'])}"
    yield ""
    yield from _value(one)


def _expires(one: Mapping[str, Any]) -> str:
    text = _ttl(one)
    return {"never expires": "never", "?": "not known"}.get(text, f"in {text}")


def _value(one: Mapping[str, Any]) -> Iterator[str]:
    import json

    kind, value = one["type"], one["value"]
    if value is None:
        yield f"(a value of type {label(kind)} cannot be shown)"
    elif kind == "string":
        if value.lstrip()[:1] in ("{", "["):
            with suppress(ValueError, RecursionError):  # cut, or no JSON after all
                value = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
        yield safe(value)
    elif kind == "stream":
        for item in value:
            yield f"{item['id']}"
            yield from (f"  {label(name)}: {label(text)}" for name, text in item["fields"])
    elif kind in ("hash", "zset"):
        yield from _pairs(value, ("field", "value") if kind == "hash" else ("member", "score"))
    else:
        start = len(str(len(value)))
        yield from (f"{i:>{start}}  {label(text)}" if kind == "list" else label(text) for i, text in enumerate(value))


def _pairs(pairs: Sequence[Sequence[str]], heads: tuple[str, str]) -> Iterator[str]:
    """A table where all is short, else a line for each."""
    if all(len(one) <= _WIDE and len(other) <= _WIDE for one, other in pairs):
        yield table(heads, [(label(one), label(other)) for one, other in pairs])
    else:
        yield from (f"{label(one)}: {label(other)}" for one, other in pairs)


def sample_text(sample: Sequence[Mapping[str, Any]], total: int) -> str:
    """What an invalidation is about to remove."""
    rows = [(label(one["key"]), _ttl(one)) for one in sample]
    text = table(["key", "expires in"], rows, right=[1])
    return text + (f"\n … and {total - len(sample):,} more" if total > len(sample) else "")
