#!/bin/sh
# One test delivers to a real Alertmanager: install Debian's when it is missing and we may; else that test says that it
# skips. Its service is neither started nor left to start with the host: the test runs a process of its own.
set -eu
if command -v prometheus-alertmanager >/dev/null; then
  exit 0
fi
policy=/usr/sbin/policy-rc.d
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  if ! { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus-alertmanager >/dev/null; }; then
    echo "Debian's prometheus-alertmanager could not be installed; its test will skip" >&2
    exit 0
  fi
  rm -f /etc/systemd/system/multi-user.target.wants/prometheus-alertmanager.service
else
  echo "Debian's prometheus-alertmanager is not installed; its test will skip" >&2
fi
