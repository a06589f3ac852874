#!/bin/sh
# What the tests need and no wheel brings: sshd for tunnels, pgbouncer for poolers, openssl for certificates, a
# PostgreSQL that speaks TLS and its psql. Debian's packages are installed where we may; elsewhere this says what is
# missing.
PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin:/opt/homebrew/sbin:/opt/homebrew/bin
missing=
for pair in sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client pgbouncer:pgbouncer openssl:openssl psql:postgresql-client; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # Runlevel 1 keeps the packages from starting their services.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "the tests need these packages:$missing" >&2
exit 1
