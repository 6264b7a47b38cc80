#!/bin/sh
# Slow clients are tested with Debian's slowhttptest: install it when it is missing and we may; else that test says that it skips.
set -eu
if command -v slowhttptest >/dev/null; then
  exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  if ! { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slowhttptest >/dev/null; }; then
    echo "slowhttptest could not be installed; its test will skip" >&2
  fi
else
  echo "slowhttptest is not installed; its test will skip" >&2
fi
