"""In which precision numbers are compared."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def wide(numbers: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Numbers in at least float32.

    In bfloat16, differences of logits and of log-probabilities lose their digits, and a reading of 180 is held to the
    nearest one.
    """
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
