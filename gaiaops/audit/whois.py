"""One person everywhere: the auth record, and per environment the profile, keys, referencing rows and cache entries."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import msgspec

from gaiaops.audit import look, sources, stale
from gaiaops.audit.compare import ProfileSuspect, RecordSuspect, spellings
from gaiaops.audit.homes import of_registry
from gaiaops.audit.judge import of_profile
from gaiaops.audit.kinds import Finding, agreed
from gaiaops.audit.platform import Guarded, Nobody, Platform, SourceFailedError, connect
from gaiaops.audit.references import References
from gaiaops.audit.side import Database, Side
from gaiaops.auth.interface import AuthPerson, Look, ascii_lower
from gaiaops.cache import scan
from gaiaops.cache.connect import connect as connect_cache
from gaiaops.cache.templates import parse
from gaiaops.errors import GaiaopsError, PartialError, UsageError
from gaiaops.postgres import queries
from gaiaops.registry.model import Registry

Entry = tuple[str, int]


class Key(msgspec.Struct, frozen=True):
    """An API key: the beginning of its hash, and whether it works: active, inactive or expired."""

    prefix: str
    name: str | None
    state: str
    expires_at: str | None
    last_used_at: str | None


class Here(msgspec.Struct):
    """A profile in one environment; `rows` counts what refers to it, `cache` has Redis keys with seconds to live.

    `shards` are those that have it, and `rows_by_shard` says where the rows are, where the environment has shards.
    """

    id: str
    address: str
    name: str | None
    created_at: str | None
    keys: list[Key] = msgspec.field(default_factory=list)
    rows: dict[str, int] = msgspec.field(default_factory=dict)
    cache: list[Entry] = msgspec.field(default_factory=list)
    shards: list[str] = msgspec.field(default_factory=list)
    rows_by_shard: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)


class Place(msgspec.Struct):
    """One environment: the person's profiles there (one, or duplicates), rows that name the person without a profile,
    and what could not be read."""

    environment: str
    profiles: list[Here] = msgspec.field(default_factory=list)
    rows: dict[str, int] = msgspec.field(default_factory=dict)
    errors: list[str] = msgspec.field(default_factory=list)
    rows_by_shard: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)


class Person(msgspec.Struct):
    """Everything about one person. `source` is how Supabase was read, "" where it could not be."""

    query: str
    source: str
    auth: list[AuthPerson]
    environments: list[Place]
    findings: list[Finding]
    errors: list[GaiaopsError]


class Wanted(msgspec.Struct, frozen=True):
    """What to look for: an id or an address."""

    id: str = ""
    address: str = ""


def parsed(text: str) -> Wanted:
    """The id or address of a text. Raises UsageError where it is neither.

    >>> parsed("7A1E5F5A-0000-4000-8000-000000000001").id, parsed("a@x").address
    ('7a1e5f5a-0000-4000-8000-000000000001', 'a@x')
    """
    try:
        return Wanted(id=str(uuid.UUID(text.strip())))
    except ValueError:
        if "@" in text:
            return Wanted(address=text)
    raise UsageError(f'"{text}" is neither an e-mail address nor a UUID', hint="gaiaops whois jason+dev@example.com")


def whois(registry: Registry, wanted: Wanted, how: sources.Wanted) -> Person:
    """The person of an id or address. What does not answer stands among the errors.

    Raises UsageError for a registry without Supabase.
    """
    with connect(registry, how, None) as platform:
        auth, profiles = _found(platform, wanted)
        places = {env.name: Place(env.name) for env in registry.environments}
        first = next(iter(auth), AuthPerson("", ""))
        name = Wanted(wanted.id or first.id, wanted.address or first.address)

        caches: list[GaiaopsError] = []

        def fill(side: Side) -> list[Finding]:
            place, here = places[side.env.name], profiles.get(side.env.name, [])
            found, keys = _fill(registry, side, place, here, name)
            try:
                return [*found, *_cached(registry, side, place, keys)]
            except _CacheError as failed:
                place.errors.append(failed.error.message)
                caches.append(failed.error)
                return found

        alone = platform.each(fill)
        judged, untold = _findings(platform, auth, profiles)
        findings = [*judged, *(one for some in alone.values() for one in some)]
        agreement = agreed(registry)
        findings = [one for one in findings if one.kind not in agreement[one.environment]]
        findings.sort(key=lambda finding: -finding.severity)
        for failed, error in platform.errors.items():
            places[failed].errors.append(error.message if error.environment == failed else str(error))
        errors = [
            *([platform.source_error] if platform.source_error else []),
            *platform.errors.values(),
            *caches,
            *untold,
        ]
        source = platform.source.name if platform.source else ""
        shown = wanted.id or wanted.address
        return Person(shown, source, auth, list(places.values()), findings, errors)


def _found(platform: Platform, wanted: Wanted) -> tuple[list[AuthPerson], dict[str, list[Here]]]:
    """The auth records and the profiles by environment; an id leads to addresses, and these to other ids."""
    ids, addresses = {wanted.id} - {""}, {wanted.address} - {""}
    auth: list[AuthPerson] = []
    profiles: dict[str, list[Here]] = {}
    for _ in range(2):
        spelled = sorted({spelling for address in addresses for spelling in spellings(address)})
        if platform.source is not None:
            try:
                auth = platform.source.people(sorted(ids), spelled)
            except GaiaopsError as error:
                platform.lose_source(error)
        ids |= {person.id for person in auth}
        addresses |= {person.address for person in auth if "@" in person.address}
        folded = sorted({ascii_lower(spelling) for address in addresses for spelling in spellings(address)})
        profiles = platform.each(partial(_profiles, values={"ids": list(ids), "addresses": folded}))
        here = [profile for found in profiles.values() for profile in found]
        more = {profile.address for profile in here if profile.address} - addresses
        if not more and {profile.id for profile in here} <= ids:
            break
        addresses |= more
        ids |= {profile.id for profile in here}
    return auth, profiles


def _profiles(side: Side, values: dict[str, list[str]]) -> list[Here]:
    """The profiles of an environment, each once: what several shards have with one id and address is one."""
    found: dict[tuple[str, str], Here] = {}
    sql = queries.load("whois_profiles")
    for database, rows in zip(side.databases, side.each(lambda one: one.session.fetch(sql, values)), strict=True):
        for row in rows:
            here = found.setdefault(row[:2], Here(*row))
            here.shards += [database.env.shard] if database.env.shard else []
    return list(found.values())


def _fill(
    registry: Registry, side: Side, place: Place, profiles: Sequence[Here], name: Wanted
) -> tuple[list[Finding], dict[str, list[str]]]:
    """What hangs on the profiles of one environment, or on the mere name where there is none: what dangles, and the
    Redis keys by profile."""
    place.profiles = list(profiles)
    references = References(registry, side)
    if not profiles:
        place.rows, place.rows_by_shard = _summed(references.by_name(name.id, name.address))
        found = list(references.dangling(name.id, name.address)) if place.rows else []
        return found, {name.id: _cache_keys(registry, name.id, [])} if name.id else {}
    keys: dict[str, list[str]] = {}
    for profile in profiles:
        rows, *others = side.each(partial(_keys, user=profile.id))
        rows += [row for some in others for row in some if row not in rows]
        profile.keys = [Key(*row[:5]) for row in rows]
        profile.rows, profile.rows_by_shard = _summed(references.of_profile(profile.id, profile.address))
        keys[profile.id] = _cache_keys(registry, profile.id, [row[5] for row in rows])
    return [], keys


def _keys(database: Database, user: str) -> list[tuple[Any, ...]]:
    """A user's API keys in one database; the last column is the whole hash."""
    return database.session.fetch(queries.load("whois_keys"), {"id": user}) if database.has_keys else []


