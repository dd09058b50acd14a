"""Planted bugs in how terms become a loss through the head of a student that says hidden states."""

from mutations import Mutation

_REDUCTION = "test_reduction.py"
_ALL = "those_of_all_logits"

MUTATIONS_OF_REDUCTION = [
    Mutation(
        "a position that counts for one term counts for all",
        "reduction.py",
        (("torch.where(counted, value, torch.zeros_like(value)).sum() / self.whole", "value.sum() / self.whole"),),
        _REDUCTION,
        "silent_row or slices_of_a_batch",
    ),
    Mutation(
        "gradients of the terms without their weights",
        "reduction.py",
        (("torch.stack([part.weight * value for part, value", "torch.stack([1.0 * value for part, value"),),
        _REDUCTION,
        _ALL,
    ),
    Mutation(
        "the head learns from the last slice alone",
        "reduction.py",
        (("self.weight.addmm_(low.t(), said)", "self.weight.copy_(low.t() @ said)"),),
        _REDUCTION,
        _ALL,
    ),
    Mutation(
        "the bias learns nothing",
        "reduction.py",
        (("self.bias += slope.sum(dim=0)", "pass"),),
        _REDUCTION,
        _ALL,
    ),
    Mutation(
        "the head's gradient is not scaled with the total's",
        "reduction.py",
        (("None if each is None else each * upstream.to(each.dtype)", "each"),),
        _REDUCTION,
        "upstream",
    ),
    Mutation(
        "a method's own numbers learn nothing through the head",
        "reduction.py",
        (("whole += slope", "pass"),),
        _REDUCTION,
        "row_by_row and ctkd",
    ),
    Mutation(
        "the last positions are left out",
        "reduction.py",
        (("for start in range(0, len(places[0]), step):", "for start in range(0, len(places[0]) - step + 1, step):"),),
        _REDUCTION,
        _ALL,
    ),
]
