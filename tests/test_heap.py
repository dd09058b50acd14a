"""Memory that is kept for what comes next: told by the pages that the system had to hand out."""

import platform
import resource

import pytest
import torch

from limbeck import heap

NUMBERS = 1 << 24  # 64 MiB, which glibc takes from the system by itself


def pages(times: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(NUMBERS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_used_again_within_and_given_back_after() -> None:
    once = pages(1)
    assert once > 1_000
    with heap.kept():
        with heap.kept():
            pages(1)
        assert pages(4) < once  # the inner block's end changed nothing
    assert pages(4) > once
