"""Memory that the service has freed goes back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE = 128 * 1024  # glibc's own first value


def return_what_is_freed() -> None:
    """Let glibc take every block of 128 KiB or more from the system, and give it back when it is freed.

    glibc begins so, but raises the bound to the largest block that was ever freed, up to 32 MiB
    (https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD): bodies of requests then lie on heaps, one
    for each of many threads, which cannot shrink while anything small lies above. Fresh pages cost time, so processes
    that decode, which have one thread each, keep their own way. Other C libraries have no such bound.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
