#!/bin/sh
# The page of examples/browser is tested in a real browser: install Debian's Chromium when it is missing and we may; else those tests say that they skip.
set -eu
if command -v chromium >/dev/null; then
  exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  if ! { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; then
    echo "Chromium could not be installed; the tests of the browser will skip" >&2
  fi
else
  echo "Chromium is not installed; the tests of the browser will skip" >&2
fi
