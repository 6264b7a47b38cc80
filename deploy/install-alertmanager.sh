#!/bin/sh
# One test delivers to a real Alertmanager: take Debian's program out of its package when it is missing. The package is
# not installed, since that would start a service on this host. Where it can't be had, the test says that it skips.
set -eu
folder=${1:-.venv}/debian
if command -v prometheus-alertmanager >/dev/null || [ -x "$folder/usr/bin/prometheus-alertmanager" ]; then
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null &&
  { (cd "$work" && apt-get download -qq prometheus-alertmanager) >/dev/null 2>&1 ||
    { [ "$(id -u)" = 0 ] && apt-get update -qq &&
      (cd "$work" && apt-get download -qq prometheus-alertmanager) >/dev/null 2>&1; }; }; then
  mkdir -p "$folder"
  dpkg-deb -x "$work"/prometheus-alertmanager_*.deb "$folder"
else
  echo "Debian's prometheus-alertmanager can't be had; its test will skip" >&2
fi
