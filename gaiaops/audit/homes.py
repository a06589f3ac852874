"""Which environment an address belongs to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gaiaops import emails
from gaiaops.registry.model import Registry

AMBIGUOUS = "ambiguous"
_REMEMBERED = 10_000


class Homes:
    """Tag → environment, and the environments without a tag, to which untagged addresses belong."""

    def __init__(self, tags: Mapping[str, str], bare: Sequence[str]) -> None:
        self.tags = dict(tags)
        self.bare = tuple(bare)
        self._known: dict[str, tuple[str, str | None]] = {}

    def home(self, address: str) -> str | None:
        """The environment of an address: "" where it names none for certain, None where it names two.

        >>> homes = Homes({"dev": "dev", "local": "local"}, ("production",))
        >>> [homes.home(a) for a in ("a@x", "a+Dev@x", "a+dev+local@x", "a+alice@x")]
        ['production', 'dev', None, 'production']
        """
        return self.place(address)[1]

    def tag(self, address: str) -> str:
        """The tag of an address, "" for an untagged one, "ambiguous" for two."""
        return self.place(address)[0]

    def place(self, address: str) -> tuple[str, str | None]:
        """The tag and the home of an address.

        Only what stands between the first `+` and the last `@` has a say, and that repeats: it is judged once.
        """
        chain = address.rpartition("@")[0].partition("+")[2]
        known = self._known.get(chain)
        if known is None:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            known = self._known[chain] = self._judged(f"+{chain}@")
        return known

    def _judged(self, address: str) -> tuple[str, str | None]:
        found = emails.classify(address, self.tags)
        if found.kind is emails.Kind.TAGGED:
            return found.tag, self.tags[found.tag]
        if found.kind is emails.Kind.AMBIGUOUS:
            return AMBIGUOUS, None
        return "", self.bare[0] if len(self.bare) == 1 else ""


def of_registry(registry: Registry) -> Homes:
    """The homes that the registry's tags declare."""
    return Homes(registry.tags, [env.name for env in registry.environments if not env.tag])
