#!/bin/sh
# Some tests run a browser, proxies and other programs: install Debian's packages of those that are missing when we may; else their tests say that they skip.
# No service of these packages is started or left to start with the host: the tests run processes of their own.
# usage: install-debian.sh PROGRAM[=PACKAGE]...
set -eu
missing=
for wanted in "$@"; do
  program=${wanted%%=*}
  command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing="$missing ${wanted#*=}"
done
[ -n "$missing" ] || exit 0
if ! { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; }; then
  echo "not installed:$missing; the tests that need them will skip" >&2
  exit 0
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
services=/etc/systemd/system/multi-user.target.wants
before=" $(echo "$services"/*) "
apt-get update -qq || true
# One by one: what this Debian does not have keeps none of the others away.
for package in $missing; do
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
    echo "not installed: $package; the tests that need it will skip" >&2
done
for service in "$services"/*; do
  case "$before" in
    *" $service "*) ;;
    *) rm -f "$service" ;;
  esac
done
