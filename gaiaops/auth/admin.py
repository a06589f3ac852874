"""One auth user at a time: read by our own client, deleted by the supabase library.

The library cannot be asked whether a soft-deleted user is there (it raises a pydantic ValidationError for such a
row), so reading is ours. Only a 404 with `user_not_found` proves absence (supabase-auth.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from gaiaops.auth import api
from gaiaops.errors import StatementError
from gaiaops.registry.model import Timeouts

if TYPE_CHECKING:
    import httpx

_TRIES = 2


class AuthUser(msgspec.Struct, frozen=True):
    """What a decision about one auth user needs."""

    id: str
    address: str
    deleted: bool


class Admin:
    """Single-user calls on one project."""

    def __init__(self, client: httpx.Client, delete: Callable[[str, bool], None]) -> None:
        self._client = client
        self._delete = delete

    def get(self, user_id: str) -> AuthUser | None:
        """The user of an id, None where the server says that there is none. Raises ConnectError or StatementError."""
        if not user_id:
            raise StatementError("Supabase Auth: an empty id would be answered with the list")
        response = self._client.get(f"/admin/users/{user_id}")
        code = response.headers.get("x-sb-error-code", "")
        if response.status_code == 404 and code in ("user_not_found", "validation_failed"):
            return None
        api.check_key(response)
        if response.status_code != 200:
            raise StatementError(f"Supabase Auth answered {response.status_code} {code} for user {user_id}")
        body = response.json()
        return AuthUser(str(body["id"]), str(body.get("email") or ""), bool(body.get("deleted_at")))

    def delete(self, user_id: str, *, hard: bool) -> None:
        """Deletes a user, softly unless `hard`; read again after every answer, since a timeout may have worked.

        Raises StatementError where the user is still there afterwards.
        """
        failure = ""
        for _ in range(_TRIES):
            failure = self._try(user_id, hard)
            found = self.get(user_id)
            if found is None or (found.deleted and not hard):
                return
        raise StatementError(f"Supabase Auth did not delete user {user_id}: {failure or 'no reason given'}")

    def _try(self, user_id: str, hard: bool) -> str:
        import httpx
        from supabase_auth.errors import AuthError

        try:
            self._delete(user_id, not hard)
        except (AuthError, httpx.HTTPError) as error:
            return f"{type(error).__name__} {error}".strip()
        return ""


@contextmanager
def connect(url: str, service_key: str, timeouts: Timeouts) -> Iterator[Admin]:
    """The admin API of a project. Raises ConnectError where it cannot be reached."""
    import httpx
    from supabase_auth import SyncGoTrueAdminAPI

    # The library's own default, 5 s, is less than the 10 s after which the server gives up.
    patience = httpx.Timeout(15, connect=timeouts.connect / 1000)
    with (
        api.client(url, service_key, timeouts.statement, timeouts.connect) as client,
        httpx.Client(timeout=patience) as transport,
    ):
        base, headers = f"{url.rstrip('/')}/auth/v1", api.headers(service_key)
        yield Admin(client, SyncGoTrueAdminAPI(url=base, headers=headers, http_client=transport).delete_user)