def _summed(rows: Mapping[str, dict[str, int]]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Rows by shard as a sum, and by shard where there are shards."""
    total = sum(map(Counter, rows.values()), Counter[str]())
    return dict(total), {shard: some for shard, some in rows.items() if shard}


class _CacheError(Exception):
    """A Redis that does not answer: its environment is shown without it."""

    def __init__(self, error: GaiaopsError) -> None:
        super().__init__(error.message)
        self.error = error


def _cached(registry: Registry, side: Side, place: Place, keys: dict[str, list[str]]) -> list[Finding]:
    """Adds the Redis entries of each profile, and gives the stale ones. Raises _CacheError."""
    try:
        url = side.env.redis_url()
        if url is None or not keys:
            return []
        with connect_cache(url, side.databases[0].session.timeouts) as client:
            there = {owner: list(scan.ttls(client, some)) for owner, some in keys.items()}
            for profile in place.profiles:
                profile.cache = there[profile.id]
            found = [key for entries in there.values() for key, _ in entries]
            return list(stale.still(client, side, registry, found)) if found else []
    except GaiaopsError as error:
        error.environment = error.environment or side.env.name
        raise _CacheError(error) from None


def _cache_keys(registry: Registry, user: str, hashes: Sequence[str]) -> list[str]:
    """The Redis keys that the registry's templates make of a user and the API keys."""
    values = {("users", "id"): [user], ("api_keys", "key_hash"): hashes, ("api_keys", "user_id"): [user]}
    templates = map(parse, dict.fromkeys((*registry.user_keys, *registry.audit.access_keys)))
    return [t.key(value).decode() for t in templates for value in values.get((t.table, t.column), ())]


def _findings(
    platform: Platform, auth: Sequence[AuthPerson], profiles: dict[str, list[Here]]
) -> tuple[list[Finding], list[GaiaopsError]]:
    """What is wrong with the person, as far as the source can tell, and what it could not."""
    told: list[GaiaopsError] = []
    for absence in (True, False):
        source = platform.source
        try:
            with nullcontext(Nobody()) if source is None else source.again(len(auth) + len(profiles)) as fresh:
                known = absence and source is not None
                return _judged(platform, auth, profiles, Guarded(fresh), absence=known), told
        except (SourceFailedError, GaiaopsError) as failed:
            error = failed.error if isinstance(failed, SourceFailedError) else failed
            if isinstance(error, PartialError):
                error.environment = error.environment or "supabase"
                told.append(error)
            else:
                platform.lose_source(error)
    return [], told


def _judged(
    platform: Platform,
    auth: Sequence[AuthPerson],
    profiles: dict[str, list[Here]],
    source: Look,
    *,
    absence: bool,
) -> list[Finding]:
    homes = of_registry(platform.registry)
    seen: dict[str, Finding] = {}
    for name, here in profiles.items():
        if name not in platform.sides:
            continue
        with platform.surviving(name):
            suspects = [
                ProfileSuspect(
                    profile.id,
                    profile.address,
                    tuple(person.id for person in auth),
                    tuple(other.id for other in here if other is not profile),
                )
                for profile in here
            ]
            for _, copies in look.profiles(platform.sides[name], suspects, source, absence=absence):
                seen |= {finding.id: finding for one in copies for finding in of_profile(one, homes)}
    # A search by address finds profiles in lower case; the others are named.
    ids = tuple((name, profile.id) for name, here in profiles.items() for profile in here)
    records = [RecordSuspect(person.id, person.address, ids) for person in auth]
    found = look.records(
        platform.sides, records, source, homes, everywhere=platform.everywhere, surviving=platform.surviving
    )
    for _, findings in found if platform.source else ():
        seen |= {finding.id: finding for finding in findings}
    return list(seen.values())
