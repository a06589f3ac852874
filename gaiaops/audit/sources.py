"""Which source of auth users an audit reads: SQL where the registry has a connection string, else the admin API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from gaiaops.auth import sql_source
from gaiaops.auth.interface import AuthSource, Cutoffs
from gaiaops.errors import ConnectError, DeadlineError, UsageError, located
from gaiaops.postgres.session import environment_timeouts
from gaiaops.registry.model import Registry, Supabase, Timeouts

SOURCES = ("auto", "sql", "api")
_IDLE_MS = 600_000  # it waits for the environments, and for the second look


class Wanted(msgspec.Struct, frozen=True):
    """How to read: sql, api or auto; a statement timeout in milliseconds; the size of the API's pages."""

    source: str = "auto"
    timeout: int | None = None
    page_size: int | None = None


class Opened(msgspec.Struct, frozen=True):
    """A source, and why it is not the one that was preferred (or nothing)."""

    source: AuthSource
    instead_of: str = ""


@contextmanager
def connect(
    registry: Registry, wanted: Wanted, cutoffs: Cutoffs, progress: Callable[[int, int], None] | None
) -> Iterator[Opened]:
    """The source, open. The API is read whole before it is given, with `progress`; without, it is asked for single
    users only.

    Raises UsageError where the registry does not have what is wanted, and the connection's errors.
    """
    project = registry.supabase
    if project is None:
        raise UsageError("the registry has no [supabase]", hint=f"add one to {registry.file}")
    if wanted.source == "sql" and project.database is None:
        raise UsageError("the registry has no supabase.database", hint=f"add it to {registry.file}, or --source api")
    timeouts = environment_timeouts(registry.environments[0], wanted.timeout)
    with ExitStack() as stack:
        with located("supabase"):  # and not what the caller raises
            instead_of = ""
            opened = None
            if wanted.source != "api":
                try:
                    opened = _sql(stack, project, timeouts, cutoffs)
                except (ConnectError, DeadlineError, UsageError) as error:
                    if wanted.source == "sql":
                        raise
                    instead_of = error.message  # a direct host that only IPv6 reaches, a secret that is not set
            if opened is None:
                opened = _api(stack, project, timeouts, cutoffs, wanted.page_size, progress, instead_of)
        yield opened


def _sql(stack: ExitStack, project: Supabase, timeouts: Timeouts, cutoffs: Cutoffs) -> Opened | None:
    url = project.database_url()
    if url is None:
        return None
    patient = msgspec.structs.replace(timeouts, idle=_IDLE_MS)
    return Opened(stack.enter_context(sql_source.connect(url, patient, cutoffs)))


def _api(  # noqa: PLR0913, PLR0917 - connect's own, handed on
    stack: ExitStack,
    project: Supabase,
    timeouts: Timeouts,
    cutoffs: Cutoffs,
    page_size: int | None,
    progress: Callable[[int, int], None] | None,
    instead_of: str,
) -> Opened:
    from gaiaops.auth import api_source

    url, key = project.url.get(), project.service_key.get()
    opened = (
        api_source.single(url, key, timeouts, cutoffs)
        if progress is None
        else api_source.open(url, key, timeouts, cutoffs, page_size=page_size, progress=progress)
    )
    return Opened(stack.enter_context(opened), instead_of)
