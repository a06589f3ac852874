"""One person everywhere: the auth record, and per environment the profile, keys, referencing rows and cache entries."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial

import msgspec

from gaiaops.audit import look, references, sources, stale
from gaiaops.audit.compare import ProfileSuspect, RecordSuspect
from gaiaops.audit.homes import of_registry
from gaiaops.audit.judge import of_profile
from gaiaops.audit.kinds import Finding
from gaiaops.audit.platform import Nobody, Platform, connect
from gaiaops.audit.side import Side
from gaiaops.auth.interface import AuthPerson, Look, ascii_lower
from gaiaops.cache import scan
from gaiaops.cache.connect import connect as connect_cache
from gaiaops.cache.templates import parse
from gaiaops.errors import GaiaopsError, UsageError
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
    """A profile in one environment; `rows` counts what refers to it, `cache` has Redis keys with seconds to live."""

    id: str
    address: str
    name: str | None
    created_at: str | None
    keys: list[Key] = msgspec.field(default_factory=list)
    rows: dict[str, int] = msgspec.field(default_factory=dict)
    cache: list[Entry] = msgspec.field(default_factory=list)


class Place(msgspec.Struct):
    """One environment: the person's profiles there (one, or duplicates), rows that name the person without a profile,
    and what could not be read."""

    environment: str
    profiles: list[Here] = msgspec.field(default_factory=list)
    rows: dict[str, int] = msgspec.field(default_factory=dict)
    errors: list[str] = msgspec.field(default_factory=list)


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

        def fill(side: Side) -> list[Finding]:
            return _fill(registry, side, places[side.env.name], profiles.get(side.env.name, []), name)

        alone = platform.each(fill)
        findings = [*_findings(platform, auth, profiles), *(one for some in alone.values() for one in some)]
        findings.sort(key=lambda finding: -finding.severity)
        for failed, error in platform.errors.items():
            places[failed].errors.append(error.message)
        errors = [*([platform.source_error] if platform.source_error else []), *platform.errors.values()]
        source = platform.source.name if platform.source else ""
        shown = wanted.id or wanted.address
        return Person(shown, source, auth, list(places.values()), findings, errors)


def _found(platform: Platform, wanted: Wanted) -> tuple[list[AuthPerson], dict[str, list[Here]]]:
    """The auth records and the profiles by environment; an id leads to addresses, and these to other ids."""
    ids, addresses = {wanted.id} - {""}, {wanted.address} - {""}
    auth: list[AuthPerson] = []
    profiles: dict[str, list[Here]] = {}
    for _ in range(2):
        if platform.source is not None:
            try:
                auth = platform.source.people(sorted(ids), sorted(addresses))
            except GaiaopsError as error:
                platform.lose_source(error)
        ids |= {person.id for person in auth}
        addresses |= {person.address for person in auth if "@" in person.address}
        folded = [ascii_lower(address) for address in addresses]
        profiles = platform.each(partial(_profiles, values={"ids": list(ids), "addresses": folded}))
        here = [profile for found in profiles.values() for profile in found]
        more = {profile.address for profile in here if profile.address} - addresses
        if not more and {profile.id for profile in here} <= ids:
            break
        addresses |= more
        ids |= {profile.id for profile in here}
    return auth, profiles


def _profiles(side: Side, values: dict[str, list[str]]) -> list[Here]:
    return [Here(*row) for row in side.session.fetch(queries.load("whois_profiles"), values)]


def _fill(registry: Registry, side: Side, place: Place, profiles: Sequence[Here], name: Wanted) -> list[Finding]:
    """What hangs on the profiles of one environment, or on the mere name where there is none; and what is wrong with
    it whoever is in Supabase."""
    place.profiles = list(profiles)
    if not profiles:
        place.rows = references.by_name(registry, side, name.id, name.address)
        return list(references.dangling(registry, side, name.id, name.address)) if place.rows else []
    keys: dict[str, list[str]] = {}
    for profile in profiles:
        rows = side.session.fetch(queries.load("whois_keys"), {"id": profile.id}) if side.has_keys else []
        profile.keys = [Key(*row[:5]) for row in rows]
        profile.rows = references.of_profile(registry, side, profile.id, profile.address)
        keys[profile.id] = _cache_keys(registry, profile.id, [row[5] for row in rows])
    url = side.env.redis_url()
    if url is None:
        return []
    try:
        with connect_cache(url, side.session.timeouts) as client:
            for profile in profiles:
                profile.cache = list(scan.ttls(client, keys[profile.id]))
            there = [key for profile in profiles for key, _ in profile.cache]
            return list(stale.still(client, side.session, registry, side.env.name, there))
    except GaiaopsError as error:
        place.errors.append(error.message)
        return []


def _cache_keys(registry: Registry, user: str, hashes: Sequence[str]) -> list[str]:
    """The Redis keys that the registry's templates make of a user and the API keys."""
    values = {("users", "id"): [user], ("api_keys", "key_hash"): hashes, ("api_keys", "user_id"): [user]}
    templates = map(parse, dict.fromkeys((*registry.user_keys, *registry.audit.access_keys)))
    return [t.key(value).decode() for t in templates for value in values.get((t.table, t.column), ())]


def _findings(platform: Platform, auth: Sequence[AuthPerson], profiles: dict[str, list[Here]]) -> list[Finding]:
    homes = of_registry(platform.registry)
    seen: dict[str, Finding] = {}
    source: Look = platform.source or Nobody()
    absence = platform.source is not None
    for name, here in profiles.items():
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
            for _, one in look.profiles(platform.sides[name], suspects, source, absence=absence):
                seen |= {finding.id: finding for finding in of_profile(one, homes)}
    records = [RecordSuspect(person.id, person.address) for person in auth]
    found = look.records(platform.sides, records, source, homes, everywhere=platform.everywhere)
    for _, findings in found if platform.source else ():
        seen |= {finding.id: finding for finding in findings}
    return list(seen.values())
