#!/bin/sh
# The suite also runs on Debian's PostgreSQL: install it when it is missing and we may; else those tests say that they skip.
set -eu
if ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
  exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  # No cluster is made and nothing is started: the tests run servers of their own.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null
else
  echo "Debian's PostgreSQL is not installed; its tests will skip" >&2
fi
