"""`python -m gaiaops.sandbox.fake_redis PORT`: fakeredis over TCP, where no real server can be had."""

from __future__ import annotations

import sys


def main() -> None:
    from fakeredis import TcpFakeServer

    TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis").serve_forever()


if __name__ == "__main__":
    main()
