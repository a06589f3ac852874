"""Hides secrets in cached values: by the names of fields, and by what looks like one. Pure.

It masks too much rather than too little: what a value is called decides, and a text that is cut, or is no JSON, is
searched for what a secret looks like. It cannot know every secret: a word without a name beside it stays.
"""

from __future__ import annotations

import json
import re
from typing import Any

MASK = "***"
_WORDS = frozenset(
    re.findall(
        r"\w+",
        "token tokens secret secrets password passwords passwd passphrase pwd pass key keys apikey apikeys"
        " authorization auth bearer cookie cookies jwt jwts credential credentials signature otp totp pin hash"
        " salt session sessionid sid csrf xsrf nonce private dsn",
    )
)
# Names that hold a word of the above, and count or describe.
_HARMLESS_LAST = frozenset(
    {"type", "at", "count", "used", "limit", "expires", "expiry", "expiration", "exp", "in", "ttl", "length", "size"}
)
# Secrets only as what names one: session_id and session, not session_started or auth_method, or what is in a session.
_SOFT = frozenset({"session", "sessions", "auth"})
_NAMES_ONE = frozenset({*_SOFT, "id", "key", "value", "code", "hash"})
_COUNTED = frozenset({"tokens", "keys", "pass", "passwords", "sessions", "cookies"})  # numbers of them are no secrets
_SENSITIVE_KEY = re.compile(r"auth|token|secret|session|jwt|api_?key|password|credential|cookie|oauth|otp", re.I)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]?[\d:.,+Z-]*")
_NAME = re.compile(
    r"token|secret|passw(?:or)?d|passphrase|pwd|api[_-]?key|authorization|cookie|jwt|credential|signature"
    r"|private[_-]?key|session[_-]?id|csrf|(?<![a-z])(?:otp|key)",
    re.I,
)
# A name with what stands between it and its value, and what the value is: "token": "…", whole or cut; the same in JSON
# that is a text in JSON; token=…, token: …. Names are found first and values from there, so that no value hides a name.
_NAMED: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"[\"']([\w. -]+)[\"']\s*[:=]>?\s*\""), re.compile(r"(?:\\.|[^\"\\])*\\?", re.S)),
    (re.compile(r"[\"']([\w. -]+)[\"']\s*[:=]>?\s*'"), re.compile(r"(?:\\.|[^'\\])*\\?", re.S)),
    (re.compile(r"\\\"([\w. -]+)\\\"\s*:\s*\\\""), re.compile(r"(?:(?!\\\").)*", re.S)),
    (re.compile(r"(?<![\w.-])([\w.-]+)\s*[=:]\s*"), re.compile(r"[^\s&;,\"'{}\[\]]*")),
)
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A PEM block, whole or cut.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), MASK),
    # Authorization: Bearer …, Cookie: a=…; b=…
    (re.compile(r"(?i)\b(authorization|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n\"']+"), rf"\1\2{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{6,}"), rf"\1\2{MASK}"),
    # scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]{0,200}:)[^\s/]+@"), rf"\1{MASK}@"),
    # A JSON Web Token (base64url of {" begins with eyJ), whole or cut.
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}"), MASK),
    # Keys that services give a prefix: Stripe, OpenAI, GitHub, Slack, AWS, Supabase, Google.
    (re.compile(r"\b(?:[sprw]k[-_](?:live|test|proj|ant)?[-_]?\w{12,}[\w-]*|gh[pousr]_\w{16,}|github_pat_\w{16,}"
                r"|xox[abeoprs]-[\w-]{8,}|A[KS]IA[0-9A-Z]{12,}|sb[ps]?_\w{12,}|AIza[\w-]{20,}|ya29\.[\w-]{10,}"
                r"|glpat-[\w-]{12,})"), MASK),
    # Long hexadecimal: a digest or a random token; a UUID has hyphens and is none.
    (re.compile(r"(?<![0-9a-fA-F-])[0-9a-fA-F]{32,}(?![0-9a-fA-F-])"), MASK),
    # Long base64 with capitals, small letters and digits.
    (re.compile(r"(?<![\w+/=-])(?=[\w+/-]*[a-z])(?=[\w+/-]*[A-Z])(?=[\w+/-]*\d)[\w+-]{32,}={0,2}(?![\w+/=-])"), MASK),
)  # fmt: skip


