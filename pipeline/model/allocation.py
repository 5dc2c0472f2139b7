"""Freed memory is kept for the next tensor, since fresh pages cost about as much as computing what goes into them.

glibc takes every block above 32 MiB from the kernel and returns it when freed, so that each large intermediate result
of an image encoder on a CPU touches pages for the first time, which the kernel clears one by one.
"""

import ctypes
import logging

log = logging.getLogger(__name__)

# of malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

KEPT_BYTES = 2**30
"""Blocks up to this size are reused, and so much free memory at the end of the heap is kept."""


def trim_heap() -> None:
    """Return to the kernel what is free now; after something large that will not come again."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        log.debug("the C library has no malloc_trim; it keeps what it likes")


def keep_freed_memory() -> bool:
    """Make this process reuse large blocks; ``False`` where the C library cannot (musl, macOS), which does no harm.

    The process holds up to :data:`KEPT_BYTES` more than it needs at the moment.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        log.debug("the C library has no mallopt; large tensors are allocated as it likes")
        return False
    return all(mallopt(option, KEPT_BYTES) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
