"""The values the sandbox's known drift and traps are written in, and how a case becomes rows.

A case is one person: their auth record, their profiles, their keys, and what an audit must say of them.
`drift_cases.py` and `drift_traps.py` hold the cases; `drift.py` is what others import.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import md5, sha256
from typing import Literal
from uuid import UUID

ENVIRONMENTS = ("local", "dev", "staging", "production")

Kind = Literal[
    "revoked-access",
    "orphan-profile",
    "email-drift",
    "duplicate-profile",
    "stale-cache",
    "foreign-profile",
    "missing-profile",
    "id-mismatch",
    "unprovisioned",
    "untagged-profile",
    "case-drift",
    "unconfirmed-profile",
    "ambiguous-address",
    "dangling-reference",
]
KeyState = Literal["active", "inactive", "expired"]


@dataclass(frozen=True)
class KnownDrift:
    """One finding an audit must report: `environment` is "" where it belongs to none.

    `subject` is the profile's id, or the auth record's where there is no profile, or the folded address
    (duplicate-profile), the Redis key (stale-cache) or `table.column=value` (dangling-reference).
    """

    kind: Kind
    environment: str
    subject: str
    note: str


@dataclass(frozen=True)
class Trap:
    """Something that tempts a careless reader; `environment` is "auth" where only Supabase has it.

    `subject` is the id of the person, or of the row that `note` describes.
    """

    name: str
    environment: str
    subject: str
    address: str | None
    note: str


@dataclass(frozen=True)
class Account:
    """One row of auth.users."""

    id: str
    email: str | None
    name: str | None
    confirmed: bool = True
    banned_until: str | None = None
    deleted: bool = False
    anonymous: bool = False
    sso: bool = False
    phone: str | None = None
    provider: str = "email"


@dataclass(frozen=True)
class Profile:
    """One row of an environment's users; `children` gives it keys, conversations and the rest."""

    environment: str
    id: str
    email: str
    name: str | None
    children: bool = False


@dataclass(frozen=True)
class Key:
    """One row of an environment's api_keys."""

    environment: str
    user_id: str
    key_hash: str
    name: str
    state: KeyState


@dataclass(frozen=True)
class SoftReference:
    """A row of `table` that names a user by id or, in a namespace, by address."""

    environment: str
    table: str
    value: str
    note: str

    @property
    def subject(self) -> str:
        """The reference as a finding names it."""
        return f"{self.table}.{SOFT_COLUMNS[self.table]}={self.value}"


@dataclass(frozen=True)
class Message:
    """A message `author` left in a conversation that belongs to `owner`."""

    environment: str
    id: str
    conversation: str
    owner: str
    author: str
    content: str


@dataclass(frozen=True)
class StaleEntry:
    """A Redis key that outlived what it stands for."""

    environment: str
    key: str
    note: str


@dataclass(frozen=True)
class Case:
    """One person and everything planted about them."""

    slug: str
    note: str
    account: Account | None
    profiles: tuple[Profile, ...]
    keys: tuple[Key, ...]
    findings: tuple[KnownDrift, ...]


@dataclass(frozen=True)
class Seen:
    """Where a person has a profile, and in what it differs from the auth record."""

    environment: str
    address: str | None = None
    own_id: bool = False
    children: bool = False


SOFT_COLUMNS = {
    "asset_usage": "user_id",
    "asset_generations": "user_id",
    "user_persona_preferences": "user_id",
    "kb_permissions": "principal_id",
    "kb_activity_log": "actor_id",
    "kb_semantic_index_metadata": "namespace",
}

ACTIVE_UNTIL = "2099-12-31 23:59:59+00"


def seed_uuid(seed: str) -> str:
    """A UUID that looks random and is not; the twin of pg_temp.seed_uuid in seed_people.sql.

    >>> seed_uuid("user:0")
    'f5f1b8e8-a885-48ad-81a7-17783f381411'
    """
    digits = md5(seed.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return str(UUID(digits[:12] + "4" + digits[13:16] + variant + digits[17:]))


def hashed_address(address: str) -> str:
    """What a soft delete leaves of an address: 43 characters without an @.

    >>> len(hashed_address("a@example.com"))
    43
    """
    return base64.urlsafe_b64encode(sha256(address.encode()).digest()).decode().rstrip("=")


def key_hash(environment: str, slug: str, state: str) -> str:
    """The hash of a planted API key; nobody has the key."""
    return sha256(f"planted:{environment}:{slug}:{state}".encode()).hexdigest()


def api_key_entry(key: str) -> str:
    """The Redis key under which the platform remembers that an API key is valid."""
    return f"gaia:auth:apikey:v1:{key[:32]}"


def account(slug: str, email: str | None, name: str | None, **flags: object) -> Account:
    """The auth record of the person `slug`; `flags` are fields of Account."""
    return Account(id=seed_uuid(f"case:{slug}"), email=email, name=name, **flags)  # type: ignore[arg-type]


def person(  # noqa: PLR0913 - a case is a table row; its columns are named at each use
    slug: str,
    name: str | None,
    address: str,
    *seen: Seen,
    note: str,
    finds: tuple[tuple[Kind, str], ...] = (),
    keys: tuple[tuple[str, KeyState], ...] = (),
    auth: Account | Literal["same"] | None = "same",
) -> Case:
    """One case: `auth` is the record in Supabase, "same" meaning an ordinary one with this address."""
    record = account(slug, address, name) if auth == "same" else auth
    shared = seed_uuid(f"case:{slug}")
    profiles = tuple(
        Profile(
            s.environment,
            seed_uuid(f"own:{s.environment}:{slug}") if s.own_id else shared,
            s.address or address,
            name,
            s.children,
        )
        for s in seen
    )
    # The last profile of an environment is the one that differs, so it is the one findings are about.
    ids = {p.environment: p.id for p in profiles}

    def subject(kind: Kind, environment: str) -> str:
        return address.casefold() if kind == "duplicate-profile" else ids.get(environment, shared)

    return Case(
        slug=slug,
        note=note,
        account=record,
        profiles=profiles,
        keys=tuple(Key(e, ids[e], key_hash(e, slug, state), f"{state} key", state) for e, state in keys),
        findings=tuple(KnownDrift(kind, e, subject(kind, e), note) for kind, e in finds),
    )
