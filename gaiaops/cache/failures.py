"""What went wrong on a Redis or on the way to it, in one line with a next step.

redis-py gives most failures as text, and the server's own begin with a word (Redis, "RESP simple errors"), so they
are told apart by text.
"""

from __future__ import annotations

import re

from gaiaops.errors import ConnectError, DeadlineError, GaiaopsError, LostServerError, StatementError, UsageError
from gaiaops.registry.durations import show_duration
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url

_SERVER_HINT = "is the server up, or a tunnel needed?"
_CLUSTER = "the server is a node of a cluster, which gaiaops does not speak"
_URL_HINT = "gaiaops envs ENV shows where the connection string comes from"
_CA_HINT = "name the CA: rediss://…?ssl_ca_certs=/path/ca.pem"

# (what the text holds, the error, what is said, the next step); the first match counts.
_CAUSES: tuple[tuple[str, type[GaiaopsError], str, str], ...] = (
    (r"NOAUTH|Authentication required|HELLO must be called", ConnectError,
     "Redis asks for a password, and the connection string has none", _URL_HINT),
    (r"without any password configured|no password is set", ConnectError,
     "Redis has no password, and the connection string has one", _URL_HINT),
    (r"WRONGPASS|invalid username-password|invalid password", ConnectError, "Redis refused the password{user}",
     "check it: " + _URL_HINT),
    (r"LOADING|BusyLoading", ConnectError, "Redis is loading its data", "try again in a moment"),
    (r"max number of clients", ConnectError, "Redis has no room for another client (maxclients)",
     "gaiaops health ENV shows the clients"),
    (r"DENIED|protected mode", ConnectError, "Redis is in protected mode: it lets in nobody from another host",
     "set a password on the server, or connect through a tunnel"),
    (r"certificate has expired", ConnectError, "TLS failed: the server's certificate has expired",
     "the server needs a new certificate"),
    (r"[Hh]ostname mismatch|IP address mismatch|not valid for", ConnectError,
     "TLS failed: the certificate is for another host name", "use the name that the certificate has"),
    (r"self[- ]signed certificate", ConnectError, "TLS failed: the certificate is self-signed, and not trusted",
     _CA_HINT),
    (r"CERTIFICATE_VERIFY_FAILED", ConnectError, "TLS failed: the certificate is not trusted", _CA_HINT),
    (r"WRONG_VERSION_NUMBER|record layer|UNEXPECTED_EOF|EOF occurred", ConnectError,
     "the server does not speak TLS", "use redis:// where the way is private"),
    (r"SSL|TLS|tlsv1", ConnectError, "TLS failed: {text}", "check the ssl_… options of the connection string"),
    (r"Name or service not known|No address associated|nodename nor servname|name resolution", ConnectError,
     "unknown host name", _URL_HINT),
    (r"No route to host|unreachable", ConnectError, "no route to host", "is a VPN or tunnel needed?"),
    (r"Connection refused", ConnectError, "connection refused", _SERVER_HINT),
    (r"Protocol [Ee]rror|InvalidResponse", ConnectError, "what answers there is no Redis",
     "check host and port: " + _URL_HINT),
    (r"closed by server|reset by peer|Broken pipe|while reading from", ConnectError,
     "the server closed the connection", "is it a Redis? one with TLS needs rediss://"),
    (r"READONLY|ReadOnlyError", StatementError, "Redis is a replica and refuses writes",
     "put its primary into the registry"),
    (r"MOVED|MovedError|CROSSSLOT|CrossSlot|CLUSTERDOWN|ClusterDownError|\bASK\b|AskError|TRYAGAIN|TryAgainError",
     StatementError, _CLUSTER, "redis-cli -c -h HOST"),
    (r"MASTERDOWN|MasterDownError", StatementError, "Redis is a replica that lost its primary, and serves no old data",
     "gaiaops health ENV shows the replication"),
    (r"MISCONF", StatementError, "Redis takes no writes: it cannot save to its disk",
     "gaiaops health ENV shows the last save"),
    (r"BUSY\b", StatementError, "Redis is busy with a script", "redis-cli SCRIPT KILL ends one that wrote nothing"),
    (r"DB index is out of range|invalid DB index", ConnectError, "Redis has no database of this number",
     "check the number at the end of the connection string"),
)  # fmt: skip
_BROKE = re.compile(r"closed by server|reset by peer|Broken pipe|while (?:reading|writing)")
_LOST_HINT = "the result is incomplete; run it again"
_KEY_REFUSED = re.compile(r"access (?:one of the keys|a key)")
_REFUSED = re.compile(r"NOPERM|NoPermissionError|has no permissions")
_COMMAND = re.compile(r"'([\w|-]+)' command")


