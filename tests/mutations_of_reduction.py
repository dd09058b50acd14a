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
        (("beta=float(self._held > 0)", "beta=0.0"),),
        _REDUCTION,
        _ALL,
    ),
    Mutation(
        "the bias learns nothing",
        "reduction.py",
        (("self._bias += slope.sum(dim=0, dtype=self._bias.dtype)", "pass"),),
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
        (("whole += own", "pass"),),
        _REDUCTION,
        "row_by_row and ctkd",
    ),
    Mutation(
        "the last positions are left out",
        "targets/hidden.py",
        (
            (
                "// classes)\n    return (slice(start, start + step) for start in range(0, count, step))",
                "// classes)\n    return (slice(start, start + step) for start in range(0, count - step + 1, step))",
            ),
        ),
        _REDUCTION,
        _ALL,
    ),
    Mutation(
        "sums in low precision are carried over once",
        "reduction.py",
        (("else self._whole.add_(self._low)", "else self._whole"),),
        _REDUCTION,
        "low_precision",
    ),
    Mutation(
        "a sum that was carried over counts again",
        "reduction.py",
        (("        self._held = 0\n", "        pass\n"),),
        _REDUCTION,
        "low_precision",
    ),
    Mutation(
        "methods are asked about another piece of what the teacher says",
        "reduction.py",
        (("said.rows(few)", "said.rows(slice(0, few.stop - few.start))"),),
        _REDUCTION,
        _ALL,
    ),
    Mutation(
        "the head is gone through in float32 whatever the step's precision",
        "training/step.py",
        (("hidden=targets.hidden.bfloat16()", "hidden=targets.hidden"),),
        "test_head_precision.py",
        "head_in_the_precision_of_the_plan",
    ),
]
