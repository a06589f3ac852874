"""Where files are: the registry's, and those that gaiaops keeps, in the XDG base directories."""

from __future__ import annotations

import os
from pathlib import Path

from gaiaops.errors import UsageError

FILE_NAME = "environments.toml"


def _home(variable: str, default: str) -> Path:
    # A relative value is invalid and must be ignored (XDG Base Directory Specification 0.8).
    value = os.environ.get(variable, "")
    base = Path(value) if value.startswith("/") else Path.home() / default
    return base / "gaiaops"


def config_home() -> Path:
    """$XDG_CONFIG_HOME/gaiaops"""
    return _home("XDG_CONFIG_HOME", ".config")


def data_home() -> Path:
    """$XDG_DATA_HOME/gaiaops: the sandbox lives here."""
    return _home("XDG_DATA_HOME", ".local/share")


def state_home() -> Path:
    """$XDG_STATE_HOME/gaiaops: the trail and crash logs live here."""
    return _home("XDG_STATE_HOME", ".local/state")


def find_file(explicit: str | None = None) -> Path:
    """--registry, then $GAIAOPS_REGISTRY, then here or in a parent folder, then the user's configuration.

    Raises UsageError where there is none.
    """
    named = explicit or os.environ.get("GAIAOPS_REGISTRY")
    if named:
        if not Path(named).is_file():
            raise UsageError(f"registry not found: {named}", hint="name an environments.toml with --registry FILE")
        return Path(named).absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    user_file = config_home() / FILE_NAME
    if user_file.is_file():
        return user_file
    raise UsageError(
        f"no {FILE_NAME} here, in a parent folder or at {user_file}",
        hint="try `gaiaops --sandbox view`, or name one with --registry FILE",
    )
