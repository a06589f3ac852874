"""Connection strings: taken apart, checked and masked, without a driver.

libpq ends the user name and password at the *first* `@` and takes an unescaped password apart
(PostgreSQL manual 34.1.1.2), so `p@ss` in a URL would become a host name. Here the last `@` counts,
and the parts go to the driver one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import msgspec

if TYPE_CHECKING:
    from gaiaops.registry.tunnels import Tunnel

MASK = "***"
POSTGRES_SCHEMES = ("postgresql", "postgres")
REDIS_SCHEMES = ("redis", "rediss", "unix")
_MAX_PORT = 65535
_POSTGRES_PORT = "5432"
# Options whose values are no secrets, libpq's (manual 34.1.2) and redis-py's. All others are hidden: password,
# sslpassword, scram_client_key, oauth_client_secret, ssl_password, and whatever somebody has misspelt.
_SHOWN_NAMES = (
    "host hostaddr port user dbname passfile service servicefile options application_name fallback_application_name"
    " connect_timeout client_encoding keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout"
    " replication target_session_attrs load_balance_hosts require_auth channel_binding requirepeer requiressl sslmode"
    " sslnegotiation sslcompression sslcert sslkey sslkeylogfile sslcertmode sslrootcert sslcrl sslcrldir sslsni"
    " ssl_min_protocol_version ssl_max_protocol_version min_protocol_version max_protocol_version gssencmode"
    " gssdelegation gsslib krbsrvname oauth_issuer oauth_client_id oauth_scope db ssl_ca_certs ssl_ca_path ssl_certfile"
    " ssl_keyfile ssl_cert_reqs ssl_check_hostname ssl_ciphers ssl_min_version ssl_validate_ocsp"
    " ssl_validate_ocsp_stapled"
)
_SHOWN = frozenset(_SHOWN_NAMES.split())


class Url(msgspec.Struct, frozen=True):
    """A connection string in parts; `host` and `port` may hold several, comma-separated, as libpq has it.

    `tunnel` is the way to it, where the registry has one: host and port are the server's all the same. `pooler` is what
    the registry says of one in between: transaction, session or none; empty where it is to be found out. `replica` is
    the replica's number where it leads to one, which is never written to. `protected` is the
    name of the protected environment that it belongs to, if any.
    """

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: str
    path: str
    options: tuple[tuple[str, str], ...]
    tunnel: Tunnel | None = None
    pooler: str = ""
    replica: int = 0
    protected: str = ""

    def __repr__(self) -> str:
        return f"Url({self.masked()})"

    @property
    def database(self) -> str:
        return unquote(self.path.lstrip("/"))

    @property
    def address(self) -> str:
        """The server and the way to it, for people: `db:5432 through fly gaia-db-dev`."""
        return f"{self.server} through {self.tunnel.label}" if self.tunnel else self.server

    @property
    def server(self) -> str:
        """`host:port` for people; a socket directory where the host is one."""
        host = self.host or dict(self.options).get("host", "") or "local socket"
        port = self.port or dict(self.options).get("port", "")
        return f"{host}:{port}" if port and not host.startswith("/") else host

    @property
    def place(self) -> tuple[object, ...]:
        """What tells one PostgreSQL database from another, as far as the text goes."""
        options = dict(self.options)
        host = self.host or options.get("host", "")
        named = (options.get("service", ""), options.get("hostaddr", ""), host if "/" in host else host.casefold())
        return self.tunnel, *named, self.port or options.get("port", "") or _POSTGRES_PORT, self.database

    def masked(self) -> str:
        """The whole string with every secret replaced, fit for a screen or a log."""
        login = self.user or ""
        if self.password is not None:
            login += f":{MASK}"
        query = "&".join(f"{k}={MASK if is_secret(k) else v}" for k, v in self.options)
        netloc = ",".join(_join_hosts(self.host, self.port))
        at = "@" if login else ""
        return f"{self.scheme}://{login}{at}{netloc}{self.path}{'?' + query if query else ''}"

    def secrets(self) -> tuple[str, ...]:
        """The values that nobody may see."""
        hidden = [value for name, value in self.options if is_secret(name)]
        return tuple(value for value in (self.password, *hidden) if value)

    def hide(self, text: str) -> str:
        """A text of somebody else's (a driver, a server) with the connection string's secrets replaced.

        >>> parse_url("postgresql://me:s3cret@db/app", POSTGRES_SCHEMES).hide('s3cret is not for "me"')
        '*** is not for "me"'
        """
        shown = (self.user or "", self.database, self.host)  # a password may be as simple as the user's name
        for value in sorted(self.secrets(), key=len, reverse=True):
            if not any(value in name for name in shown):
                text = text.replace(value, MASK)
        return text


def is_secret(option: str) -> bool:
    """Whether the value of a connection string's option must be hidden; sslkey and passfile only name files."""
    return option not in _SHOWN


def _join_hosts(hosts: str, ports: str) -> list[str]:
    host_list, port_list = hosts.split(","), ports.split(",")
    pairs = [(h, port_list[i] if i < len(port_list) else "") for i, h in enumerate(host_list)]
    return [f"{'[' + h + ']' if ':' in h else h}{':' + p if p else ''}" for h, p in pairs]


def parse_url(text: str, schemes: tuple[str, ...]) -> Url:
    """The parts of a connection string whose scheme is one of `schemes`.

    >>> parse_url("postgres://me:p%40ss@db:5432/app?sslmode=require", POSTGRES_SCHEMES).masked()
    'postgresql://me:***@db:5432/app?sslmode=require'
    >>> parse_url("postgresql://u:a@b@h/d", POSTGRES_SCHEMES).password
    'a@b'

    Raises ValueError with the reason, which never quotes the text: it may hold a password.
    """
    if any(c.isspace() for c in text.strip()) or not text.strip().isprintable():
        raise ValueError("malformed URL: it holds white space or control characters")
    scheme, separator, rest = text.strip().partition("://")
    if not separator or scheme not in schemes:
        raise ValueError(f"malformed URL: it must start with {' or '.join(s + '://' for s in schemes)}")
    rest, _, query = rest.partition("?")
    if "@" in query:  # a password with a ? would become a host and an option, which are shown
        raise ValueError("malformed URL: write %3F for a ? in the password, and %40 for an @ after the ?")
    # The login may hold unescaped slashes only where it is escaped; a slash ends the authority (RFC 3986 3.2).
    login, at, tail = rest.rpartition("@")
    netloc, slash, path = tail.partition("/")
    user, colon, password = login.partition(":")
    host, port = _split_hosts(netloc)
    return Url(
        scheme="postgresql" if scheme == "postgres" else scheme,
        user=unquote(user) if at and user else None,
        password=unquote(password) if colon else None,
        host=host,
        port=port,
        path=slash + path,
        options=tuple(_options(query)),
    )


def _options(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("malformed URL: after the ? there must be name=value pairs") from None


def _split_hosts(netloc: str) -> tuple[str, str]:
    hosts, ports = [], []
    for part in netloc.split(","):
        if part.startswith("["):
            host, bracket, rest = part[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise ValueError("malformed URL: an IPv6 address must stand in [brackets]")
            port = rest[1:]
        else:
            host, _, port = part.partition(":")
            host = unquote(host)
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
            raise ValueError(f"malformed URL: the port must be a number from 1 to {_MAX_PORT}")
        hosts.append(host)
        ports.append(port)
    return ",".join(hosts), ",".join(ports) if any(ports) else ""
