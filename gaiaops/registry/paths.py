"""Where gaiaops keeps its files: the XDG base directories."""

from __future__ import annotations

import os
from pathlib import Path


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
