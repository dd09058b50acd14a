"""How large a model is and how much it computes for one row."""

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from limbeck.model import answering


def parameters(model: nn.Module) -> int:
    """The number of parameters, trainable or not, each counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def weight_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers as they are held, each counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def multiply_accumulates(model: nn.Module, row: Shaped[Tensor, "1 ..."]) -> int:
    """Multiply-accumulates of products and convolutions for one row, counted by torch while the model answers it.

    Element-wise work (activations, normalisation) is not counted, as is the custom. The model's mode is put back.
    """
    # It brings triton along, which not every call that ends in an error shall wait for.
    from torch.utils.flop_counter import FlopCounterMode

    with answering(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(row)
    return int(counter.get_total_flops()) // 2


def cost(model: nn.Module, row: Shaped[Tensor, "1 ..."]) -> dict[str, float]:
    """Parameters, bytes and multiply-accumulates (`macs`) of one row, by name."""
    return {
        "parameters": float(parameters(model)),
        "bytes": float(weight_bytes(model)),
        "macs": float(multiply_accumulates(model, row)),
    }