def failure(error: Exception, url: Url, timeouts: Timeouts, *, greeted: bool = False) -> GaiaopsError:
    """The error of our tree for one of the driver's; `greeted` where the server had let us in."""
    if greeted and _BROKE.search(_text(error)):
        return LostServerError(f"lost Redis in the middle of an answer ({url.address})", hint=_LOST_HINT)
    found = _failure(error, url, timeouts)
    if url.tunnel is not None and found.hint == _SERVER_HINT:
        found.hint = "the tunnel is up: is the server behind it?"
    return found


def _failure(error: Exception, url: Url, timeouts: Timeouts) -> GaiaopsError:
    import redis

    text = _text(error)
    where = f"({url.address})"
    if isinstance(error, redis.TimeoutError):
        waited = timeouts.connect if "connecting" in text or "greeting" in text else timeouts.statement
        # A server without TLS waits for the end of what it takes for a line.
        hint = (
            "does it speak TLS? redis:// is without"
            if url.scheme == "rediss" and "connecting" in text
            else _SERVER_HINT
        )
        return DeadlineError(f"no answer from Redis within {show_duration(waited)} {where}", hint=hint)
    # The driver takes the server's first word away, and makes it a class.
    known = f"{type(error).__name__}: {text}"
    if re.search(r"No such file|Permission denied|Is a directory", text):
        return _no_file(text, url)
    if _REFUSED.search(known):
        needs = needed(known, "")
        who = f'the user "{url.user}"' if url.user else "the user"
        what = needs.removeprefix("needs ") if needs.startswith("needs +") else "access to the key (~pattern)"
        return StatementError(f"Redis: {who} needs {what} {where}", hint="an administrator: ACL SETUSER")
    for pattern, kind, said, hint in _CAUSES:
        if re.search(pattern, known):
            user = f' of the user "{url.user}"' if url.user else ""
            return kind(f"{_named(said.format(text=text, user=user))} {where}", hint=hint)
    if isinstance(error, redis.ConnectionError):
        return ConnectError(f"Redis: {text} {where}", hint=_SERVER_HINT)
    return StatementError(f"Redis: {text} {where}")


def _no_file(text: str, url: Url) -> GaiaopsError:
    """The error for a socket, or a file of the ssl_… options, that cannot be opened."""
    if url.scheme == "unix":
        return ConnectError(f"no Redis at the socket {url.path}: {text}", hint=_SERVER_HINT)
    named = ", ".join(value for name, value in url.options if name.startswith("ssl_") and "/" in value)
    return UsageError(f"TLS: {text.rstrip('.')}: {named} ({url.address})", hint="check the ssl_… options: " + _URL_HINT)


def needed(text: str, command: str) -> str:
    """What a refused command needs, for people; "" where the text is no refusal.

    >>> needed("NOPERM this user has no permissions to run the 'memory' command or its subcommand", "memory|usage")
    'needs +memory|usage'
    >>> needed("NOPERM this user has no permissions to access one of the keys used as arguments", "pttl")
    'needs access to the key'
    >>> needed("ERR unknown command `MEMORY`, with args beginning with: `USAGE`", "memory|usage")
    'the server has no memory|usage'
    """
    if "unknown command" in text or "unknown subcommand" in text:
        return f"the server has no {command}"
    if not _REFUSED.search(text):
        return ""
    if refuses_key(text):
        return "needs access to the key"
    named = _COMMAND.search(text)
    return f"needs +{command or (named[1] if named else 'the command')}"


def refuses_key(text: str) -> bool:
    """Whether a refusal is about a key and not about the command."""
    return bool(_KEY_REFUSED.search(text)) and not _COMMAND.search(text)


def _text(error: Exception) -> str:
    """The driver's text on one line, without its own head ("Error 111 connecting to host:port. ")."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^Error -?\d+ connecting to \S+ ", "", text)[:300]


def _named(text: str) -> str:
    return text if "Redis" in text else f"Redis: {text}"
