"""The kinds of findings: how bad each one is, what it means, whether it can be repaired. Pure."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import msgspec

from gaiaops.errors import UsageError
from gaiaops.registry.model import Registry


class Severity(IntEnum):
    """How bad a finding is; greater is worse."""

    NOTICE = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        return self.name.lower()


class Kind(msgspec.Struct, frozen=True):
    """One kind of finding; `fixable` is whether `audit --fix` repairs it."""

    name: str
    severity: Severity
    meaning: str
    fixable: bool = False


_ALL = (
    Kind("revoked-access", Severity.CRITICAL, "banned, deleted or absent in Supabase, yet API keys work", True),
    Kind("orphan-profile", Severity.ERROR, "a profile without an auth record"),
    Kind("email-drift", Severity.ERROR, "same id, different address", True),
    Kind("duplicate-profile", Severity.ERROR, "profiles equal after case folding"),
    Kind("stale-cache", Severity.ERROR, "Redis holds an entry of a key or a user that is not valid any more", True),
    Kind("foreign-profile", Severity.WARNING, "the address is tagged for another environment"),
    Kind("missing-profile", Severity.WARNING, "an auth record without a profile in its home environment", True),
    Kind("id-mismatch", Severity.WARNING, "same address, different id"),
    Kind("unprovisioned", Severity.NOTICE, "in Supabase and in no environment"),
    Kind("untagged-profile", Severity.NOTICE, "an address without a tag outside production"),
    Kind("case-drift", Severity.NOTICE, "addresses that differ by case only", True),
    Kind("unconfirmed-profile", Severity.NOTICE, "the address was never confirmed"),
    Kind("ambiguous-address", Severity.NOTICE, "an address with two environments' tags"),
    Kind("dangling-reference", Severity.NOTICE, "a soft reference to a user who does not exist"),
)
KINDS = {kind.name: kind for kind in _ALL}
SEVERITIES = {severity.word: severity for severity in sorted(Severity, reverse=True)}


def agreed(registry: Registry) -> dict[str, frozenset[str]]:
    """The kinds that the registry calls agreement, by environment; "" for what belongs to none."""
    found = {env.name: frozenset((*registry.audit.agree, *env.agree)) for env in registry.environments}
    found[""] = frozenset(registry.audit.agree)
    return found


def check_agreement(registry: Registry) -> None:
    """Raises UsageError where the registry calls something agreement that is no kind."""
    for kind in sorted(frozenset[str]().union(*agreed(registry).values())):
        if kind not in KINDS:
            raise UsageError(f'agree: "{kind}" is no kind of finding', hint=f"kinds: {', '.join(KINDS)}")


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One thing that is wrong. `environment` is "" for what belongs to none (unprovisioned).

    `subject` is the profile's id, else the auth record's; the folded address (duplicate-profile), the Redis key
    (stale-cache) or `table.column=value` (dangling-reference); the id, where shards have one id with several addresses
    (duplicate-profile). `evidence` has both sides' values; `command` looks closer or repairs. `shards` are those whose
    rows it is about, where the environment has some.
    """

    kind: str
    environment: str
    subject: str
    address: str = ""
    evidence: dict[str, str] = {}
    command: str = ""
    shards: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Stable: it depends on kind, environment and subject only."""
        text = "\0".join((self.kind, self.environment, self.subject))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity
