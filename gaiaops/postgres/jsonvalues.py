"""Text output of PostgreSQL into JSON, for results the server cannot wrap into row_to_json. Pure.

The rules are row_to_json's (manual 9.16, to_json): numbers and booleans as such, json as it is, timestamps in
ISO 8601, arrays as arrays, everything else as a string; what JSON has no number for (NaN, Infinity) as a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gaiaops.postgres.wire import Column

_BOOL, _JSON, _TIMESTAMPS = 16, {114, 3802}, {1114, 1184}
_NUMBERS = {20, 21, 23, 700, 701, 1700}
_ARRAYS = {
    1000: 16, 199: 114, 3807: 3802, 1115: 1114, 1185: 1184, 1016: 20, 1005: 21, 1007: 23, 1021: 700, 1022: 701,
    1231: 1700, 1001: 17, 1002: 18, 1003: 19, 1009: 25, 1014: 1042, 1015: 1043, 1028: 26, 1041: 869, 651: 650,
    1182: 1082, 1183: 1083, 1187: 1186, 1270: 1266, 2951: 2950, 2211: 2210, 2287: 2249,
}  # fmt: skip
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ARRAY_TOKEN = re.compile(r'[{},]|"(?:[^"\\]|\\.)*"|[^{},"]+', re.DOTALL)
_encode = msgspec.json.encode


def json_value(text: str, oid: int) -> bytes:
    """One value as JSON.

    >>> json_value("t", 16), json_value("NaN", 701), json_value('{1,NULL,3}', 1007)
    (b'true', b'"NaN"', b'[1,null,3]')
    """
    if oid == _BOOL:
        return b"true" if text == "t" else b"false"
    if oid in _NUMBERS and _JSON_NUMBER.fullmatch(text):
        return text.encode()
    if oid in _JSON:
        return text.replace("\n", " ").replace("\r", " ").encode()
    if oid in _TIMESTAMPS:
        return _encode(_iso(text))
    if oid in _ARRAYS:
        return _array(text[text.index("{") :], _ARRAYS[oid])  # bounds, as in [0:1]={1,2}, are left out
    return _encode(text)


def _iso(text: str) -> str:
    iso = text.replace(" ", "T", 1) if text[:1].isdigit() else text
    return re.sub(r"(T.*[+-]\d\d)(?= BC$|$)", r"\1:00", iso)


def _array(text: str, oid: int) -> bytes:
    """An array's text output (manual 8.15.6) as a JSON array; nested ones likewise."""
    pieces: list[bytes] = []
    for piece in _ARRAY_TOKEN.findall(text):
        if piece == "{":
            pieces.append(b"[")
        elif piece == "}":
            pieces.append(b"]")
        elif piece == ",":
            pieces.append(b",")
        elif piece.startswith('"'):
            pieces.append(json_value(re.sub(r"\\(.)", r"\1", piece[1:-1], flags=re.DOTALL), oid))
        else:
            pieces.append(b"null" if piece == "NULL" else json_value(piece, oid))
    return b"".join(pieces)


def json_encoder(columns: Sequence[Column]) -> Callable[[Sequence[bytes | None]], bytes]:
    """A function from one row's values to one JSON object on a line; repeated names get a number."""
    from gaiaops.postgres.wire import unique_names

    keys = [_encode(name) + b":" for name in unique_names(column.name for column in columns)]
    oids = [column.oid for column in columns]

    def encode(values: Sequence[bytes | None]) -> bytes:
        pairs = (
            key + (b"null" if value is None else json_value(value.decode("utf-8", "replace"), oid))
            for key, oid, value in zip(keys, oids, values, strict=True)
        )
        return b"{" + b",".join(pairs) + b"}\n"

    return encode
