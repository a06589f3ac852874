"""TLS failures in one line with a next step, and the two things about it that libpq leaves to its caller: where the
system's CA roots are, and why a certificate is not trusted.

The texts are libpq's (13 to 18: fe-secure-openssl.c, fe-connect.c and fe-auth.c), the alerts OpenSSL's.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from gaiaops.registry.urls import Url

UNTRUSTED = "certificate verify failed"
_LOOK = "openssl s_client -starttls postgres -connect {server} shows the handshake"
_CLIENT = "sslcert and sslkey in the connection string name the client certificate and its key"

# As failures.py has them: (what the text holds, what is said, the next step), the first match counts; named groups of
# the pattern may stand in what is said.
CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r'server certificate for "(?P<names>[^"]*)"(?: \(and \d+ other names?\))?'
        r' does not match host name "(?P<host>.*?)"',
        'the server\'s certificate is for "{names}", not for "{host}"',
        "connect by the certificate's name (hostaddr=IP where that leads elsewhere); sslmode=verify-ca leaves the name"
        " unchecked",
    ),
    (
        r"server's certificate.*does not|could not get server's host name|host name must be specified for a verified",
        "the server's certificate cannot be verified by a host name: {first}",
        "name the host in the connection string, as the certificate has it",
    ),
    (
        r'root certificate file "(?P<file>[^"]*)" does not exist',
        "TLS: there is no CA file {file}",
        "name the CA's file with sslrootcert=FILE; a public CA is among sslrootcert=system",
    ),
    (
        r'could not (?:read|load) root certificate file "(?P<file>[^"]*)": (?P<why>.*)',
        "TLS: cannot read the CA file {file}: {why}",
        "sslrootcert must name a readable file of certificates in PEM",
    ),
    (
        r"home directory to locate root certificate",
        "TLS: sslmode wants the server verified, and no CA is named",
        "name the CA's file with sslrootcert=FILE; a public CA is among sslrootcert=system",
    ),
    (
        r'private key file "(?P<file>[^"]*)" has group or world access',
        "TLS: other users can read the client key {file}",
        "chmod 600 {file}",
    ),
    (
        r'not private key file "(?P<file>[^"]*)"',
        "TLS: there is no client key {file}",
        _CLIENT,
    ),
    (
        r'could not load private key file "(?P<file>[^"]*)": key values mismatch',
        "TLS: the client key {file} is not that of the client certificate",
        _CLIENT,
    ),
    (
        r'could not load private key file "(?P<file>[^"]*)": (?:bad decrypt|processing error|bad password|no start line'
        r"|.*UI|unsupported|maybe wrong password)",
        "TLS: the client key {file} cannot be opened with what the connection string has",
        "sslpassword=… opens an encrypted key",
    ),
    (
        r"could not (?:open|read|load|stat) (?:certificate|private key|certificate revocation list)"
        r' file "(?P<file>[^"]*)": (?P<why>.*)',
        "TLS: cannot read {file}: {why}",
        _CLIENT,
    ),
    (
        r"requires a valid client certificate|alert certificate required",
        "the server asks for a client certificate, and got none{sslcert}",
        _CLIENT,
    ),
    (
        r"certificate authentication failed",
        'the client certificate is not for user "{user}"',
        "its common name must be the user's, or the server needs a map (pg_ident.conf)",
    ),
    (
        r"alert certificate expired",
        "the client certificate has expired",
        "it must be renewed: sslcert names it",
    ),
    (
        r"alert (?:unknown ca|bad certificate|certificate (?:unknown|revoked)|unsupported certificate)",
        "the server refused the client certificate: {first}",
        "it must be from a CA that the server trusts (its ssl_ca_file): sslcert names it",
    ),
    (
        r"channel binding required, but SSL not in use",
        "channel_binding=require needs TLS, and this connection has none",
        "add sslmode=verify-full (or require)",
    ),
    (
        r"channel binding check failed|channel binding type",
        "channel binding failed: what ends TLS is not the server itself",
        "a proxy or a pooler in between, or somebody who listens: ask who runs the way",
    ),
    (
        r"channel binding (?:is )?required|without channel binding|SCRAM-SHA-256-PLUS",
        "channel_binding=require, and the server offers none",
        "its role needs a SCRAM password (password_encryption = scram-sha-256), and no proxy may end TLS in between",
    ),
    (
        r'authentication method requirement "(?P<wanted>[^"]*)" failed: (?P<why>.*)',
        "require_auth={wanted} refuses how the server asks: {why}",
        "check require_auth in the connection string",
    ),
    (
        r"received invalid response to SSL negotiation|expected authentication request from server",
        "what answers there is no PostgreSQL",
        "check host and port: gaiaops envs {env}",
    ),
)
# What only makes sense where nothing above is in the text.
LATER_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"does not support SSL",
        "the server does not offer TLS, but sslmode asks for it",
        "set sslmode=prefer only where the way is private",
    ),
    (
        r"unsupported protocol|alert protocol version|no protocols available|unsupported ssl protocol",
        "no TLS version is common to both: {why_tls}",
        "ssl_min_protocol_version and ssl_max_protocol_version say which ones are ours",
    ),
    (
        r"unexpected eof|SSL SYSCALL error|SSL_ERROR_SYSCALL|wrong version number|ALPN",
        "the server broke off the TLS handshake{direct}",
        "{direct_hint}",
    ),
    (r"SSL error|ssl handshake", "TLS failed: {why_tls}", _LOOK),
)
# What never reached a server: the connection string itself is wrong.
MISTAKES: tuple[tuple[str, str, str], ...] = (
    (
        r'invalid (?P<name>\w+) value: "(?P<value>[^"]*)"',
        '{name}="{value}" is no value of it',
        "the PostgreSQL manual lists them (34.1.2); correct the connection string",
    ),
    (
        r'invalid connection option "(?P<name>[^"]*)"',
        'libpq knows no option "{name}"',
        "take it out of the connection string",
    ),
    (
        r'weak sslmode "(?P<mode>[^"]*)" may not be used with (?P<what>\S+) \((?P<use>.*)\)',
        "{what} does not go with sslmode={mode}",
        "{use}",
    ),
    (
        r"invalid SSL protocol version range|invalid \"ssl_m\w+_protocol_version\"",
        "ssl_min_protocol_version and ssl_max_protocol_version do not fit",
        "correct the connection string",
    ),
)
# X509_V_ERR_… (openssl/x509_vfy.h) → what is said after "the server's certificate", the next step.
_REASONS: dict[int, tuple[str, str]] = {
    9: ("is not valid yet", "compare this machine's clock: date"),
    10: ("has expired", "the server needs a new one: tell who runs it"),
    18: (
        "is self-signed, and not the one that is trusted",
        "put it, checked by its fingerprint, into a file, and name that: sslrootcert=FILE",
    ),
    19: ("is from a CA that is not trusted", "name the server's own CA: sslrootcert=FILE"),
    20: ("is from a CA that is not trusted", "name the server's own CA: sslrootcert=FILE (system has the public ones)"),
    23: ("has been revoked", "tell who runs the server"),
}
_REASONS[2] = _REASONS[21] = _REASONS[20]
_ROOTS = (  # Debian, Fedora and RHEL, Alpine and macOS, SUSE
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)


def system_roots(
    given: Mapping[str, str | int], variables: Mapping[str, str], *, always: bool = False
) -> dict[str, str]:
    """What to put in place of `sslrootcert=system` (manual 34.1.2): the system's file.

    psycopg's wheel has an OpenSSL of its own that looks in a folder which no system has. Left as it is where the user
    says where the roots are ($SSL_CERT_FILE, $SSL_CERT_DIR, which OpenSSL reads), and where libpq has something to say
    against it: `system` goes with verify-full only. `always` also where OpenSSL would find them by $SSL_CERT_FILE, for
    a libpq that may be older than `system` (16).
    """
    root = given.get("sslrootcert") or variables.get("PGSSLROOTCERT")
    mode = given.get("sslmode") or variables.get("PGSSLMODE") or "verify-full"
    if root != "system" or mode != "verify-full":
        return {}
    if not always and (variables.get("SSL_CERT_FILE") or variables.get("SSL_CERT_DIR")):
        return {}
    import ssl

    for file in (variables.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_ROOTS):
        if file and Path(file).is_file():
            return {"sslrootcert": file, "sslmode": "verify-full"}
    return {}


def why_untrusted(given: Mapping[str, str | int], seconds: float) -> tuple[str, str]:
    """Why a server's certificate is not trusted, and the next step: libpq says no more than that it is not.

    Asks the servers anew, one after the other, with the same roots and without a login; `given` are libpq's connection
    parameters. Empty texts where it cannot be told.
    """
    hosts = str(given.get("hostaddr") or given.get("host") or "localhost").split(",")
    names = str(given.get("host") or "").split(",")
    ports = str(given.get("port") or 5432).split(",")
    direct = given.get("sslnegotiation") == "direct"
    for number, host in enumerate(hosts):
        name = names[number] if number < len(names) else host
        port = int(ports[number] if number < len(ports) else ports[-1] or 5432)
        code, text = _verify_code((host, port), name, str(given.get("sslrootcert") or ""), seconds, direct=direct)
        if code:
            return _REASONS.get(code, (f"is not trusted: {text}", "name the server's own CA: sslrootcert=FILE"))
    return "", ""


def untrusted(reason: tuple[str, str]) -> tuple[str, str]:
    """What is said of a certificate that is not trusted, and the next step."""
    if reason[0]:
        return f"the server's certificate {reason[0]}", reason[1]
    return "the server's certificate is not trusted, or has expired", _LOOK


def without_offer(text: str, url: Url) -> str:
    """libpq's text where the server has no TLS at all: `no encryption` in its refusal asks for none then.

    sslmode=prefer comes without TLS only to a server that offers none, or after a failure that the text has too.
    """
    mode = dict(url.options).get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
    return text if mode in ("disable", "allow") else text.replace(", no encryption", "")


def words(url: Url, text: str, first: str) -> dict[str, str]:
    """What the texts above name beyond what libpq's text holds."""
    options = dict(url.options)
    named = options.get("sslcert", "")
    error = re.search(r"SSL error: (.*)", text)
    direct = options.get("sslnegotiation") == "direct"
    return {
        "why_tls": error[1] if error else first,
        # libpq passes over a file that is not there (manual 34.19.2).
        "sslcert": f": there is no {named}" if named and not Path(named).exists() else "",
        "direct": ", which began at once (sslnegotiation=direct)" if direct else "",
        "direct_hint": "PostgreSQL 17 and later takes that; leave sslnegotiation out"
        if direct
        else "is this a PostgreSQL port? " + _LOOK.format(server=url.server),
    }


def _verify_code(address: tuple[str, int], name: str, root: str, seconds: float, *, direct: bool) -> tuple[int, str]:
    """OpenSSL's verdict on a server's certificate (X509_V_ERR_…) and its text; 0 where it has nothing against it."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=None if root == "system" else root or _default_root())
        context.check_hostname = False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 sets it, libpq does not
        context.set_alpn_protocols(["postgresql"])
        with socket.create_connection(address, seconds) as plain:
            if not direct:
                plain.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest (manual 54.2.10, 54.7)
                if plain.recv(1) != b"S":
                    return 0, ""
            with context.wrap_socket(plain, server_hostname=name or None):
                return 0, ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_code, error.verify_message
    except (OSError, ValueError):
        return 0, ""


def _default_root() -> str:
    """Where libpq looks for roots (manual 34.19.1)."""
    return os.environ.get("PGSSLROOTCERT") or str(Path.home() / ".postgresql" / "root.crt")
