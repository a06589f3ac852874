"""What the stand-in needs to know, and where it learns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """How one stand-in behaves.

    `api_keys` are the values the gateway accepts in the header `apikey`; without any the gateway's check is
    off, as on a bare server. `request_timeout` is after how many seconds the server answers 504.
    """

    dsn: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    cursor_mode: bool = False
    audience: str = "authenticated"
    admin_roles: tuple[str, ...] = ("service_role", "supabase_admin")
    request_timeout: float = 10.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from GAIAOPS_AUTH_*; secrets have no other way in, an argument list is public.

        >>> secrets = {"GAIAOPS_AUTH_DSN": "dbname=x", "GAIAOPS_AUTH_JWT_SECRET": "s"}
        >>> settings = Settings.from_environment({**secrets, "GAIAOPS_AUTH_API_KEYS": "a, b"})
        >>> settings.api_keys, settings.cursor_mode
        (('a', 'b'), False)
        """
        missing = [name for name in ("GAIAOPS_AUTH_DSN", "GAIAOPS_AUTH_JWT_SECRET") if not environ.get(name)]
        if missing:
            raise ValueError(f"the environment lacks {' and '.join(missing)}")
        keys = (key.strip() for key in environ.get("GAIAOPS_AUTH_API_KEYS", "").split(","))
        return cls(
            dsn=environ["GAIAOPS_AUTH_DSN"],
            jwt_secret=environ["GAIAOPS_AUTH_JWT_SECRET"],
            api_keys=tuple(key for key in keys if key),
            cursor_mode=environ.get("GAIAOPS_AUTH_CURSOR", "") == "1",
        )
