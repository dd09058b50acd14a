"""Memory that is kept for what comes next: told by the pages that the system had to hand out."""

import platform
import subprocess
import sys

import pytest

# 64 MiB, which glibc takes from the system by itself; in a process's first thread, whose heap has no bound.
PROGRAM = """
import resource
import torch
from limbeck import heap

def pages(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

once = pages(1)
with heap.kept():
    with heap.kept():
        pages(1)
    within = pages(4)  # the inner block's end changed nothing
print(once, within, pages(4))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_used_again_within_and_given_back_after() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    once, within, after = map(int, said.stdout.split())
    assert within < once < after
