#!/bin/sh
# A test holds our figures and rules against Debian's promtool: install it when it is missing and we may; else it skips.
set -eu
if command -v promtool >/dev/null; then
  exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  # Nothing is started: a test runs what it needs itself.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null ||
    echo "promtool can't be installed; its tests will skip" >&2
else
  echo "promtool is not installed; its tests will skip" >&2
fi
