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
# Without root: an environment without pip can be made, and a wheel of pip installs itself into it.
"$python" -m venv --without-pip "$venv"
"$venv/bin/python" - <<'PYTHON'
import os
import re
import runpy
import sys
import tempfile
import urllib.request
from urllib.parse import urljoin

# The simple index (PEP 503), as pip itself reads it.
INDEX = "https://pypi.org/simple/pip/"
WHEEL = re.compile(r'href="([^"#]*/(pip-(\d+)\.(\d+)(?:\.(\d+))?-py3-none-any\.whl))')

try:
    with urllib.request.urlopen(INDEX, timeout=60) as answer:
        found = WHEEL.findall(answer.read().decode())
    url, name, *_ = max(found, key=lambda f: [int(part or 0) for part in f[2:]])
    wheel = os.path.join(tempfile.mkdtemp(), name)
    urllib.request.urlretrieve(urljoin(INDEX, url), wheel)
except (OSError, ValueError) as error:
    sys.exit(f"pip can't be fetched ({error}): sudo apt-get install python3-venv")
sys.path.insert(0, wheel)
sys.argv = ["pip", "install", "--quiet", "--disable-pip-version-check", wheel]
runpy.run_module("pip", run_name="__main__")
PYTHON
