"""Keeping the memory of freed arrays, where the C library would hand it back to the system.

glibc asks the system for every array above a threshold that it moves up to 32 MB, and returns it
when the array is freed; it also returns the free end of its heap. The next array of that size then
arrives as untouched pages, which the system clears and maps one by one when they are first written:
a result of 40 MB takes twice the time of the same operation into memory that is already there.
A training step frees and asks for the same sizes again and again.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_memory"]

# Options of mallopt, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = (1 << 31) - 1  # bytes; mallopt takes an int
MOST_BEFORE = 1 << 25  # what older versions of glibc accept


def keep_memory() -> bool:
    """Let this process keep the memory of freed arrays for the next ones, from now on.

    It concerns all memory of the process, also that of other libraries, and cannot be undone: the
    process stays as large as it ever was. Therefore importing minidl does not do it; `fit`, the
    command line and the benchmarks do.

    Returns:
        whether the C library could be told: False where it is not glibc, and nothing was changed.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
        libc.gnu_get_libc_version  # noqa: B018  musl has a mallopt that does nothing
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no "this process"
        return False
    kept = mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_THRESHOLD, MOST_BEFORE)
    return bool(kept and mallopt(M_TRIM_THRESHOLD, LARGEST))
