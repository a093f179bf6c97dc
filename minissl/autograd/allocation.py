"""Keep freed memory for the next step, instead of giving it back and asking for it again.

A training step frees hundreds of megabytes and the next one needs them again. The C library returns
large blocks to the operating system at once, which then has to fill them with zeros, page by page,
when they are asked for anew: 5 to 10 % of the time of a step.
"""

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc, for this whole process, to keep what was freed; False where there is no glibc.

    ``fit`` calls it. The process then stays as large as it was at its largest.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30) and mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))
