"""Which environment an address belongs to. Pure."""

from __future__ import annotations

import msgspec

from gaiaops import emails
from gaiaops.registry.model import Registry


class Homes(msgspec.Struct, frozen=True):
    """Tag → environment, and the environments without a tag, to which untagged addresses belong."""

    tags: dict[str, str]
    bare: tuple[str, ...]

    def home(self, address: str) -> str | None:
        """The environment of an address: "" where it names none for certain, None where it names two.

        >>> homes = Homes({"dev": "dev", "local": "local"}, ("production",))
        >>> [homes.home(a) for a in ("a@x", "a+Dev@x", "a+dev+local@x", "a+alice@x")]
        ['production', 'dev', None, 'production']
        """
        found = emails.classify(address, self.tags)
        if found.kind is emails.Kind.TAGGED:
            return self.tags[found.tag]
        if found.kind is emails.Kind.AMBIGUOUS:
            return None
        return self.bare[0] if len(self.bare) == 1 else ""

    def tag(self, address: str) -> str:
        """The tag of an address, "" for an untagged one, "ambiguous" for two."""
        found = emails.classify(address, self.tags)
        return "ambiguous" if found.kind is emails.Kind.AMBIGUOUS else found.tag


def of_registry(registry: Registry) -> Homes:
    """The homes that the registry's tags declare."""
    return Homes(registry.tags, tuple(env.name for env in registry.environments if not env.tag))
