"""`python -m gaiaops.sandbox.authserver --port N`: serve until SIGTERM. Secrets come from GAIAOPS_AUTH_*."""

from __future__ import annotations

import argparse
import os
import signal
import sys

import uvicorn

from gaiaops.sandbox.authserver.app import create_app
from gaiaops.sandbox.authserver.settings import Settings


def main() -> int:
    """Run the server."""
    parser = argparse.ArgumentParser(prog="python -m gaiaops.sandbox.authserver", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to bind")
    arguments = parser.parse_args()
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        print(f"authserver: {error}", file=sys.stderr)
        return 2
    # uvicorn stops on SIGTERM and then raises it again for whoever was there before; that is a clean exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(settings),
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        # Requests under way at SIGTERM get a second; idle kept-alive connections are closed at once.
        timeout_graceful_shutdown=1,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
