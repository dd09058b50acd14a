"""Every form of an answer against plain sums over all logits in float64, in every situation of a language batch.

    python tests/equivalences.py                              prints the table of docs/results/equivalence.md

A student is a small causal model of transformers. What Limbeck makes of its hidden states and head, slice by slice, is
held against loops over all its logits, in value and in the gradient of every weight.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from small_speakers import SYMBOLS, causal
from torch import Tensor

from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Model
from limbeck.replay import Draw
from limbeck.signals import Batch, Signals
from limbeck.taps import listen
from limbeck.targets import hidden
from limbeck.targets.sampled import SampledTargets
from limbeck.targets.topk import TopKTargets

TEMPERATURES = (1.0, 2.0, 4.0)
KNOWN, KEPT, DRAWS, WIDTH, LABELS = 90, 8, 12, 7, 0.25
ROWS, LENGTH, END = 6, 10, 2
"""The token END ends documents and fills up rows, as where a tokenizer's padding is its end of text."""


@dataclass(frozen=True)
class Case:
    """A student, a batch, what the teacher says of each position, and how the loss is taken.

    Args:
        model: The student; it tells `KNOWN` tokens apart, whatever rows its head has.
        batch: Rows of one document each.
        theirs: The teacher's hidden states (rows, length, width).
        head: Its head.
        together: How many positions are multiplied with the student's head together.
        parts: Into how many slices the batch is cut, whose losses are added up.
    """

    model: Model
    batch: Batch
    theirs: Tensor
    head: Tensor
    together: int = 1 << 20
    parts: int = 1

    @property
    def logits(self) -> Tensor:
        """All that the teacher says."""
        return self.theirs @ self.head.T


