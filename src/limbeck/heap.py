"""Memory that tensors gave back stays with the process for those that come next.

A step makes and frees the same large tensors again and again. glibc takes anything above 32 MiB from the system anew
and gives it back at once, and the system hands out every page of it zeroed: on one thread of a processor a tenth of the
time that the head of a language model takes in a step (docs/benchmarks.md).
"""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# Of mallopt(3): the size from which memory is taken from the system by itself, how much free memory at the end of the
# heap is kept; and what glibc's own rule for both grows to at most.
_TRIM, _MAP = -1, -3
_LARGE, _MAPPED, _TRIMMED = 1 << 30, 32 << 20, 64 << 20

_depth = 0


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Runs the block so that memory up to 1 GiB a piece, once freed, is used again; gives it back at the end.

    It says nothing about GPUs, and does nothing where the C library is not glibc.
    """
    global _depth
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if library is not None and not _depth:
        library.mallopt(_MAP, _LARGE)
        library.mallopt(_TRIM, _LARGE)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if library is not None and not _depth:
            library.mallopt(_MAP, _MAPPED)
            library.mallopt(_TRIM, _TRIMMED)
            library.malloc_trim(0)
