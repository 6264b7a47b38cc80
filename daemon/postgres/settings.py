"""What PostgreSQL is told at its start: durable, closed to the network, sized for this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

MIB = 1 << 20
SHARED_BUFFERS_BYTES_MAX = 256 * MIB
WAL_BYTES_MIN = 128 * MIB
WAL_BYTES_MAX = 2048 * MIB
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

FIXED = {
    # An answered point is on the disk (design.md section 1); nothing here may be weakened silently.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_compression": "pglz",  # the wheel's build has neither lz4 nor zstd
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "jit": "off",
    # A client that is gone must not keep a query or locks.
    "client_connection_check_interval": "1s",
    "idle_in_transaction_session_timeout": "60s",
    # What one statement may write beside the tables; over it, it ends, and the disk does not fill.
    "temp_file_limit": "4GB",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %e %q%u@%d %a ",
    "log_min_error_statement": "error",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def server_settings(cluster_dir: Path, *, overrides: Mapping[str, str]) -> dict[str, str]:
    """All settings as PostgreSQL writes them; `overrides` win."""
    sized = {
        "shared_buffers": f"{_shared_buffers_bytes() // MIB}MB",
        "max_wal_size": f"{_wal_bytes(cluster_dir) // MIB}MB",
    }
    return {**FIXED, **sized, **overrides}


def _shared_buffers_bytes() -> int:
    """A quarter of what this process may use, and no more than the bound."""
    return max(16 * MIB, min(SHARED_BUFFERS_BYTES_MAX, _memory_bytes() // 4))


def _memory_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(memory, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        # No such file, or `max`: the container has no limit of its own.
        return memory


def _wal_bytes(cluster_dir: Path) -> int:
    """5 % of the disk within bounds: on a small disk, checkpoints come earlier instead."""
    disk = shutil.disk_usage(cluster_dir).total
    return max(WAL_BYTES_MIN, min(WAL_BYTES_MAX, disk // 20))
