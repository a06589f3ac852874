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
_INT2VECTOR, _OIDVECTOR = 22, 30  # arrays to row_to_json, numbers with blanks between in text
# Array types by the type of their elements (pg_type.typarray), which matters only for these:
_ARRAYS = {
    1000: 16, 199: 114, 3807: 3802, 1115: 1114, 1185: 1184, 1016: 20, 1005: 21, 1007: 23, 1021: 700, 1022: 701,
    1231: 1700, 1006: _INT2VECTOR, 1013: _OIDVECTOR,
}  # fmt: skip
_ARRAYS |= dict.fromkeys(  # and the other built-in ones, whose elements become strings
    (
        143, 271, 629, 651, 719, 775, 791, 1001, 1002, 1003, 1008, 1009, 1010, 1011, 1012, 1014, 1015, 1017, 1018,
        1019, 1027, 1028, 1034, 1040, 1041, 1182, 1183, 1187, 1263, 1270, 1561, 1563, 2201, 2207, 2208, 2209, 2210,
        2211, 2287, 2949, 2951, 3221, 3643, 3644, 3645, 3735, 3770, 3905, 3907, 3909, 3911, 3913, 3927, 4073, 4090,
        4097, 4192, 5039, 6150, 6151, 6152, 6153, 6155, 6157,
    ),
    25,
)  # fmt: skip
_BOX_ARRAY = 1020  # the one type whose elements have a semicolon between (pg_type.typdelim)
_LISTS = {*_ARRAYS, _INT2VECTOR, _OIDVECTOR, _BOX_ARRAY}
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ARRAY_TOKEN = re.compile(r'[{},]|"(?:[^"\\]|\\.)*"|[^{},"]+', re.DOTALL)
_BOX_TOKEN = re.compile(r"[{};]|[^{};]+")
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
    if oid in _LISTS:
        return _list(text, oid)
    return _encode(text)


def _iso(text: str) -> str:
    iso = text.replace(" ", "T", 1) if text[:1].isdigit() else text
    return re.sub(r"(T.*[+-]\d\d)(?= BC$|$)", r"\1:00", iso)


def _list(text: str, oid: int) -> bytes:
    """An array's or a vector's text as a JSON array; bounds, as in [0:1]={1,2}, are left out."""
    if oid == _INT2VECTOR:
        return b"[" + text.replace(" ", ",").encode() + b"]"
    if oid == _OIDVECTOR:
        return _encode(text.split())
    if oid == _BOX_ARRAY:
        return _array(["," if part == ";" else part for part in _BOX_TOKEN.findall(text, text.index("{"))], 603)
    return _array(_ARRAY_TOKEN.findall(text, text.index("{")), _ARRAYS[oid])


def _array(tokens: Sequence[str], oid: int) -> bytes:
    """An array's text output (manual 8.15.6), in tokens, as a JSON array; nested ones likewise."""
    pieces: list[bytes] = []
    for piece in tokens:
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
