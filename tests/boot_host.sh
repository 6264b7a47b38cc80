#!/bin/sh
# A host of its own: this machine's files with an overlay in memory, namespaces, and systemd as the first process.
# usage: boot_host.sh EMPTY_FOLDER CHECKOUT CGROUP
# What is written there is gone with it. It ends when this process is killed, or the one that began it.
set -eu
folder=$1 checkout=$2 cgroup=$3
host=$folder/host memory=$folder/memory

if [ $$ -ne 1 ]; then
  echo $$ >"$cgroup/cgroup.procs"
  exec setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount --propagation private --uts --ipc --net --cgroup "$0" "$@"
fi

over() { # FOLDER NAME: an overlay over a folder, at the same place below the host's root
  mkdir -p "$memory/$2/upper" "$memory/$2/work" "$host$1"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$memory/$2/upper,workdir=$memory/$2/work" "$host$1"
}

mkdir "$host" "$memory"
mount -t tmpfs -o size=3g,mode=0755 tmpfs "$memory"
over / root
over "$checkout" checkout
mount -t proc proc "$host/proc"
# Read-only, as a container's: so systemd leaves the machine's devices and settings alone.
for file in sys sysrq-trigger; do
  [ -e "$host/proc/$file" ] || continue
  mount --bind "$host/proc/$file" "$host/proc/$file"
  mount -o remount,bind,ro "$host/proc/$file"
done
mount -t sysfs -o ro sysfs "$host/sys"
mount -t cgroup2 cgroup2 "$host/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 tmpfs "$host/run"
mount -t tmpfs -o mode=0755 tmpfs "$host/dev"
for node in null zero full random urandom tty; do
  touch "$host/dev/$node"
  mount --bind "/dev/$node" "$host/dev/$node"
done
mkdir "$host/dev/pts" "$host/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$host/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$host/dev/shm"
ln -s pts/ptmx "$host/dev/ptmx"
ln -s /proc/self/fd "$host/dev/fd"
hostname telemetry-test
echo telemetry-test >"$host/etc/hostname"
tr -d - </proc/sys/kernel/random/uuid >"$host/etc/machine-id"
: >"$host/etc/fstab"
# What asks for names may be mounted over these files.
for file in resolv.conf hosts; do cat "/etc/$file" >"$host/etc/$file.new" && mv "$host/etc/$file.new" "$host/etc/$file"; done
# Nothing of what this machine starts, or has of ours.
rm -rf "$host"/etc/systemd/system/*.wants "$host"/etc/systemd/system/*.requires "$host"/etc/rc?.d/S* \
  "$host"/etc/systemd/system/telemetryd* "$host/etc/telemetry" "$host/opt/telemetry" "$host"/var/lib/telemetry*
for unit in systemd-sysctl systemd-modules-load systemd-binfmt systemd-udevd systemd-timesyncd; do
  ln -sf /dev/null "$host/etc/systemd/system/$unit.service"
done
mkdir "$host/machine"
cd "$host"
pivot_root . machine
umount --lazy /machine
# As nspawn does: what systemd mounts for a unit, such as its credentials, reaches it.
mount --make-rshared /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=test \
  /lib/systemd/systemd --system --unit=multi-user.target
