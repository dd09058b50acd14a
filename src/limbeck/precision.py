"""In which precision numbers are compared, and networks asked."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Shaped
from torch import Tensor


def wide(numbers: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Numbers in at least float32.

    In bfloat16, differences of logits and of log-probabilities lose their digits, and a reading of 180 is held to the
    nearest one.
    """
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def asked_in(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Runs a block in bfloat16 on a device where `precision` says so; else as the caller's autocast has it."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
