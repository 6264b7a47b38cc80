"""How this process gives memory back to the system."""

from __future__ import annotations

import contextlib
import ctypes

LARGE_BYTES = 192 * 1024
TRIM_BYTES = 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def return_large_arrays() -> None:
    """Let glibc give each large array back as soon as it is free.

    By itself it raises the size from which it does up to 32 MiB, and then keeps what columns leave
    behind (mallopt(3)). Called before the first array; other libcs have their own ways.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