def student(rows: int) -> Model:
    """A student whose head has so many rows, those beyond the known tokens among the others."""
    names = [f"w{number}" for number in range(KNOWN)]
    padding = [f"[no token {number}]" for number in range(rows - KNOWN)]
    model = Model(LanguageNetwork(causal("llama", vocab_size=rows)), classes=tuple(names + padding))
    return model.align(names)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain(rows: int = KNOWN, prompt: int = 0, padding: int = 0) -> Case:
    """Documents that end with END, each with so many first tokens as a prompt, and so many places after it."""
    tokens = torch.randint(3, KNOWN, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    tokens[:, -1] = END
    labels = torch.cat([tokens[:, 1:], torch.full((ROWS, 1), -1)], dim=1)
    labels[:, :prompt] = -1
    theirs = normal(ROWS, LENGTH, WIDTH, seed=2)
    documents = torch.ones_like(tokens)
    if padding:
        tokens, documents = (
            torch.nn.functional.pad(t, (0, padding), value=v) for t, v in ((tokens, END), (documents, 0))
        )
        labels = torch.nn.functional.pad(labels, (0, padding), value=-1)
        theirs = torch.cat([theirs, 100 * normal(ROWS, padding, WIDTH, seed=3)], dim=1)
    ids, known = torch.arange(ROWS), labels >= 0
    batch = Batch(
        torch.stack([tokens, documents], 1), labels, known, known, ids, torch.zeros_like(ids), task("language")
    )
    return Case(student(rows), batch, theirs, normal(KNOWN, WIDTH, seed=4))


SITUATIONS: dict[str, Callable[[], Case]] = {
    "all positions at once": plain,
    "one position at a time": lambda: replace(plain(), together=1),
    "seven positions at a time": lambda: replace(plain(), together=7),
    "prompts ignored": lambda: plain(prompt=3),
    "padding that is the end of text": lambda: plain(padding=5),
    "three slices, accumulated": lambda: replace(plain(prompt=2, padding=3), parts=3),
    "padded student vocabulary": lambda: plain(rows=SYMBOLS),
    "all of it": lambda: replace(plain(rows=SYMBOLS, prompt=2, padding=3), parts=3, together=7),
}


def _dense(case: Case, temperature: float) -> Signals:
    return Signals.dense(case.logits)


def _hidden(case: Case, temperature: float) -> Signals:
    return Signals.hidden(case.theirs, case.head)


def _every(case: Case, temperature: float) -> Signals:
    return Signals(targets=TopKTargets.of(case.logits, KNOWN, TEMPERATURES))


def _largest(case: Case, temperature: float) -> Signals:
    return Signals(targets=TopKTargets.of(case.logits, KEPT, TEMPERATURES))


def _drawn(case: Case, temperature: float) -> Signals:
    uniforms = Draw.of(torch.arange(case.theirs[..., 0].numel()), 0, 0, "equivalences").uniforms(DRAWS)
    return Signals(targets=SampledTargets.of(case.logits, uniforms.view(*case.theirs.shape[:2], DRAWS), temperature))


FORMS = {
    "dense": _dense,
    "hidden": _hidden,
    f"top {KNOWN} of {KNOWN}": _every,
    f"top {KEPT}, tail": _largest,
    "sampled": _drawn,
}


def expected(form: str, case: Case, said: Signals, temperature: float) -> Tensor:
    """The loss by the book: position after position, over all logits of the student."""
    ours = case.model.network(case.batch.inputs)[..., :KNOWN]
    total = ours.new_zeros(())
    for row, place in case.batch.known.nonzero().tolist():
        q = torch.log_softmax(ours[row, place] / temperature, -1)
        p = torch.log_softmax(case.logits[row, place] / temperature, -1)
        if form == "sampled":
            targets = said.targets
            assert isinstance(targets, SampledTargets)
            counts = targets.counts[row, place].double()
            soft = -(counts / counts.sum() * q[targets.symbols[row, place]]).sum() + (p.exp() * p).sum()
        elif form == f"top {KEPT}, tail":
            likely = case.logits[row, place].argsort(descending=True)
            p, q = (torch.cat([x[likely[:KEPT]], x[likely[KEPT:]].logsumexp(0, keepdim=True)]) for x in (p, q))
            soft = (p.exp() * (p - q)).sum()
        else:
            soft = (p.exp() * (p - q)).sum()
        hard = -torch.log_softmax(ours[row, place], -1)[case.batch.labels[row, place]]
        total = total + (1 - LABELS) * temperature**2 * soft + LABELS * hard
    return total / case.batch.known.sum()


def found(case: Case, said: Signals, temperature: float) -> Tensor:
    """The same by Limbeck; of several slices the sum of what each adds."""
    made = objective(f"{1 - LABELS} * kd(temperature={temperature}) + {LABELS} * labels")
    counts = made.counts(case.batch) if case.parts > 1 else None
    losses = []
    for part in torch.arange(ROWS).chunk(case.parts):
        rows = slice(int(part[0]), int(part[-1]) + 1)
        batch = case.batch.rows(rows)
        losses.append(made.loss(listen(case.model, batch.inputs), said.rows(rows), batch, counts=counts).total)
    return torch.stack(losses).sum()


def error(form: str, case: Case, temperature: float) -> float:
    """The larger of the relative errors of the value and of the gradient of all weights."""
    said = FORMS[form](case, temperature)
    weights = list(case.model.parameters())
    results = []
    with taken(case.together):
        for value in (expected(form, case, said, temperature), found(case, said, temperature)):
            slopes = torch.autograd.grad(value, weights)
            results.append((value.detach(), torch.cat([each.flatten() for each in slopes])))
    (right, slope), (ours, own) = results
    return max(float((ours - right).abs() / right.abs()), float((own - slope).norm() / slope.norm()))


@contextmanager
def taken(together: int) -> Iterator[None]:
    """Takes so many positions at a time, and half as many of these when methods are asked."""
    before = hidden._LOGITS, hidden._AT_ONCE
    hidden._LOGITS, hidden._AT_ONCE = together * KNOWN, max(1, together // 2) * KNOWN
    try:
        yield
    finally:
        hidden._LOGITS, hidden._AT_ONCE = before


def main() -> None:
    """Prints the table."""
    lines = [["", *FORMS], ["---"] * (len(FORMS) + 1)]
    for situation, make in SITUATIONS.items():
        worst = [max(error(form, make(), temperature) for temperature in TEMPERATURES) for form in FORMS]
        assert all(map(math.isfinite, worst))
        lines.append([situation, *(f"{each:.0e}" for each in worst)])
    sys.stdout.writelines(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
