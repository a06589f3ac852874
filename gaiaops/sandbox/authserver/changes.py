"""Changing users: create, update, delete. Each is one transaction; what it answers is read back in it."""

from __future__ import annotations

import base64
import hashlib
import secrets
import uuid
from datetime import timedelta
from typing import Any

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from gaiaops.sandbox.authserver import database, users, validation
from gaiaops.sandbox.authserver.database import Connection, Statement
from gaiaops.sandbox.authserver.errors import ApiError, database_errors, invalid

_HASHED_PHONE_LENGTH = 15  # the column was varchar(15) once


class UserParams(msgspec.Struct):
    """The body of POST and PUT. Unknown keys are ignored, null is as good as absent."""

    id: str | None = None
    aud: str | None = None
    role: str | None = None
    email: str | None = None
    phone: str | None = None
    password: str | None = None
    password_hash: str | None = None
    email_confirm: bool | None = None
    phone_confirm: bool | None = None
    user_metadata: dict[str, Any] | None = None
    app_metadata: dict[str, Any] | None = None
    ban_duration: str | None = None


class DeleteParams(msgspec.Struct):
    """The body of DELETE, which may also be empty."""

    should_soft_delete: bool | None = None


def create(connection: Connection, params: UserParams, aud: str) -> users.User:
    """Make a user with an identity for its address and its number."""
    aud = params.aud or aud
    if not params.email and not params.phone:
        raise invalid("Cannot create a user without either an email or phone")
    email = validation.email(params.email) if params.email else ""
    phone = validation.phone(params.phone) if params.phone else ""
    _refuse_taken(connection, aud, email, phone)
    values = _new_row(params, aud, email, phone)
    with database_errors("Database error creating new user"), connection.transaction():
        connection.execute(database.query("insert_user"), values)
        for provider, contact in _contacts(email, phone):
            _put_identity(connection, values["id"], provider, contact, verified=False)
        return _existing(users.find(connection, values["id"]))


def update(connection: Connection, user_id: str, params: UserParams) -> users.User:
    """Change what was named. Metadata is merged key by key at the top level, null removes a key.

    Nobody looks for a duplicate address beforehand: the unique index does, and that is a 500.
    """
    email = validation.email(params.email) if params.email else ""
    phone = validation.phone(params.phone) if params.phone else ""
    ban = validation.ban_duration(params.ban_duration) if params.ban_duration else None
    if params.password is not None:
        validation.password(params.password)
    with database_errors("Error updating user"), connection.transaction():
        for provider, contact in _contacts(email, phone):
            confirmed = params.email_confirm if provider == "email" else params.phone_confirm
            _put_identity(connection, user_id, provider, contact, verified=bool(confirmed))
        if email or phone:
            connection.execute(database.query("clear_tokens"), {"id": user_id})
        for assignments, values in _updates(params, email, phone, ban):
            statement = sql.SQL("UPDATE auth.users SET updated_at = now(), {} WHERE id = %(id)s")
            connection.execute(statement.format(assignments), {**values, "id": user_id})
        if params.password is not None:
            connection.execute("DELETE FROM auth.sessions WHERE user_id = %(id)s", {"id": user_id})
        return _existing(users.find(connection, user_id))


def delete(connection: Connection, user_id: str, *, soft: bool) -> None:
    """Remove a user for good, or empty its row and leave it in the list."""
    if soft:
        with database_errors("Error soft deleting user"), connection.transaction():
            _soft_delete(connection, user_id)
        return
    with database_errors("Database error deleting user"), connection.transaction():
        connection.execute("DELETE FROM auth.users WHERE id = %(id)s", {"id": user_id})


def _refuse_taken(connection: Connection, aud: str, email: str, phone: str) -> None:
    with database_errors("Database error checking email"):
        if email and _yes(connection, database.query("address_taken"), {"email": email, "aud": aud}):
            raise ApiError(422, "email_exists", "A user with this email address has already been registered")
    taken = sql.SQL("SELECT EXISTS (SELECT FROM auth.users WHERE phone = %(phone)s AND aud = %(aud)s AND {})")
    with database_errors("Database error checking phone"):
        if phone and _yes(connection, taken.format(users.OF_INSTANCE), {"phone": phone, "aud": aud}):
            raise ApiError(422, "phone_exists", "Phone number already registered by another user")


def _new_row(params: UserParams, aud: str, email: str, phone: str) -> dict[str, Any]:
    if params.password is not None and params.password_hash:
        raise invalid("Only a password or a password hash should be provided")
    if params.password:
        validation.password(params.password)
    providers = [provider for provider, _ in _contacts(email, phone)]
    app_metadata = {"provider": providers[0], "providers": providers}
    user_metadata = dict(params.user_metadata or {})
    if params.email_confirm:
        user_metadata["email_verified"] = True
    return {
        "id": _new_id(params.id),
        "aud": aud,
        "role": (params.role or "authenticated").strip(),
        "email": email,
        "phone": phone,
        "password": params.password_hash or _no_password(),
        "app_metadata": Jsonb(_merged(app_metadata, params.app_metadata or {})),
        "user_metadata": Jsonb(user_metadata),
        "email_confirm": bool(params.email_confirm),
        "phone_confirm": bool(params.phone_confirm),
        "ban": validation.ban_duration(params.ban_duration) if params.ban_duration else None,
    }


