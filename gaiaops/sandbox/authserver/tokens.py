"""Who may ask: first the hosted gateway with its `apikey`, then the server with its bearer token."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any, cast

import jwt
from jwt.types import Options

from gaiaops.sandbox.authserver.errors import ApiError
from gaiaops.sandbox.authserver.settings import Settings

_BEARER = re.compile(r"[Bb]earer (\S+)")
_SECRET_KEY_PREFIX = "sb_secret_"  # noqa: S105  # what new keys start with, not a key
_UNREADABLE = "invalid JWT: unable to parse or verify signature, "
_NO_KEY = ("No API key found in request", "No `apikey` request header or url param was found.")
_BAD_KEY = ("Invalid API key", "Double check your Supabase `anon` or `service_role` API key.")


class GatewayRefusal(Exception):
    """The gateway's own 401; it never reached the server and has none of the server's codes."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.body = {"message": message, "hint": hint}


def admit(headers: Mapping[str, str], settings: Settings) -> None:
    """Let an administrator's request pass; raise `GatewayRefusal` or `ApiError` for everybody else."""
    swapped = _pass_gateway(headers, settings)
    if not swapped:
        _require_admin(headers.get("authorization", ""), settings)


def _pass_gateway(headers: Mapping[str, str], settings: Settings) -> bool:
    """Check `apikey`. True where the gateway put a service_role token in the place of a new secret key."""
    if not settings.api_keys:
        return False
    key = headers.get("apikey", "")
    if not key:
        raise GatewayRefusal(*_NO_KEY)
    if not any(hmac.compare_digest(key.encode(), known.encode()) for known in settings.api_keys):
        raise GatewayRefusal(*_BAD_KEY)
    bearer = _BEARER.fullmatch(headers.get("authorization", ""))
    # New keys are no tokens. A library that knows one key sends it in both headers, and for exactly that
    # pair the gateway signs a token of its own.
    return key.startswith(_SECRET_KEY_PREFIX) and bearer is not None and bearer[1] == key


def _require_admin(authorization: str, settings: Settings) -> None:
    bearer = _BEARER.fullmatch(authorization)
    if bearer is None:
        raise ApiError(401, "no_authorization", "This endpoint requires a Bearer token")
    claims = _verified_claims(bearer[1], settings.jwt_secret)
    if claims.get("role") not in settings.admin_roles:
        raise ApiError(403, "not_admin", "User not allowed")


def _verified_claims(token: str, secret: str) -> Mapping[str, Any]:
    # The server looks at the signature and the two times, and at nothing else.
    checks = dict.fromkeys(("verify_aud", "verify_iss", "verify_iat", "verify_sub", "verify_jti"), False)
    try:
        claims: Mapping[str, Any] = jwt.decode(token, secret, algorithms=["HS256"], options=cast(Options, checks))
    except jwt.PyJWTError as error:
        raise ApiError(403, "bad_jwt", _UNREADABLE + _reason(error)) from error
    return claims


def _reason(error: jwt.PyJWTError) -> str:
    """The server's words for why a token was not accepted."""
    match error:
        case jwt.ExpiredSignatureError():
            return "token has invalid claims: token is expired"
        case jwt.ImmatureSignatureError():
            return "token has invalid claims: token is not valid yet"
        case jwt.InvalidSignatureError():
            return "token signature is invalid: signature is invalid"
        case jwt.InvalidAlgorithmError():
            return "token signature is invalid: signing method is invalid"
        case _:
            return "token is malformed: token contains an invalid number of segments"
