"""What the server accepts as an address, a phone number, a duration, an id and a password."""

from __future__ import annotations

import datetime
import re

from gaiaops.sandbox.authserver.errors import ApiError, invalid

MAX_EMAIL_LENGTH = 255
MIN_PASSWORD_LENGTH = 6
MAX_PASSWORD_LENGTH = 72  # all that bcrypt looks at

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
_E164 = re.compile(r"[1-9][0-9]{1,14}")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)

_DURATION = re.compile(r"([-+]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_SECONDS = 2**63 / 1e9  # Go counts nanoseconds in 64 bits: 292 years


def email(address: str) -> str:
    """The address in lower case, as the server stores it."""
    if len(address) > MAX_EMAIL_LENGTH:
        raise invalid("An email address is too long")
    if not _EMAIL.fullmatch(address):
        raise invalid("Unable to validate email address: invalid format")
    return address.lower()


def phone(number: str) -> str:
    """The number without its plus sign and spaces.

    >>> phone("+44 20 7946 0000")
    '442079460000'
    """
    bare = number.removeprefix("+").replace(" ", "")
    if not _E164.fullmatch(bare):
        raise invalid("Invalid phone number format (E.164 required)")
    return bare


def password(text: str) -> None:
    """Refuse a password that is too short or too long."""
    if len(text.encode()) > MAX_PASSWORD_LENGTH:
        raise invalid(f"Password cannot be longer than {MAX_PASSWORD_LENGTH} characters")
    if len(text) < MIN_PASSWORD_LENGTH:
        message = f"Password should be at least {MIN_PASSWORD_LENGTH} characters."
        raise ApiError(422, "weak_password", message, extra={"weak_password": {"reasons": ["length"]}})


def is_uuid(text: str) -> bool:
    """Whether the server reads this as an id: hyphenated or bare, also in braces or as a URN."""
    bare = text.removeprefix("urn:uuid:")
    if bare.startswith("{") and bare.endswith("}"):
        bare = bare[1:-1]
    return len(bare) in (32, 36) and _UUID.fullmatch(bare) is not None


def ban_duration(text: str) -> datetime.timedelta | None:
    """How long a ban lasts, None for "none" and for no time at all, which both lift it.

    >>> ban_duration("1h30m"), ban_duration("none")
    (datetime.timedelta(seconds=5400), None)
    """
    if text in ("none", "0", "+0", "-0"):
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise invalid(f'invalid format for ban duration: time: invalid duration "{text}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _TERM.findall(match[2]))
    if seconds > _LONGEST_SECONDS:
        raise invalid(f'invalid format for ban duration: time: invalid duration "{text}"')
    return datetime.timedelta(seconds=-seconds if match[1] == "-" else seconds) or None
