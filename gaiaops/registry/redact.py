"""Hides a registry's secrets in a text of which nobody knows what it holds, such as the message of a bug."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from gaiaops.registry.model import Registry
from gaiaops.registry.settings import Setting
from gaiaops.registry.urls import MASK, POSTGRES_SCHEMES, REDIS_SCHEMES, parse_url

_VARIABLES = ("PGPASSWORD", "REDISCLI_AUTH")


def secrets(registry: Registry | None, variables: Mapping[str, str]) -> set[str]:
    """What nobody may see, as far as it is known: of the registry, and of the variables that libpq reads."""
    found = {variables[name] for name in _VARIABLES if variables.get(name)}
    if registry is not None:
        for setting in _connections(registry):
            found |= set(_of_url(setting.known()))
        if registry.supabase is not None:
            found.add(registry.supabase.service_key.known())
    return found - {""}


def _connections(registry: Registry) -> Iterator[Setting]:
    for database in registry.databases:
        if database.postgres is not None:
            yield database.postgres
        yield from (replica.setting for replica in database.replicas)
    yield from (env.redis for env in registry.environments if env.redis is not None)
    if registry.supabase is not None and registry.supabase.database is not None:
        yield registry.supabase.database


def _of_url(text: str) -> Iterable[str]:
    try:
        return parse_url(text, (*POSTGRES_SCHEMES, *REDIS_SCHEMES)).secrets()
    except ValueError:  # which part is the secret is not known
        return (text,)


def hide(text: str, hidden: Iterable[str]) -> str:
    r"""The text without the secrets: as they are, and as URLs, Python, JSON and HTTP's Basic write them.

    >>> hide("a b / a%20b / YSBi / 'x'", {"a b", "x"})
    "*** / *** / *** / '***'"
    """
    forms = {form for secret in hidden for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    yield from (secret, quote(raw), quote(raw, safe=""), quote_plus(raw))
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1])
    yield from (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())


def traceback_of(error: BaseException, hidden: Iterable[str]) -> str:
    """The traceback, with secrets hidden in what the errors say; files and lines of code hold none."""
    hidden = set(hidden)
    chunks = traceback.TracebackException.from_exception(error).format()
    return "".join(chunk if chunk.startswith('  File "') else hide(chunk, hidden) for chunk in chunks)