def is_secret_name(name: str, value: object = "") -> bool:
    """Whether a field of this name holds a secret; a number under `tokens_used` is none.

    >>> is_secret_name("refreshToken"), is_secret_name("tokens_used", 12), is_secret_name("monkey")
    (True, False, False)
    """
    words = [word for word in re.split(r"[^a-z0-9]+", _CAMEL.sub("_", name).lower()) if word]
    found = [word for word in words if word in _WORDS or word.rstrip("0123456789") in _WORDS]
    if not found and not any(part in "".join(words) for part in ("password", "secret", "apikey", "accesstoken")):
        return False
    if value is None or isinstance(value, bool):
        return False
    if found and set(found) <= _SOFT and (isinstance(value, dict | list) or words[-1] not in _NAMES_ONE):
        return False
    described = words[-1] in _HARMLESS_LAST
    number = isinstance(value, int | float)
    if number:
        return not (described or set(found) & _COUNTED)
    text = value if isinstance(value, str) else ""
    if described and text:
        return not (_DATE.fullmatch(text) or text.isdigit() or (text.isalpha() and len(text) <= 16))
    return True


def is_secret_key(key: str) -> bool:
    """Whether a Redis key's plain values are secrets as they are.

    >>> is_secret_key("gaia:auth:jwt:v1:ab"), is_secret_key("persona:7")
    (True, False)
    """
    return bool(_SENSITIVE_KEY.search(key))


def mask_text(text: str) -> str:
    """A text with what looks like a secret hidden.

    >>> mask_text("Authorization: Bearer abcdef123")
    'Authorization: ***'
    """
    for pattern, put in _TEXTS:
        text = pattern.sub(put, text)
    for head, value in _NAMED:
        text = _mask_named(text, head, value)
    return text


def _mask_named(text: str, head: re.Pattern[str], value: re.Pattern[str]) -> str:
    """Hides the values of secret names, each found by its head."""
    parts, at = [], 0
    for found in head.finditer(text):
        if found.end() < at or not _NAME.search(found[1]):
            continue
        held = value.match(text, found.end())
        if held and held[0] and not held[0].startswith(MASK):
            parts += [text[at : found.end()], MASK]
            at = held.end()
    return "".join([*parts, text[at:]]) if parts else text


def mask_json(value: Any) -> Any:
    """A JSON value with the secrets in it hidden, also in JSON that is written as a text in it.

    >>> mask_json({"id": 7, "apiKey": "abc", "at": ["x"]})
    {'id': 7, 'apiKey': '***', 'at': ['x']}
    """
    if isinstance(value, dict):
        return {mask_text(name): mask_field(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [mask_json(inner) for inner in value]
    return mask_value(value) if isinstance(value, str) else value


def mask_field(name: str, value: Any) -> Any:
    """The value of a field, hidden where its name says so, else searched.

    >>> mask_field("password", "x"), mask_field("note", "x")
    ('***', 'x')
    """
    if is_secret_name(name, value) and value not in ("", [], {}):
        return MASK
    return mask_json(value)


def mask_value(text: str, *, name: str = "", secret: bool = False) -> str:
    """A value that may be JSON, hidden where it must be: `name` is its field's; `secret` is whether a plain one, by
    its Redis key, is a secret as it is.

    >>> mask_value('{"token":"a","n":1}'), mask_value("abc", secret=True)
    ('{"token":"***","n":1}', '***')
    """
    if name and is_secret_name(name, text) and text:
        return MASK
    if text.lstrip()[:1] in ("{", "["):
        try:
            parsed = json.loads(text, object_pairs_hook=_fields)
            safe = mask_json(parsed)
            return text if safe == parsed else json.dumps(safe, ensure_ascii=False, separators=(",", ":"))
        except ValueError:
            return MASK if secret else mask_text(text)
        except RecursionError:
            return MASK
    return MASK if secret and text else mask_text(text)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError where a name comes twice: one value would hide the other from us."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError
    return fields
