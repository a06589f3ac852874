"""The sandbox's stand-in for the Supabase Auth (GoTrue) admin API, over a real PostgreSQL.

It answers as server 2.196 does behind the hosted gateway, oddities included: see the contract tests, which
run against this server and against a real one alike.
"""

from __future__ import annotations

from gaiaops.sandbox.authserver.app import create_app
from gaiaops.sandbox.authserver.settings import Settings

__all__ = ["Settings", "create_app"]
