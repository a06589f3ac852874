"""Addresses beyond ASCII: whom full case folding makes equal although their keys are not. Pure.

They are few, and kept. One may fold to plain ASCII (straße to strasse); then those with the ASCII address are kept
too, as soon as they are met again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gaiaops.auth.interface import fields_of


class WideAddresses:
    """Ids by side and folded address. `narrow` are the folded addresses that are plain ASCII."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], dict[str, str]] = {}
        self._suspected: set[tuple[str, str]] = set()
        self.narrow: set[str] = set()

    def note(self, side: str, lines: Sequence[str]) -> None:
        """Takes every address of the lines that is not plain ASCII."""
        if "".join(lines).isascii():
            return
        for line in lines:
            if not line.isascii():
                own, _, address = fields_of(line)
                self.add(side, own, address)
                if address.casefold().isascii():
                    self.narrow.add(address.casefold())

    def add(self, side: str, own: str, address: str) -> None:
        """Takes one address."""
        self._ids.setdefault((side, address.casefold()), {})[own] = address

    def suspected(self, side: str, own: str, address: str) -> None:
        """Somebody is looked at anyway."""
        if not address.isascii():
            self._suspected.add((side, own))

    def alike(self) -> Iterator[tuple[str, str, str]]:
        """(side, id, address) of those whom nobody suspects, but who have a twin or fold to plain ASCII."""
        for (side, folded), people in self._ids.items():
            if len(people) > 1 or folded.isascii():
                for own, address in people.items():
                    if (side, own) not in self._suspected:
                        yield side, own, address

    def ids(self, side: str, address: str) -> tuple[str, ...]:
        """The ids of a side that an address leads to."""
        return tuple(self._ids.get((side, address.casefold()), ())) if self._ids else ()
