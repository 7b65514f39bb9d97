"""Pieces of a stack of planes (P, H, W), small enough for the cache, spread over the threads."""

from __future__ import annotations

from collections.abc import Callable

from .threads import get_num_threads, parallel

__all__ = ["for_planes"]

PIECE = 1 << 19  # bytes of a piece; measured: 0.25 to 1 MB differ by less than a tenth
WORTH_THREADS = 1 << 21  # bytes; below, waking a thread takes longer than it saves


def for_planes(
    work: Callable[[slice], None], count: int, plane_bytes: int, threads: bool = True
) -> None:
    """Call `work(slice)` for slices that cover `count` planes, on all threads.

    Args:
        plane_bytes: the bytes of one plane, of the larger of input and output.
        threads: False for work that keeps the interpreter's lock: threads would only slow it down.
    """
    each = max(1, PIECE // max(1, plane_bytes))
    if count * plane_bytes < WORTH_THREADS:
        each = max(1, count)
    elif threads:  # a few pieces for each thread, so that all end at about the same time
        each = max(1, min(each, -(-count // (2 * get_num_threads()))))
    pieces = [slice(start, min(start + each, count)) for start in range(0, count, each)]
    if threads:
        parallel(lambda i: work(pieces[i]), len(pieces))
        return
    for piece in pieces:
        work(piece)
