#!/bin/sh
# Make a virtual environment where `python3 -m venv` can't, because Debian's python3-venv is missing.
# usage: install-venv.sh PYTHON VENV
set -eu
python=$1
venv=$2
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  exec "$python" -m venv "$venv"
fi
if "$python" -m virtualenv --version >/dev/null 2>&1; then
  exec "$python" -m virtualenv --quiet "$venv"
fi
# Without root: pip for this user, when there is one, brings virtualenv.
if "$python" -m pip --version >/dev/null 2>&1; then
  "$python" -m pip install --quiet --user --break-system-packages virtualenv 2>/dev/null ||
    "$python" -m pip install --quiet --user virtualenv
  exec "$python" -m virtualenv --quiet "$venv"
fi
echo "this Python has neither venv nor pip: sudo apt-get install python3-venv" >&2
exit 1
