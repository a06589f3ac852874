"""One person's auth records in full, by SQL or by the admin API without reading the whole list."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec

from gaiaops.auth.interface import AuthPerson, ascii_lower
from gaiaops.errors import PartialError
from gaiaops.postgres import queries
from gaiaops.postgres.session import Session

if TYPE_CHECKING:
    import httpx

    from gaiaops.auth.requests import Requests

_PAGE, _PAGES = 1000, 50
_CAP = 50  # a shorter page is the last one, whatever a gateway caps pages to


def by_sql(session: Session, ids: Collection[str], addresses: Collection[str]) -> list[AuthPerson]:
    """The records of these ids, and those of these addresses whatever the case of ASCII letters."""
    folded = [ascii_lower(address) for address in addresses]
    rows = session.fetch(queries.load("auth_person"), {"ids": list(ids), "addresses": folded})
    return [AuthPerson(*row) for row in rows]


class ApiPeople:
    """Single users by the admin API. The list's filter is a case-sensitive LIKE, so an address is looked for as it
    is given and in lower case, which is how the server itself writes it."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[AuthPerson]:
        """As `by_sql`. Raises PartialError where the server does not say."""
        from gaiaops.auth.requests import FailedError

        found: dict[str, AuthPerson] = {}
        try:
            for user in ids:
                person = self._requests.get(f"/admin/users/{user}", {}, _one)
                found |= {person.id: person} if person else {}
            for address in addresses:
                for spelling in dict.fromkeys((address, address.lower())):
                    found |= {p.id: p for p in self._filtered(spelling) if p.address.casefold() == address.casefold()}
        except FailedError as error:
            raise PartialError(f"Supabase Auth: {error.failure.words}", hint=error.failure.hint) from None
        return list(found.values())

    def _filtered(self, address: str) -> list[AuthPerson]:
        """Everybody whose address holds this one. Raises PartialError where they are too many."""
        pattern = address.replace("\\", "_")  # it would escape what follows
        found: list[AuthPerson] = []
        for page in range(1, _PAGES + 1) if address else ():
            parameters: dict[str, str | int] = {"page": page, "per_page": _PAGE, "filter": pattern}
            some = self._requests.get("/admin/users", parameters, _several)
            found += some
            if len(some) < _CAP:
                return found
        if address:
            raise PartialError(f"Supabase Auth: the addresses of more than {len(found)} users hold {address}")
        return found


class _User(msgspec.Struct):
    id: str
    email: str | None = None
    app_metadata: dict[str, Any] | None = None
    created_at: str | None = None
    email_confirmed_at: str | None = None
    last_sign_in_at: str | None = None
    banned_until: str | None = None
    deleted_at: str | None = None
    is_anonymous: bool | None = None

    def person(self) -> AuthPerson:
        provider = str((self.app_metadata or {}).get("provider") or "") or None
        return AuthPerson(
            self.id,
            self.email or "",
            provider,
            self.created_at,
            self.email_confirmed_at,
            self.last_sign_in_at,
            self.banned_until,
            self.deleted_at,
            bool(self.is_anonymous),
            bool(provider and provider.startswith("sso")),
        )


class _List(msgspec.Struct):
    users: list[_User] | None = None


def _one(response: httpx.Response) -> AuthPerson | None:
    if response.status_code == 404:
        return None
    return msgspec.json.decode(response.content, type=_User).person()


def _several(response: httpx.Response) -> list[AuthPerson]:
    return [user.person() for user in msgspec.json.decode(response.content, type=_List).users or ()]
