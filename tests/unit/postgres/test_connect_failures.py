"""libpq's and psycopg's texts of failed connections, of versions and builds that no test has a server for."""

from __future__ import annotations

import psycopg
import pytest

from gaiaops.errors import ExitCode
from gaiaops.postgres.failures import connect_failure
from gaiaops.registry.urls import POSTGRES_SCHEMES, parse_url

AT = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '
TEXTS = [
    (AT + "SSL error: ssl/tls alert bad certificate", 3, "the server refused the client certificate: "),  # OpenSSL 3.2
    (AT + "SSL error: sslv3 alert certificate expired", 3, "the client certificate has expired"),
    (AT + "SSL error: tlsv13 alert certificate required", 3, "the server asks for a client certificate, and got none"),
    (AT + 'FATAL:  certificate authentication failed for user "me"', 3, 'the client certificate is not for user "me"'),
    (AT + "SSL error: certificate verify failed: unable to get local issuer certificate", 3,
     "the server's certificate is not trusted, or has expired"),
    (AT + 'server certificate for "a.example" does not match host name "b.example"', 3,
     'the server\'s certificate is for "a.example", not for "b.example"'),
    (AT + 'could not read root certificate file "/ca.pem": Permission denied', 3,
     "TLS: cannot read the CA file /ca.pem: Permission denied"),
    (AT + 'could not open certificate file "/me.pem": Permission denied', 3, "TLS: cannot read /me.pem: Permission"),
    (AT + "SSL error: unsupported protocol\nThis may indicate that the server does not support any SSL protocol version"
     " between TLSv1.3 and TLSv1.3.", 3, "no TLS version is common to both: unsupported protocol"),
    (AT + "SSL error: something new", 3, "TLS failed: something new"),
    (AT + "SCRAM channel binding check failed", 3, "channel binding failed: what ends TLS is not the server itself"),
    (AT + "FATAL:  SSL connection is required. Please specify SSL options and retry.", 3, "the server requires TLS"),
    (AT + "direct SSL connection was established without ALPN protocol negotiation extension", 3,
     "the server broke off the TLS handshake"),
    (AT.replace("10.0.0.7", "x.pooler.example.com") + "Connection refused\n\tIs the server running?", 3,
     "connection refused"),
    ("failed to resolve host 'x.pooler.example.com': [Errno -2] Name or service not known", 3, "unknown host name"),
    ('connection is bad: invalid "ssl_min_protocol_version" value: "TLSv9"', 2, "ssl_min_protocol_version and"),
    (AT + "FATAL:  s3cret is what I was told", 3, "*** is what I was told"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "said"), TEXTS)
def test_the_line(text: str, code: int, said: str) -> None:
    url = parse_url("postgresql://me:s3cret@db:5432/app?sslpassword=s3cret", POSTGRES_SCHEMES)
    failure = connect_failure(psycopg.OperationalError(text), url, 5_000)
    assert failure.code == ExitCode(code)
    assert str(failure).startswith(said) and str(failure).endswith("(db:5432)")
    assert "\n" not in str(failure) and "{" not in f"{failure}{failure.hint}"
    assert "s3cret" not in f"{failure}{failure.hint}"