def _new_id(wanted: str | None) -> str:
    if not wanted:
        return str(uuid.uuid4())
    if not validation.is_uuid(wanted):
        raise invalid("ID must conform to the uuid v4 format")
    if uuid.UUID(wanted).int == 0:
        raise invalid("ID cannot be a nil uuid")
    return str(uuid.UUID(wanted))


Assignment = tuple[sql.Composable, dict[str, Any]]


def _updates(params: UserParams, email: str, phone: str, ban: timedelta | None) -> list[Assignment]:
    """The columns to set, in the server's order; a later one sees what an earlier one did."""
    updates: list[Assignment] = []
    if params.role:
        updates.append((sql.SQL("role = %(role)s"), {"role": params.role.strip()}))
    if params.email_confirm:
        updates.append((sql.SQL("confirmation_token = '', email_confirmed_at = now()"), {}))
        updates.append(_metadata_update("raw_user_meta_data", {"email_verified": True}))
    if params.phone_confirm:
        updates.append((sql.SQL("confirmation_token = '', phone_confirmed_at = now()"), {}))
    if params.password is not None:
        updates.append((sql.SQL("encrypted_password = %(password)s"), {"password": _no_password()}))
    if email:
        updates.append((sql.SQL("email = %(email)s"), {"email": email}))
    if phone:
        updates.append((sql.SQL("phone = %(phone)s"), {"phone": phone}))
    if (email and params.email_confirm) or (phone and params.phone_confirm):
        updates.append((sql.SQL("is_anonymous = false"), {}))
    if params.app_metadata is not None:
        updates.append(_metadata_update("raw_app_meta_data", params.app_metadata))
    if params.user_metadata is not None:
        updates.append(_metadata_update("raw_user_meta_data", params.user_metadata))
    if params.ban_duration:
        updates.append((sql.SQL("banned_until = now() + %(ban)s"), {"ban": ban}))
    return updates


def _metadata_update(column: str, changes: dict[str, Any]) -> Assignment:
    merging = sql.SQL("{0} = (coalesce(nullif({0}, 'null'), '{{}}') || %(set)s) - %(removed)s::text[]")
    kept = {key: value for key, value in changes.items() if value is not None}
    removed = [key for key in changes if key not in kept]
    return merging.format(sql.Identifier(column)), {"set": Jsonb(kept), "removed": removed}


def _soft_delete(connection: Connection, user_id: str) -> None:
    reading = """
        SELECT email, phone, email_change, phone_change, deleted_at
        FROM auth.users WHERE id = %(id)s FOR UPDATE
    """
    row = connection.execute(reading, {"id": user_id}).fetchone()
    if row is None or row[4] is not None:
        return  # gone, or deleted before: the second time changes nothing
    email, phone, email_change, phone_change = (str(value or "") for value in row[:4])
    values = {
        "id": user_id,
        "email": _hashed(user_id, email),
        "phone": _hashed(user_id, phone)[:_HASHED_PHONE_LENGTH],
        "email_change": _hashed(user_id, email_change),
        "phone_change": _hashed(user_id, phone_change)[:_HASHED_PHONE_LENGTH],
    }
    connection.execute(database.query("soft_delete"), values)
    reading = "SELECT id, provider, provider_id FROM auth.identities WHERE user_id = %(id)s"
    for identity_id, provider, provider_id in connection.execute(reading, values).fetchall():
        connection.execute(
            "UPDATE auth.identities SET identity_data = '{}', provider_id = %(hashed)s WHERE id = %(id)s",
            {"id": identity_id, "hashed": _hashed(user_id, f"{provider}:{provider_id}")},
        )
    connection.execute("DELETE FROM auth.sessions WHERE user_id = %(id)s", values)
    connection.execute("DELETE FROM auth.refresh_tokens WHERE user_id = %(id)s", values)


def _put_identity(connection: Connection, user_id: str, provider: str, contact: str, *, verified: bool) -> None:
    changes = {provider: contact, f"{provider}_verified": verified}
    data = {"sub": user_id, "email_verified": False, "phone_verified": False, **changes}
    values = {"id": user_id, "provider": provider, "data": Jsonb(data), "changes": Jsonb(changes)}
    connection.execute(database.query("upsert_identity"), values)


def _contacts(email: str, phone: str) -> list[tuple[str, str]]:
    return [(provider, contact) for provider, contact in (("email", email), ("phone", phone)) if contact]


def _merged(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**old, **changes}.items() if value is not None}


def _hashed(user_id: str, value: str) -> str:
    """43 characters that tell two users with the same address apart, and neither of them."""
    digest = hashlib.sha256(f"{user_id}{value}".encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _no_password() -> str:
    # Nobody signs in at the stand-in, so a password is checked for its form and then forgotten.
    return f"$stand-in${secrets.token_urlsafe(24)}"


def _yes(connection: Connection, statement: Statement, values: dict[str, Any]) -> bool:
    row = connection.execute(statement, values).fetchone()
    return row is not None and row[0] is True


def _existing(user: users.User | None) -> users.User:
    if user is None:
        raise ApiError(404, "user_not_found", "User not found")
    return user
