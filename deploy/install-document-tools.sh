#!/bin/sh
# What documents show is run by tests: nginx and Caddy (reverse proxies), Node (JavaScript), groff (man pages). Install Debian's when one is missing and we may;
# else its tests say that they skip. The proxies are neither started nor left to start with the host: the test runs processes of its own.
set -eu
missing=
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
command -v caddy >/dev/null || missing="$missing caddy"
command -v node >/dev/null || missing="$missing nodejs"
command -v groff >/dev/null || missing="$missing groff-base"
[ -n "$missing" ] || exit 0
policy=/usr/sbin/policy-rc.d
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  # shellcheck disable=SC2086 # several packages
  if ! { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; }; then
    echo "not installed:$missing; the tests of documents that need them will skip" >&2
    exit 0
  fi
  rm -f /etc/systemd/system/multi-user.target.wants/nginx.service /etc/systemd/system/multi-user.target.wants/caddy.service
else
  echo "not installed:$missing; the tests of documents that need them will skip" >&2
fi
