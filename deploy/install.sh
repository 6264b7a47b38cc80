#!/bin/sh
# Install or upgrade the daemon on a host with systemd: sh deploy/install.sh [WHAT]
#   WHAT       what pip installs, a wheel or a folder; this checkout when it is not given
#   DESTDIR    put files below this folder, for packages and tests; then no user is made and nothing is started
#   PYTHON     which Python, 3.11 or newer
# What is there already stays: /etc/telemetry/telemetry.toml is never overwritten. Run it again to upgrade.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
what=${1:-$(dirname "$here")}
root=${DESTDIR:-}
python=${PYTHON:-python3}
home=/opt/telemetry

if [ -z "$root" ]; then
  [ "$(id -u)" = 0 ] || { echo "error: installing needs root" >&2; exit 1; }
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed" >&2; exit 1; }
  getent passwd telemetry >/dev/null ||
    useradd --system --user-group --home-dir /var/lib/telemetry --no-create-home --shell /usr/sbin/nologin telemetry
  [ -x "$home/bin/python" ] || "$python" -m venv "$home" || sh "$here/install-venv.sh" "$python" "$home"
  case $what in
    *[\[\]]*) wanted=$what ;;
    *) wanted="$what[daemon,embedded]" ;;
  esac
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$wanted"
  for program in telemetryctl telemetryd; do
    ln -sf "$home/bin/$program" "/usr/local/bin/$program"
  done
  for section in 1 5 8; do
    mkdir -p "/usr/local/share/man/man$section"
    ln -sf "$home/share/man/man$section"/telemetry* "/usr/local/share/man/man$section/"
  done
fi

install -d -m 0750 "$root/etc/telemetry"
if [ ! -e "$root/etc/telemetry/telemetry.toml" ]; then
  install -m 0640 "$here/../config.example.toml" "$root/etc/telemetry/telemetry.toml"
fi
install -d "$root/usr/local/sbin"
install -m 0755 "$here/as-telemetry" "$root/usr/local/sbin/as-telemetry"
install -d "$root/etc/systemd/system"
for unit in telemetryd.service telemetryd@.service telemetryd.socket; do
  install -m 0644 "$here/systemd/$unit" "$root/etc/systemd/system/$unit"
done

if [ -z "$root" ]; then
  chgrp -R telemetry /etc/telemetry
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Who upgrades has it running; who installs decides when it starts.
    systemctl try-restart telemetryd.service
  fi
  echo "installed. next:"
  echo "  edit /etc/telemetry/telemetry.toml, then: telemetryd config check --config /etc/telemetry/telemetry.toml"
  echo "  systemctl enable --now telemetryd"
  echo "  as-telemetry telemetryctl key create ops --scope admin --tier enterprise"
fi
